"""The comparison itself: match, plan, measure; what ``pamprof compare`` calls before anything is reported."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pamprof.errors import UsageError
from pamprof.measure.plan import Arm, Plan, build_plan
from pamprof.measure.points import points
from pamprof.measure.process import WorkerProcess
from pamprof.measure.session import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.measure.settings import Settings, default_settings
from pamprof.records import (
    Dtype,
    Execution,
    LayerSpec,
    Perplexity,
    Phase,
    PriceQuote,
    Scope,
    Session,
    SkipKind,
    Workload,
)
from pamprof.records.store import RunStore, read_records

RECORDS_FILE = "runs.jsonl"

# Skips that a second attempt may well turn into a run.
_WORTH_ANOTHER_TRY = (SkipKind.TIMEOUT, SkipKind.CRASHED, SkipKind.INTERRUPTED)

PriceLookup = Callable[[str, str], tuple[PriceQuote | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        command: The command line that reproduces it.
        output_dir: Folder of the records.
        resume: Go on with the records that are there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        preset: Sizes by name.
        sizes: Own sizes of the PAM arm that replace the preset's, by ``LayerSpec`` field.
        layers: Arms; the first that is a transformer, or else the first, is the reference.
        implementations: Names to keep.
        executions: In order.
        phases, scope, batch_sizes, sequence_lengths, dtype: The points.
        match_axis: What the arms are matched on.
        perplexities: Quality figures to carry.
        settings: Changes to the device's default sampling rules, by ``Settings`` field.
    """

    command: str
    output_dir: Path
    resume: bool
    device: str
    preset: str | None
    sizes: Mapping[str, int | float | str]
    layers: tuple[str, ...]
    implementations: tuple[str, ...]
    executions: tuple[Execution, ...]
    phases: tuple[Phase, ...]
    scope: Scope
    batch_sizes: Mapping[Phase | None, tuple[int, ...]]
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]]
    dtype: Dtype | None
    match_axis: str
    perplexities: tuple[Perplexity, ...]
    settings: Mapping[str, int | float | bool]
