"""Equal size is not equal quality: what training to the other arm's perplexity would cost, by a scaling law.

Model, not measurement. The paper (arXiv:2604.05030 v2) fits validation loss, in nats, to a power of the parameter
count, loss ~ N^-0.15 for PAM and N^-0.12 for its real twin, over 5 M to 100 M parameters on one data set and without an
irreducible part. It gives no exponent for a transformer, so a transformer can be the goal and not the one that grows.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.errors import UsageError
from pamprof.pricing.run_cost import PAPER_RUN_TOKENS, SECONDS_PER_HOUR
from pamprof.records import Phase, Scope
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.records import Interval, LayerFacts, Perplexity, Run

SOURCE = "loss ~ N^-0.15 (PAM) and N^-0.12 (real twin), arXiv:2604.05030 v2, fitted from 5 M to 100 M parameters"
LIMITS = (
    "one data set, no irreducible loss, training cost taken as proportional to parameters at the same number of "
    "tokens; beyond the fitted sizes it is a guess"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualQuality:
    """How much larger an arm would have to be to reach a perplexity.

    Attributes:
        parameter_factor: Parameters needed over parameters it has; below 1 where it is already better.
        training_cost_factor: Cost of training it to that perplexity over the cost of training it as it is, same tokens.
        training_cost_factor_with_tokens: The same where tokens grow with the parameters.
        basis: Always a model.
        source: Where the exponent was read.
        limits: What it leaves out.
    """

    parameter_factor: float
    training_cost_factor: float
    training_cost_factor_with_tokens: float
    basis: Basis
    source: str
    limits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """Quality beside cost.

    Attributes:
        layer, title: Registry name, and name for people.
        perplexity: Validation perplexity, lower is better.
        source: Who says so.
        goal: Perplexity of the best arm.
        needed: What it takes to reach the goal; None where no exponent is known.
        training_hours: Device-hours of the paper's training run at the measured training throughput; None unmeasured.
    """

    layer: str
    title: str
    perplexity: float
    source: str
    goal: float
    needed: EqualQuality | None
    training_hours: Interval | None


@cache
def loss_exponents() -> dict[str, float]:
    """Published exponents of loss over parameters by the layer's registry name, from ``loss_exponents.csv``."""
    text = files("pamprof.pricing.serving").joinpath("loss_exponents.csv").read_text(encoding="utf-8")
    return {row["layer"]: float(row["loss_exponent"]) for row in csv.DictReader(text.splitlines())}


def equal_quality(layer: str, perplexity: float, goal: float) -> EqualQuality | None:
    """What ``layer`` at ``perplexity`` needs to reach ``goal``; None where no exponent is known for it.

    Raises:
        UsageError: A perplexity of 1 or less, whose logarithm is no loss.
    """
    if not (perplexity > 1 and goal > 1):
        raise UsageError(f"perplexities {perplexity:g} and {goal:g} must both lie above 1")
    exponent = loss_exponents().get(layer)
    if exponent is None:
        return None
    factor = (log(perplexity) / log(goal)) ** (1 / exponent)
    return EqualQuality(
        parameter_factor=factor,
        training_cost_factor=factor,
        training_cost_factor_with_tokens=factor**2,
        basis=Basis.MODELLED,
        source=SOURCE,
        limits=LIMITS,
    )


def quality_rows(
    perplexities: Sequence[Perplexity], runs: Sequence[Run], layers: Mapping[str, LayerFacts]
) -> tuple[QualityRow, ...]:
    """A row for each layer with a perplexity, the last one given; ``runs`` say how long its training takes."""
    latest = {known.layer: known for known in perplexities}
    if not latest:
        return ()
    goal = min(known.value for known in latest.values())
    return tuple(
        QualityRow(
            layer=known.layer,
            title=layers[known.layer].title,
            perplexity=known.value,
            source=known.source,
            goal=goal,
            needed=equal_quality(known.layer, known.value, goal),
            training_hours=_training_hours(known.layer, runs),
        )
        for known in latest.values()
    )


def _training_hours(layer: str, runs: Sequence[Run]) -> Interval | None:
    """Device-hours of the paper's run by the fastest training measured of the layer."""
    hours = [
        median_interval(run.timing.wall_time_seconds).scaled(
            PAPER_RUN_TOKENS / run.workload.tokens_per_step / SECONDS_PER_HOUR
        )
        for run in runs
        if run.workload.spec.layer == layer and run.workload.phase is Phase.TRAIN and run.workload.scope is Scope.MODEL
    ]
    return min(hours, key=lambda found: found.median, default=None)
