"""What goes between the head of a fleet and its machines: a group as one line of JSON, lines of records and news back.

Records come as the file stores them. Versions are read before the rest, which another version may not understand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

import msgspec

from pamprof.measure.session.groups import GroupsTask
from pamprof.records import ProcessorUse
from pamprof.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The software that two machines must share for their numbers to be of one comparison.

    Attributes:
        pamprof: Of this package.
        torch: Public version: its builds for a CPU and for CUDA count as the same, as a head may have no GPU.
    """

    pamprof: str
    torch: str

    def difference(self, head: Versions, *, node: str) -> str | None:
        """Why this machine cannot work for ``head``, with the remedy; None where it can."""
        for package, here, there in (("pamprof", self.pamprof, head.pamprof), ("torch", self.torch, head.torch)):
            if here != there:
                remedy = f"install {package}=={there} on every machine"
                return f"{node} has {package} {here or 'not at all'} and the head {there}; {remedy}"
        return None


def own_versions() -> Versions:
    """Of this process, without importing torch."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    return Versions(pamprof=__version__, torch=torch.partition("+")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTask:
    """One group for one machine.

    Attributes:
        head: Versions of whoever sends it.
        task: The group.
        time_budget_seconds: After which no further workload is begun; None for no end.
        with_ceilings: Names of devices whose ceilings are known; only the machine itself can say whether it is one.
    """

    head: Versions
    task: GroupsTask
    time_budget_seconds: float | None = None
    with_ceilings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine is, as it says before it measures.

    Attributes:
        node: What people know it by; never recorded.
        device_kind: ``cpu`` or ``cuda``.
        device_name: Product name.
        processor: What a run occupies of a CPU; None on a GPU.
    """

    node: str
    device_kind: str
    device_name: str
    processor: ProcessorUse | None = None


class Said(StrEnum):
    """What a message of a machine is about."""

    MACHINE = "machine"  # what it is
    STARTED = "started"  # a workload is being measured
    REMARK = "remark"  # worth a line
    REFUSED = "refused"  # it cannot work for this head
    FAILED = "failed"  # the group could not be measured there
    ENDED = "ended"  # everything of the group has its outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMessage:
    """News that is no record."""

    said: Said
    text: str = ""
    machine: Machine | None = None
    left_out: int = 0


_PREFIX = b'{"said":'


def encode_task(task: FleetTask) -> bytes:
    """One line."""
    return msgspec.json.encode(task) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    head: Versions


def head_of(line: bytes) -> Versions:
    """Versions of whoever sent a task, whatever else is in it."""
    return msgspec.json.decode(line, type=_Sender).head


def decode_task(line: bytes) -> FleetTask:
    """The task of one line of the same version."""
    return msgspec.json.decode(line, type=FleetTask)


def encode_message(message: NodeMessage) -> bytes:
    """One line, told from a record by its first key."""
    return msgspec.json.encode(message) + b"\n"


def decode_message(line: bytes) -> NodeMessage | None:
    """The message of one line; None where the line is a record."""
    return msgspec.json.decode(line, type=NodeMessage) if line.startswith(_PREFIX) else None
