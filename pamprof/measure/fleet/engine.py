"""What runs the groups of a fleet, behind one protocol, and which of them ``--on`` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pamprof.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What came of an attempt.

    Attributes:
        attempt: As ``Engine.begin`` named it.
        line: A record or a message; empty where it is the end of the attempt.
        fault: Why it ended before it was done; empty where it ended by itself.
    """

    attempt: str
    line: bytes = b""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCapacity:
    """What is known of a fleet before anything runs on it.

    Attributes:
        name: Of the engine, with what it has: ``Ray with 4 GPUs``.
        device_kind: ``cpu`` or ``cuda``.
        slots: Groups that run at a time; None where a queue decides.
        devices: Names of its GPUs as far as the engine tells them, each once.
    """

    name: str
    device_kind: str
    slots: int | None
    devices: tuple[str, ...] = ()


def counted(count: int, noun: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class Engine(Protocol):
    """Runs groups on machines: no retries and no records of its own, which are the head's."""

    def capacity(self, device: str) -> FleetCapacity:
        """What it has for ``auto``, ``cpu`` or ``cuda``; to be asked first.

        Raises:
            DeviceError: It has none.
        """
        ...

    def free(self) -> int:
        """Groups that could begin now."""
        ...

    def begin(self, task: bytes, *, expected_seconds: float) -> str:
        """Run a group; the name of the attempt."""
        ...

    def news(self, timeout_seconds: float) -> list[News]:
        """What came since, in order of each attempt; after ``timeout_seconds`` nothing."""
        ...

    def close(self) -> None:
        """End what runs, and everything that was begun for it."""
        ...


def open_engine(on: str, *, folder: Path) -> Engine:
    """The engine that ``--on`` names.

    Args:
        on: ``ray``, ``ray:HOST:PORT``, ``slurm`` or ``slurm:PARTITION``; partition ``local`` are processes of this
            machine, begun by submitit as its jobs on a cluster are.
        folder: Of the records; what jobs write while they run lies in it.

    Raises:
        UsageError: It names none, or its package is not installed.
        DeviceError: It cannot be reached.
    """
    name, colon, where = on.partition(":")
    if name not in ("ray", "slurm") or (colon and not where):
        raise UsageError(f"--on {on!r} is not known; use ray, ray:HOST:PORT, slurm or slurm:PARTITION")
    if name == "ray":
        from pamprof.measure.fleet.ray_cluster import RayCluster

        return RayCluster(where or None)
    from pamprof.measure.fleet.slurm import SlurmQueue

    return SlurmQueue(where or None, folder=folder)
