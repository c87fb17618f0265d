"""The protocol between parent and worker: a request in, lines of records and events back, and the next request.

Records are sent as the file stores them. Events name the point in progress, so that the parent knows which point a
worker that dies or hangs has cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from pamprof.measure.session.settings import Settings
from pamprof.records import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """One task of a worker: measure ``workloads`` in order, each paired with the first that can be built.

    Attributes:
        session_id: The session the records belong to.
        group_id: Identifies this worker process in the records.
        origin_seconds: ``time.perf_counter()`` of the session's start; shared by all processes of a machine.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        workloads: In order; the reference first.
        done: Keys that already have a record: a reference among them is built and paired, not recorded again.
        settings: Sampling rules.
        ceilings: Whether to measure the device's ceilings before the first arm.
        deadline_seconds: Moment on the clock of ``origin_seconds`` after which a sweep begins no further point, and a
            point in progress takes its fewest samples only; None for no such moment.
        companions: Processes that compile for this session on the same device; they stand still while times are taken
            and are not others on the device.
        folder: Of the records, where traces go.
        checkpoints: Files of weights, by what the arms' sizes call them.
    """

    session_id: str
    group_id: str
    origin_seconds: float
    device: str
    workloads: tuple[Workload, ...]
    done: tuple[str, ...]
    settings: Settings
    ceilings: bool
    deadline_seconds: float | None = None
    companions: tuple[int, ...] = ()
    folder: str = ""
    checkpoints: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """What a process that compiles ahead is to do.

    Attributes:
        workloads: In order.
        device: As the worker opens it.
        seed: Of weights and inputs.
        memory_share: Of the device's memory, 0..1, beyond which it gives up on a workload.
    """

    workloads: tuple[Workload, ...]
    device: str
    seed: int
    memory_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Progress: ``started`` with the key of the workload in hand, ``finished``, or ``unready``.

    Unready is a reference that has its record and could not be built again; the group ends there, with the ``reason``.
    """

    event: str
    key: str = ""
    reason: str = ""


_EVENT_PREFIX = b'{"event":'


def decode_request(line: bytes) -> GroupRequest:
    """The request of one line."""
    return msgspec.json.decode(line, type=GroupRequest)


def encode_event(event: Event) -> bytes:
    """One line, told from a record by its first key."""
    return msgspec.json.encode(event) + b"\n"


def decode_event(line: bytes) -> Event | None:
    """The event of one line, None where the line is a record."""
    return msgspec.json.decode(line, type=Event) if line.startswith(_EVENT_PREFIX) else None
