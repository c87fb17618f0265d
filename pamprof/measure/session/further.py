"""Points that a session adds to its plan because of what it measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.records import Run, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPoint:
    """One point more.

    Attributes:
        workloads: At the point; the first is what the others are paired with.
        expected_seconds: By key.
        monitor_seconds: Monitored window by key.
        reason: A sentence for the reporter.
    """

    workloads: tuple[Workload, ...]
    expected_seconds: Mapping[str, float]
    monitor_seconds: Mapping[str, float]
    reason: str


class FurtherPoints(Protocol):
    """Decides about added points; a point is returned once."""

    @property
    def visited_after(self) -> frozenset[str]:
        """Keys of planned workloads that are visited after added ones."""
        ...

    def may_add(self) -> str:
        """Where points may be added, in words; empty where none can be."""
        ...

    def after(self, runs: Sequence[Run]) -> tuple[AddedPoint, ...]:
        """The points that the runs of a session so far ask for."""
        ...
