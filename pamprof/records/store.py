"""The append-only file of records: what is written is on disk, a torn last line never hides the lines before it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pamprof.errors import OutputError, RecordError
from pamprof.records.capacity import Capacity
from pamprof.records.codec import Record, decode, encode
from pamprof.records.ranks import RankedRun
from pamprof.records.reading import GZIP_MAGIC, UTF8_MARK, cause_of, is_torn, unpacked
from pamprof.records.run import Ceilings, Run, Skip
from pamprof.records.serve_check import ServeCheck
from pamprof.records.session import Session
from pamprof.records.training import TrainingProfile

RECORDS_FILE = "runs.jsonl"

_Kind = TypeVar("_Kind", Session, Run, Skip, Ceilings, TrainingProfile, Capacity, ServeCheck, RankedRun)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """What a file of records holds.

    Attributes:
        sessions: Headers, in file order.
        runs: Measured points, in file order.
        skips: Points without a number, in file order.
        problems: One sentence for each line that could not be read.
        ceilings: What devices reached at best, in file order.
        profiles: Profiled training loops, in file order.
        capacities: Measured capacities of memories, in file order.
        serve_checks: Loads that were predicted and served, in file order.
        ranked: Points that several ranks measured together, in file order.
    """

    sessions: tuple[Session, ...]
    runs: tuple[Run, ...]
    skips: tuple[Skip, ...]
    problems: tuple[str, ...]
    ceilings: tuple[Ceilings, ...] = ()
    profiles: tuple[TrainingProfile, ...] = ()
    capacities: tuple[Capacity, ...] = ()
    serve_checks: tuple[ServeCheck, ...] = ()
    ranked: tuple[RankedRun, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """Records of every kind, headers first."""
        return (
            *self.sessions,
            *self.ceilings,
            *self.runs,
            *self.skips,
            *self.capacities,
            *self.serve_checks,
            *self.ranked,
            *self.profiles,
        )

    @property
    def record_count(self) -> int:
        """How many there are of all kinds."""
        return len(self.records)

    @property
    def damage(self) -> str | None:
        """What could not be read, as a sentence without a full stop; None where everything was."""
        if not self.problems:
            return None
        count, more = len(self.problems), len(self.problems) - _MOST_NAMED
        named = "; ".join(self.problems[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        return f"{count} line{'s' if count > 1 else ''} could not be read: {named}"


class RunStore:
    """Appends records to ``path``, each flushed to the disk before ``append`` returns.

    Raises:
        OutputError: The file cannot be opened or written, or another process is writing it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            self._lock()
            self._end_last_line()
        except OSError as exc:
            raise OutputError(f"cannot write {path}: {exc.strerror}; choose another folder with --output-dir") from exc

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._file.close()
            raise OutputError(
                f"another comparison is writing {self.path}; wait for it or choose another --output-dir"
            ) from exc

    def _end_last_line(self) -> None:
        """Cut off a last line whose end is missing, which no ``append`` returned from; end one that lacks its newline.

        Raises:
            OutputError: The file is packed, so that a line added to it would be lost.
        """
        if not self._file.seek(0, os.SEEK_END):
            return
        self._file.seek(0)
        content = self._file.read()
        if content.startswith(GZIP_MAGIC):
            self._file.close()
            raise OutputError(f"{self.path} is packed by gzip; unpack it with gunzip to go on with it")
        begin = content.rfind(b"\n") + 1
        if is_torn(content[begin:]):
            self._file.truncate(begin)
        elif begin < len(content):
            self._file.write(b"\n")

    def append(self, record: Record) -> None:
        """Write one record and flush it to the disk."""
        line = memoryview(encode(record))
        size = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as exc:
            with contextlib.suppress(OSError):  # what cannot be cut off is a torn line, which reading passes over
                self._file.truncate(size)
            raise OutputError(f"cannot write {self.path}: {exc.strerror}; what was written before is safe") from exc

    def discard_if_empty(self) -> None:
        """Remove the file where it holds nothing, and its folder where that holds nothing else."""
        if self.path.stat().st_size == 0:
            self.path.unlink()
            with contextlib.suppress(OSError):  # the folder held something before
                self.path.parent.rmdir()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_only_begun(path: Path) -> bool:
    """Whether the file is empty or the torn beginning of its first record, so that going on loses nothing.

    Raises:
        RecordError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            line = file.readline() if os.fstat(file.fileno()).st_size else b""
    except OSError as exc:
        raise RecordError(f"cannot read {path}: {exc.strerror}") from exc
    return is_torn(line)


def stored_path(path: Path) -> Path:
    """The file of records at ``path``: itself, or the ``runs.jsonl`` of a folder, packed by gzip where that is all."""
    if not path.is_dir():
        return path
    plain, packed = path / RECORDS_FILE, path / f"{RECORDS_FILE}.gz"
    return packed if packed.exists() and not plain.exists() else plain


def read_records(path: Path) -> RecordFile:
    """Read every readable record of ``path``; a line that cannot be read becomes a sentence in ``problems``.

    The file may be packed by gzip, and lines may begin with a byte order mark and end with a carriage return.

    Raises:
        RecordError: The file cannot be opened, or not one line of it is a record.
    """
    try:
        content, fault = unpacked(path.read_bytes())
    except OSError as exc:
        raise RecordError(f"cannot read {path}: {exc.strerror}") from exc
    found: dict[type[Record], list[Any]] = defaultdict(list)
    problems: list[str] = []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(UTF8_MARK).strip()
        if not text:
            continue
        try:
            record = decode(text)
        except RecordError as exc:
            torn = number == len(lines) and is_torn(text)
            problem = (
                "cut off; its session was killed or still writes, or the file was not copied whole"
                if torn
                else str(exc)
            )
            problems.append(f"{path.name} line {number}: {problem}")
            continue
        found[type(record)].append(record)
    if fault is not None:
        problems.append(f"{path.name} after line {len(lines) - 1}: {fault}")
    if not found:
        raise RecordError(f"{path} holds no readable record: {fault or cause_of(content) or problems[0]}")
    return RecordFile(
        sessions=tuple(found[Session]),
        runs=tuple(found[Run]),
        skips=tuple(found[Skip]),
        problems=tuple(problems),
        ceilings=tuple(found[Ceilings]),
        profiles=tuple(found[TrainingProfile]),
        capacities=tuple(found[Capacity]),
        serve_checks=tuple(found[ServeCheck]),
        ranked=tuple(found[RankedRun]),
    )


def merged(files: Iterable[RecordFile]) -> RecordFile:
    """Several files of records as one, in the order given."""
    files = tuple(files)
    return RecordFile(
        sessions=tuple(session for file in files for session in file.sessions),
        runs=tuple(run for file in files for run in file.runs),
        skips=tuple(skip for file in files for skip in file.skips),
        problems=tuple(problem for file in files for problem in file.problems),
        ceilings=tuple(ceilings for file in files for ceilings in file.ceilings),
        profiles=tuple(profile for file in files for profile in file.profiles),
        capacities=tuple(capacity for file in files for capacity in file.capacities),
        serve_checks=tuple(check for file in files for check in file.serve_checks),
        ranked=tuple(run for file in files for run in file.ranked),
    )


def without_repeated(files: Iterable[RecordFile]) -> tuple[RecordFile, ...]:
    """Each file without the records that it, or a file before it, already holds, as when one file is given twice."""
    seen: set[tuple[str, ...]] = set()
    told: set[str] = set()

    def new(records: tuple[_Kind, ...]) -> tuple[_Kind, ...]:
        kept = []
        for record in records:
            if (identity := identity_of(record)) not in seen:
                seen.add(identity)
                kept.append(record)
        return tuple(kept)

    def distinct(file: RecordFile) -> RecordFile:
        kept = replace(
            file,
            sessions=new(file.sessions),
            runs=new(file.runs),
            skips=new(file.skips),
            ceilings=new(file.ceilings),
            profiles=new(file.profiles),
            capacities=new(file.capacities),
            serve_checks=new(file.serve_checks),
            ranked=new(file.ranked),
        )
        # A file that adds no record is one given before, or a copy of it; lines lost only in the copy stay told.
        fresh = tuple(problem for problem in file.problems if kept.record_count or problem not in told)
        told.update(file.problems)
        return replace(kept, problems=fresh)

    return tuple(distinct(file) for file in files)


def identity_of(record: Record) -> tuple[str, ...]:
    """What no two records share: kind, session, worker, moment, and what was measured."""
    kind = type(record).__name__.lower()
    match record:
        case Run() | RankedRun():
            return (kind, record.session_id, record.group_id, record.started_at, record.workload.key)
        case Skip():
            return (kind, record.session_id, record.started_at, record.workload.key)
        case ServeCheck():  # a short load is over within the second in which the next begins
            return (kind, record.session_id, record.started_at, record.workload.key, record.load, record.arrivals)
        case Ceilings():
            return (kind, record.session_id, record.started_at, record.dtype)
        case Session() | TrainingProfile() | Capacity():
            return (kind, record.session_id, record.started_at)
