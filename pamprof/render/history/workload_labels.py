"""Names of workloads in a table over several points: the arm, and the point it was measured at."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import unique_labels
from pamprof.records import Scope
from pamprof.render.text import PHASE_NAMES, point_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.records import Point, Workload


def workload_labels(workloads: Iterable[Workload]) -> dict[str, tuple[str, str]]:
    """Arm and point of each workload by its key; the key itself where two differ only in sizes that no label shows."""
    points: dict[Point, list[Workload]] = defaultdict(list)
    for workload in workloads:
        points[workload.point].append(workload)
    labels: dict[str, tuple[str, str]] = {}
    for point, arms in points.items():
        names = unique_labels(tuple(arms))
        for arm, name in zip(arms, names, strict=True):
            labels[arm.key] = (name if names.count(name) == 1 else arm.key, place_label(point))
    return labels


def place_label(point: Point) -> str:
    """``Decode, batch 64 at 16k context, bfloat16``, and whether it is one block only."""
    scope = ", one block" if point.scope is Scope.LAYER else ""
    return f"{PHASE_NAMES[point.phase]}, {point_label(point)}, {point.dtype}{scope}"
