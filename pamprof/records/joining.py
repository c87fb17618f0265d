"""Joins files of records from several machines: sessions stay apart, what does not go together is named."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.records.capacity import Capacity
from pamprof.records.ranks import RankedRun
from pamprof.records.run import Ceilings, Run, Skip
from pamprof.records.serve_check import ServeCheck
from pamprof.records.session import Session
from pamprof.records.store import identity_of, merged, without_repeated
from pamprof.records.training import TrainingProfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pamprof.records.codec import Record
    from pamprof.records.environment import Environment
    from pamprof.records.store import RecordFile

_NOUNS: dict[type[Record], tuple[str, str]] = {
    Session: ("session", "sessions"),
    Ceilings: ("set of ceilings", "sets of ceilings"),
    Run: ("run", "runs"),
    Skip: ("skip", "skips"),
    RankedRun: ("run of ranks", "runs of ranks"),
    Capacity: ("capacity", "capacities"),
    ServeCheck: ("serve check", "serve checks"),
    TrainingProfile: ("training profile", "training profiles"),
}


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


def counted_kinds(records: Iterable[Record]) -> str:
    """``1 session, 18 runs, 2 serve checks``, headers first."""
    counts = Counter(type(record) for record in records)
    return ", ".join(f"{counts[kind]} {nouns[counts[kind] != 1]}" for kind, nouns in _NOUNS.items() if counts[kind])


def _remarks(files: Mapping[str, RecordFile], distinct: Sequence[RecordFile], whole: RecordFile) -> Iterator[str]:
    for (name, file), kept in zip(files.items(), distinct, strict=True):
        repeated = file.record_count - kept.record_count
        if repeated:
            yield f"{name} repeats {_count(repeated, 'record')}; counted once"
    headed = {session.session_id for session in whole.sessions}
    with_header: tuple[Run | Skip | Ceilings | RankedRun, ...] = (
        *whole.runs,
        *whole.skips,
        *whole.ceilings,
        *whole.ranked,
    )
    lost = [record for record in with_header if record.session_id not in headed]
    if lost:
        yield f"{counted_kinds(lost)} of sessions without a header: what was planned and priced there is unknown"
    superseded = _superseded(whole.runs)
    if superseded:
        yield (
            f"{_count(superseded, 'run')} superseded by a later one of the same workload on the same device; all are "
            "kept, and reports take the later ones"
        )
    measured: tuple[Run | RankedRun | ServeCheck | Capacity | TrainingProfile, ...] = (
        *whole.runs,
        *whole.ranked,
        *whole.serve_checks,
        *whole.capacities,
        *whole.profiles,
    )
    for package, versions in _versions([record.environment for record in measured]).items():
        if len(versions) > 1:
            yield (
                f"measured with {package} {' and '.join(versions)}: runs of one are not compared with runs of another, "
                "or only with that doubt"
            )
    devices: dict[str, list[Record]] = {}
    for record in measured:
        devices.setdefault(record.environment.device_name, []).append(record)
    if len(devices) > 1:
        named = ", ".join(f"{device} ({counted_kinds(records)})" for device, records in devices.items())
        yield f"measured on {named}: reports have a table by machine and no ratio between them"


def _superseded(runs: Sequence[Run]) -> int:
    """Runs of a workload that has a later one on its device; those of windows are joined instead."""
    counts = Counter(
        (run.environment.device_name, run.workload.key) for run in runs if run.timing.window_seconds is None
    )
    return sum(count - 1 for count in counts.values())


def _versions(environments: Sequence[Environment]) -> dict[str, tuple[str, ...]]:
    return {
        "pamprof": tuple(dict.fromkeys(environment.pamprof_version for environment in environments)),
        "torch": tuple(dict.fromkeys(environment.torch_version for environment in environments)),
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
