"""Which crossover to show: for each batch the best arm's measured one, beside it what follows from bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.crossovers import STEADY_STEP
from pamprof.analysis.comparison.results import Basis, Crossover, CrossoverQuantity
from pamprof.render.text import brackets

if TYPE_CHECKING:
    from pamprof.records import Phase
    from pamprof.render.comparison.material import Material

_BEST_FIRST = ("always cheaper", "cheaper above", "unknown", "always dearer")


def measured_crossovers(material: Material, phase: Phase) -> dict[int, Crossover]:
    """By batch size, the crossover of the subject's arm that becomes the cheaper one first, the fastest of equals."""
    chosen: dict[int, Crossover] = {}
    points = material.main_points(phase)
    for crossover in material.analysis.crossovers:
        if (
            crossover.basis is Basis.MEASURED
            and crossover.quantity is CrossoverQuantity.TIME
            and crossover.phase is phase
            and crossover.batch_size != STEADY_STEP
            and crossover.subject_layer == material.subject_layer
            and any(crossover.dtype is p.point.dtype for p in points)
        ):
            known = chosen.get(crossover.batch_size)
            if known is None or _rank(material, crossover) < _rank(material, known):
                chosen[crossover.batch_size] = crossover
    return dict(sorted(chosen.items()))


def modelled_crossover(material: Material, quantity: CrossoverQuantity) -> Crossover | None:
    """What bytes alone say of the subject."""
    return next(
        (
            c
            for c in material.analysis.crossovers
            if c.basis is Basis.MODEL and c.quantity is quantity and c.subject_layer == material.subject_layer
        ),
        None,
    )


def by_bytes(material: Material) -> str:
    """``By bytes alone (modelled) traffic is equal at 195 tokens …``; empty where unknown."""
    traffic = modelled_crossover(material, CrossoverQuantity.DECODE_TRAFFIC)
    memory = modelled_crossover(material, CrossoverQuantity.MEMORY)
    if traffic is None or memory is None or traffic.tokens is None or memory.tokens is None:
        return ""
    return (
        f"By bytes alone (modelled), decode moves as much at {units.significant(traffic.tokens.median)} tokens of "
        f"context and holds as much at {units.significant(memory.tokens.median)}."
    )


def whose(material: Material, crossover: Crossover) -> str:
    """The arm it holds for; where even the best arm is always dearer, it holds for all of the layer's."""
    title = material.title_of(crossover.subject_layer)
    if crossover.direction == "always dearer":
        return f"every {title} arm"
    arm = material.arms.get(f"{crossover.subject_layer}/{crossover.subject_implementation}")
    return arm.label if arm is not None else title


def in_words(crossover: Crossover) -> str:
    """``cheaper above 8 150 tokens [7 880, 8 430]`` or ``cheaper at every context measured``."""
    if crossover.tokens is not None:
        interval = brackets(crossover.tokens)
        return f"cheaper above {units.significant(crossover.tokens.median)} tokens {interval}".rstrip()
    words = {"always cheaper": "cheaper at every context measured", "always dearer": "dearer at every context measured"}
    return words.get(crossover.direction, f"undecided: {crossover.reason}")


def _rank(material: Material, crossover: Crossover) -> tuple[int, float, float]:
    place = _BEST_FIRST.index(crossover.direction) if crossover.direction in _BEST_FIRST else len(_BEST_FIRST)
    most_tokens_per_second = max(
        (
            summary.tokens_per_second.median
            for point in material.analysis.points
            if (point.point.phase, point.point.batch_size) == (crossover.phase, crossover.batch_size)
            for summary in point.summaries
            if (summary.workload.spec.layer, summary.workload.implementation)
            == (crossover.subject_layer, crossover.subject_implementation)
        ),
        default=0.0,
    )
    return place, crossover.tokens.median if crossover.tokens is not None else 0.0, -most_tokens_per_second
