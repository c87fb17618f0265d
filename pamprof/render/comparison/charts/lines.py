"""Lines over batch size or context, one an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.arms import arm_key
from pamprof.render.charts import ArmLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Interval
    from pamprof.render.comparison.inputs import ReportInputs


def arm_lines(
    inputs: ReportInputs,
    points: Iterable[PointAnalysis],
    place: Callable[[PointAnalysis], float],
    value: Callable[[Summary], Interval],
) -> tuple[ArmLine, ...]:
    """One line an arm over ``place(point)``, from its fastest execution at each point."""
    found: dict[str, list[tuple[float, Interval]]] = {}
    for point in points:
        for summary in inputs.best_arms(point):
            found.setdefault(arm_key(summary.workload), []).append((place(point), value(summary)))
    return tuple(
        ArmLine(arm=inputs.arms[key], xs=tuple(float(x) for x, _ in pairs), values=tuple(v for _, v in pairs))
        for key, pairs in ((key, found[key]) for key in inputs.arms if key in found)
    )
