"""Crossovers in words, and beside them what follows from bytes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Crossover, CrossoverQuantity, Direction
from pamprof.render.text import brackets

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
    """The arm it holds for; where even the best arm is never cheaper, it holds for all of the layer's."""
    title = inputs.story.names.title(crossover.subject_layer)
    if crossover.direction is Direction.NEVER_CHEAPER:
        return f"every {title} arm"
    arm = inputs.arms.get(f"{crossover.subject_layer}/{crossover.subject_implementation}")
    return arm.label if arm is not None else title


def in_words(crossover: Crossover) -> str:
    """``cheaper above 8 150 tokens [7 880, 8 430]`` or ``cheaper at every context measured``."""
    if crossover.tokens is not None:
        interval = brackets(crossover.tokens)
        return f"cheaper above {units.significant(crossover.tokens.median)} tokens {interval}".rstrip()
    if crossover.direction is Direction.ALWAYS_CHEAPER:
        return "cheaper at every context measured"
    if crossover.direction is Direction.NEVER_CHEAPER:
        return "more expensive at every context measured"
    return f"undecided: {crossover.reason}"
