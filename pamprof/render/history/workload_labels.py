"""Names of workloads in a table over several points: the arm, and the point it was measured at."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import unique_labels
from pamprof.records import Scope
from pamprof.render.text import PHASE_NAMES, point_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.history.difference import Difference
    from pamprof.analysis.history.trend_results import TrendSeries
    from pamprof.records import Point


def workload_labels(rows: Iterable[Difference | TrendSeries]) -> dict[str, tuple[str, str]]:
    """Arm and point of each row by its key; the key itself where two differ only in sizes that no label shows.

    The device is named with the point where devices are told apart.
    """
    places: dict[tuple[Point, str | None], list[Difference | TrendSeries]] = defaultdict(list)
    for row in rows:
        places[row.workload.point, row.device_name].append(row)
    labels: dict[str, tuple[str, str]] = {}
    for (point, device), there in places.items():
        names = unique_labels(tuple(row.workload for row in there))
        where = place_label(point) + ("" if device is None else f", {device}")
        for row, name in zip(there, names, strict=True):
            labels[row.key] = (name if names.count(name) == 1 else row.key, where)
    return labels


def place_label(point: Point) -> str:
    """``Decode, batch 64 at 16k context, bfloat16``, and whether it is one block only."""
    scope = ", one block" if point.scope is Scope.LAYER else ""
    return f"{PHASE_NAMES[point.phase]}, {point_label(point)}, {point.dtype}{scope}"
