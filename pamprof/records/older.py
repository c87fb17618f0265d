"""Completes records of earlier versions with what later ones store as data, so that no reader has to know the age.

A session that does not say what it measured is a sweep where it planned no point and did not train. Layers without
facts receive those of ``layers``. Kernel shares stood among a run's notes as sentences, rounded to two digits.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pamprof.records.layers import facts_of_older_records
from pamprof.records.run import KernelShare, Run
from pamprof.records.session import Session, SessionKind
from pamprof.records.workload import Phase

_SHARE = re.compile(r"([0-9.]+) % of kernel time in (.+)", re.DOTALL)


def completed_session(session: Session) -> Session:
    """``session`` with its kind and the facts of its layers."""
    kind = session.kind
    if kind is None:
        is_sweep = not session.planned and Phase.TRAIN not in session.phases
        kind = SessionKind.SWEEP if is_sweep else SessionKind.COMPARISON
    layers = session.layers or facts_of_older_records((arm.spec.layer, arm.title) for arm in session.arms)
    return replace(session, kind=kind, layers=layers)


def completed_run(run: Run) -> Run:
    """``run`` with its kernel shares as data."""
    if run.kernel_shares is not None:
        return run
    matches = {note: match for note in run.notes if (match := _SHARE.fullmatch(note))}
    shares = tuple(KernelShare(kernel=match[2], share_ratio=float(match[1]) / 100) for match in matches.values())
    return replace(run, notes=tuple(note for note in run.notes if note not in matches), kernel_shares=shares)
