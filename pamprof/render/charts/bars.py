"""What bars show: rungs of a ladder, memory by component, the sensitivity of a quantity to its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Basis
    from pamprof.records import Interval
    from pamprof.render.arms import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderBar:
    """One rung. ``start`` and the cumulative median are multiples of the baseline's cost; ``role`` is its colour."""

    label: str
    detail: str
    role: str
    start: float
    factor: Interval
    cumulative: Interval
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPanel:
    """The rungs of one point; the first is the baseline."""

    title: str
    bars: tuple[LadderBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """Stacked bytes of one arm: (component, bytes) from left to right."""

    arm: Arm
    label: str
    parts: tuple[tuple[str, int], ...]
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPanel:
    """Arms at one point."""

    title: str
    bars: tuple[MemoryBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TornadoBar:
    """One input; a bound is None where the deployment is then infeasible, and ``reason`` says why."""

    name: str
    lower: float | None
    higher: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TornadoPanel:
    """What one quantity becomes when each input is a fifth lower and a fifth higher."""

    title: str
    usual: float
    bars: tuple[TornadoBar, ...]
    basis: Basis
