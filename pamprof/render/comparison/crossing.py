"""Whose crossover it is, and what follows from bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Crossover, CrossoverQuantity, Direction

if TYPE_CHECKING:
    from pamprof.render.comparison.inputs import ReportInputs


def by_bytes(inputs: ReportInputs) -> str:
    """``By bytes alone (modelled) traffic is equal at 195 tokens …``; empty where unknown."""
    traffic = inputs.story.modelled_crossover(CrossoverQuantity.DECODE_TRAFFIC)
    memory = inputs.story.modelled_crossover(CrossoverQuantity.MEMORY)
    if traffic is None or memory is None or traffic.tokens is None or memory.tokens is None:
        return ""
    return (
        f"By bytes alone (modelled), decode moves as much at {units.significant(traffic.tokens.median)} tokens of "
        f"context and holds as much at {units.significant(memory.tokens.median)}."
    )


def whose(inputs: ReportInputs, crossover: Crossover) -> str:
    """The arm it holds for; where even the best arm is never cheaper, the layer with all its arms."""
    title = inputs.story.names.title(crossover.subject_layer)
    if crossover.direction is Direction.NEVER_CHEAPER:
        return title
    arm = inputs.arms.get(f"{crossover.subject_layer}/{crossover.subject_implementation}")
    return arm.label if arm is not None else title
