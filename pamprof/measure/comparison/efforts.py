"""What each effort measures, how carefully, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.measure.comparison.worth import Worth
from pamprof.measure.session.settings import Settings, WindowSettings
from pamprof.records import Effort

if TYPE_CHECKING:
    from collections.abc import Collection

_ALL = tuple(Worth)
_BEST_ARMS = (
    Worth.BEST,
    Worth.REFERENCES,
    Worth.UNCOMPILED,
    Worth.CROSSOVER,
    Worth.UNCOMPILED_ELSEWHERE,
    Worth.REFERENCES_ELSEWHERE,
)
_REFERENCE_PROCESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortRules:
    """One effort on one kind of device.

    Attributes:
        settings: Sampling rules.
        time_budget_seconds: From the command's start to the last point; None for no end.
        worths: What is visited where the command names neither implementations nor executions.
        watched: Of which worths a window long enough for valid energy is taken; the others get ``glimpse_seconds``.
        glimpse_seconds: Monitored window of the others: it sees utilisation, clocks and throttling, not energy.
        processes: Fresh ones for each point.
        compiles_ahead: Whether other processes compile for points to come; they stand still while times are taken.
    """

    settings: Settings
    time_budget_seconds: float | None
    worths: Collection[Worth] = _ALL
    watched: Collection[Worth] = _ALL
    glimpse_seconds: float = 0.0
    compiles_ahead: bool = False
    processes: int = 1


_CUDA = {
    Effort.QUICK: EffortRules(
        settings=Settings(
            time_limit_seconds=1.0,
            monitor_seconds=2.2,
            target_half_width=0.02,
            longest_warm_up_seconds=1.0,
            longest_profiled_step_seconds=0.25,
        ),
        time_budget_seconds=270.0,
        worths=tuple(worth for worth in Worth if worth is not Worth.REST),
        watched=(Worth.BEST, Worth.REFERENCES),
        glimpse_seconds=0.3,
        compiles_ahead=True,
    ),
    Effort.STANDARD: EffortRules(settings=Settings(), time_budget_seconds=5400.0),
    Effort.REFERENCE: EffortRules(
        settings=Settings(windows=WindowSettings()),
        time_budget_seconds=570.0,
        worths=_BEST_ARMS,
        processes=_REFERENCE_PROCESSES,
    ),
}
_CPU = {
    Effort.QUICK: EffortRules(
        settings=Settings(
            time_limit_seconds=0.4, monitor_seconds=0.3, sample_seconds=0.01, longest_warm_up_seconds=1.0
        ),
        time_budget_seconds=30.0,
        watched=(Worth.BEST,),
        glimpse_seconds=0.1,
    ),
    Effort.STANDARD: EffortRules(
        settings=Settings(time_limit_seconds=4.0, monitor_seconds=0.5, sample_seconds=0.01), time_budget_seconds=600.0
    ),
    Effort.REFERENCE: EffortRules(
        settings=Settings(
            windows=WindowSettings(window_seconds=0.5, longest_settle_seconds=10.0),
            monitor_seconds=0.5,
            sample_seconds=0.01,
        ),
        time_budget_seconds=570.0,
        worths=_BEST_ARMS,
        processes=_REFERENCE_PROCESSES,
    ),
}


def effort_rules(effort: Effort, device_kind: str) -> EffortRules:
    """The rules of ``effort`` on ``cpu`` or ``cuda``."""
    return (_CPU if device_kind == "cpu" else _CUDA)[effort]
