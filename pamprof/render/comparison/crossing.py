"""Whose crossover it is, and what follows from bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Crossover, CrossoverQuantity, Direction

if TYPE_CHECKING:
    from pamprof.render.comparison.inputs import ReportInputs


def by_bytes(inputs: ReportInputs) -> str:
    """``By bytes alone (modelled) decode moves as much as with the cache of the …``; empty where unknown."""
    traffic = inputs.story.modelled_crossover(CrossoverQuantity.DECODE_TRAFFIC)
    memory = inputs.story.modelled_crossover(CrossoverQuantity.MEMORY)
    if traffic is None or memory is None or traffic.tokens is None or memory.tokens is None:
        return ""
    cache = inputs.story.names.fastest_of(traffic.reference_layers)
    return (
        f"By bytes alone (modelled), decode moves as much as with the cache of the {cache} at "
        f"{units.significant(traffic.tokens.median)} tokens of context and holds as much at "
        f"{units.significant(memory.tokens.median)}."
    )


def whose(inputs: ReportInputs, crossover: Crossover) -> str:
    """The arm it holds for; where even the best arm is never cheaper, the layer with all its arms."""
    title = inputs.story.names.title(crossover.subject_layer)
    if crossover.direction is Direction.NEVER_CHEAPER:
        return title
    arm = inputs.arms.get(f"{crossover.subject_layer}/{crossover.subject_implementation}")
    return arm.label if arm is not None else title
