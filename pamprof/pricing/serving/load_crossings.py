"""From which load on one architecture needs fewer replicas than another, prompt length by prompt length.

A device that holds ``h`` requests a second serves ``x`` of them with ``ceil(x / h)`` replicas. So what holds less
needs one more first where the fewest replicas no longer do, just above ``minimum x h``; above the last ``n x h`` at
which both still need ``n``, it always does. At one rate of a device-hour dollars follow replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis, least_sure
from pamprof.analysis.serving.operating_point import OperatingPoint
from pamprof.analysis.simulation.arm import loaded_arm, mean_traffic, server_point
from pamprof.analysis.simulation.highest_rate import WITHIN
from pamprof.analysis.simulation.measured_times import End
from pamprof.errors import PamprofError
from pamprof.pricing.serving.context_table import CACHE, STATE, holds
from pamprof.pricing.serving.study import classes_of, facts_by_layer
from pamprof.records import LayerRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadQuestion, LoadStudy
    from pamprof.records import LayerFacts

# Multiples of the prompts asked for at which both are simulated, too.
PROMPT_FACTORS = (0.25, 4.0, 16.0)
# Two rates that are each known to 1 % and differ by less are not told apart.
_SAME_WITHIN = 2 * WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCrossing:
    """Two arms at one mean prompt length.

    Attributes:
        subject, rival: Titles; a fixed state and a cache.
        input_tokens: Of a prompt, in the mean.
        subject_per_second, rival_per_second: What one device holds of each, requests a second.
        first_per_second: Above this rate of all requests the one that holds more can do with fewer replicas; None where
            the two are not told apart.
        lasting_per_second: Above it, it always does.
        basis: Of the less sure of the two.
    """

    subject: str
    rival: str
    input_tokens: int
    subject_per_second: float
    rival_per_second: float
    first_per_second: float | None
    lasting_per_second: float | None
    basis: Basis

    @property
    def fewer(self) -> str | None:
        """Who can do with fewer; None where the two are not told apart."""
        if self.first_per_second is None:
            return None
        return self.subject if self.subject_per_second > self.rival_per_second else self.rival

    @property
    def ratio(self) -> float:
        """What the subject's device holds over what the rival's does."""
        return self.subject_per_second / self.rival_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCrossing:
    """The prompt length at which both devices hold the same rate, between two that were simulated.

    Attributes:
        tokens: In equal ratios between ``low`` and ``high``.
        fewer_above: Whose replicas are fewer above it.
    """

    subject: str
    rival: str
    tokens: float
    low: int
    high: int
    fewer_above: str


def replica_steps(most: float, least: float, minimum_replicas: int) -> tuple[float, float]:
    """Above which rate what holds ``most`` may need fewer replicas than what holds ``least``, above which it does."""
    last = max(minimum_replicas, ceil(round(most / (most - least), 9)) - 1)
    return minimum_replicas * least, last * least


def load_crossings(
    study: LoadStudy, layers: Iterable[LayerFacts], factors: Sequence[float] = PROMPT_FACTORS
) -> tuple[LoadCrossing, ...]:
    """Every fixed state decided about against every cache of its size and device, at several prompt lengths.

    Lengths at which one of the two is unknown or holds nothing are left out.
    """
    facts = facts_by_layer((_layer(arm) for arm in study.arms), layers)
    found: list[LoadCrossing] = []
    for subject, rivals in _pairs(study, facts):
        for factor in sorted({*factors, 1.0}) if rivals else ():
            ours = _holds(subject, study.question, factor)
            if ours is None:
                continue
            for rival in rivals:
                theirs = _holds(rival, study.question, factor)
                if theirs is not None:
                    found.append(_crossing(subject, rival, study.question, factor, (ours, theirs)))
    return tuple(sorted(found, key=lambda row: (row.subject, row.rival, row.input_tokens)))


def prompt_crossings(crossings: Sequence[LoadCrossing]) -> tuple[PromptCrossing, ...]:
    """Where the lead changes between neighbouring prompt lengths."""
    found = []
    told = [row for row in crossings if row.fewer is not None]
    for one, next_one in pairwise(told):
        if (one.subject, one.rival) != (next_one.subject, next_one.rival) or one.fewer == next_one.fewer:
            continue
        share = log(one.ratio) / (log(one.ratio) - log(next_one.ratio))
        tokens = exp(log(one.input_tokens) + share * log(next_one.input_tokens / one.input_tokens))
        found.append(
            PromptCrossing(
                subject=one.subject,
                rival=one.rival,
                tokens=tokens,
                low=one.input_tokens,
                high=next_one.input_tokens,
                fewer_above=next_one.fewer or "",
            )
        )
    return tuple(found)


def _pairs(study: LoadStudy, layers: Mapping[str, LayerFacts]) -> Iterator[tuple[ArmUnderLoad, list[ArmUnderLoad]]]:
    """For each size and device the subject that holds most, and each layer's cache that does."""
    arms = {arm.title: arm for arm in study.arms}
    for members in classes_of([arm.steady.curve for arm in study.arms]):
        titles = {curve.title for curve in members}
        present = [arm for title, arm in arms.items() if title in titles and arm.highest_per_second is not None]
        states = [arm for arm in present if holds(arm.steady.curve) == STATE]
        subjects = [arm for arm in states if layers[_layer(arm)].role is LayerRole.SUBJECT]
        rivals: dict[str, ArmUnderLoad] = {}
        for arm in present:
            if holds(arm.steady.curve) == CACHE:
                rivals.setdefault(_layer(arm), arm)
        for subject in (subjects or states)[:1]:
            yield subject, list(rivals.values())


def _layer(arm: ArmUnderLoad) -> str:
    return arm.steady.curve.runs[0].workload.spec.layer


def _holds(arm: ArmUnderLoad, question: LoadQuestion, factor: float) -> tuple[float, Basis] | None:
    """What one device holds where prompts are ``factor`` times as long, requests a second; None where unknown."""
    loaded, known = arm.loaded, arm.highest_per_second
    if loaded is None or known is None:
        return None
    if factor == 1.0:
        return known.median, arm.basis or Basis.MODELLED
    requests, curve = question.requests.with_prompts(factor), loaded.curve
    point = server_point(curve, mean_traffic(requests), question.level.limits)
    if not isinstance(point, OperatingPoint):
        return None
    try:
        other = loaded_arm(curve, point, requests, question.level, question.settings)
        share = known.median * loaded.point.device_seconds.median
        rate = other.highest_rate(End.MEDIAN, share / point.device_seconds.median).requests_per_second
    except PamprofError:
        return None
    return None if rate is None else (rate, other.table.basis)


def _crossing(
    subject: ArmUnderLoad,
    rival: ArmUnderLoad,
    question: LoadQuestion,
    factor: float,
    found: tuple[tuple[float, Basis], tuple[float, Basis]],
) -> LoadCrossing:
    (ours, our_basis), (theirs, their_basis) = found
    most, least = max(ours, theirs), min(ours, theirs)
    apart = most > least * (1 + _SAME_WITHIN)
    first, lasting = replica_steps(most, least, question.minimum_replicas) if apart else (None, None)
    return LoadCrossing(
        subject=subject.title,
        rival=rival.title,
        input_tokens=round(question.requests.mean_input_tokens * factor),
        subject_per_second=ours,
        rival_per_second=theirs,
        first_per_second=first,
        lasting_per_second=lasting,
        basis=least_sure(our_basis, their_basis),
    )
