"""Joins files of records from several machines: sessions stay apart, what does not go together is named."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.records.store import identity_of, merged, without_repeated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pamprof.records.codec import Record
    from pamprof.records.run import Run
    from pamprof.records.session import Session
    from pamprof.records.store import RecordFile


def joined(files: Mapping[str, RecordFile]) -> tuple[RecordFile, tuple[str, ...]]:
    """All records of ``files``, each once, and a sentence for whatever a reader should know of them.

    Args:
        files: By the name that people know each by.

    Raises:
        RecordError: Two sessions share an identifier, so that their runs could not be told apart; or a record is in two
            files and not the same.
    """
    owners: dict[str, tuple[str, Session]] = {}
    for name, file in files.items():
        for session in file.sessions:
            other, known = owners.setdefault(session.session_id, (name, session))
            if known != session:
                raise RecordError(
                    f"{other} and {name} each hold a session {session.session_id}, begun {known.started_at} and "
                    f"{session.started_at}: their runs could not be told apart; one was edited, restore it"
                )
    seen: dict[tuple[str, ...], tuple[str, Record]] = {}
    for name, file in files.items():
        for record in file.records:
            other, first = seen.setdefault(identity_of(record), (name, record))
            if first != record:
                what = " ".join(identity_of(record))
                raise RecordError(f"{other} and {name} differ in the same record ({what}); one was edited, restore it")
    distinct = without_repeated(files.values())
    whole = merged(distinct)
    return whole, tuple(_remarks(files, distinct, whole))


def _remarks(files: Mapping[str, RecordFile], distinct: Sequence[RecordFile], whole: RecordFile) -> Iterator[str]:
    for (name, file), kept in zip(files.items(), distinct, strict=True):
        repeated = file.record_count - kept.record_count
        if repeated:
            yield f"{name} repeats {_count(repeated, 'record')}; counted once"
    headed = {session.session_id for session in whole.sessions}
    lost = sum(run.session_id not in headed for run in whole.runs)
    if lost:
        yield f"{_count(lost, 'run')} of sessions without a header: what was planned and priced there is unknown"
    superseded = _superseded(whole.runs)
    if superseded:
        yield (
            f"{_count(superseded, 'run')} superseded by a later one of the same workload on the same device; all are "
            "kept, and reports take the later ones"
        )
    for package, versions in _versions(whole.runs).items():
        if len(versions) > 1:
            yield (
                f"measured with {package} {' and '.join(versions)}: runs of one are not compared with runs of another, "
                "or only with that doubt"
            )
    devices = Counter(run.environment.device_name for run in whole.runs)
    if len(devices) > 1:
        named = ", ".join(f"{device} ({_count(count, 'run')})" for device, count in devices.items())
        yield f"measured on {named}: reports have a table by machine and no ratio between them"


def _superseded(runs: Sequence[Run]) -> int:
    """Runs of a workload that has a later one on its device; those of windows are joined instead."""
    counts = Counter(
        (run.environment.device_name, run.workload.key) for run in runs if run.timing.window_seconds is None
    )
    return sum(count - 1 for count in counts.values())


def _versions(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    return {
        "pamprof": tuple(dict.fromkeys(run.environment.pamprof_version for run in runs)),
        "torch": tuple(dict.fromkeys(run.environment.torch_version for run in runs)),
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
