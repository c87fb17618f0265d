"""The best arms of each GPU side by side: subject against reference at each point, and the length where they cross."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.crossovers import STEADY_STEP, CrossoverPlace, locate_crossover, steady_steps
from pamprof.analysis.prediction.predict import ratio_of
from pamprof.records import LayerRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.comparison.results import Direction
    from pamprof.analysis.prediction.predict import Prediction
    from pamprof.records import Interval, LayerFacts, Phase, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class BestArms:
    """One point on one GPU: the fastest subject and the fastest reference that fit; None where none does."""

    gpu: str
    point: Point
    subject: Prediction | None
    reference: Prediction | None

    @property
    def ratio(self) -> Interval | None:
        """Subject over reference."""
        return None if self.subject is None or self.reference is None else ratio_of(self.subject, self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCrossover:
    """Where the subject becomes the faster one on a GPU, over lengths at one batch or at steps of steady size.

    Attributes:
        gpu: Canonical name.
        phase: Of its points.
        batch_size: ``STEADY_STEP`` where it shrinks as sequences grow.
        places: Length and ratio, in order.
        tokens: The length; None where the intervals leave it open, or ``direction`` says that there is none.
        median_tokens: Where the medians alone come down through 1; None where they do not.
        direction: Which of them is the faster one where.
        reason: The ratios it follows from, in a sentence.
        is_measured: Whether every time was measured on this GPU.
    """

    gpu: str
    phase: Phase
    batch_size: int
    places: tuple[tuple[int, Interval], ...]
    tokens: Interval | None
    median_tokens: float | None
    direction: Direction
    reason: str
    is_measured: bool


def best_arms(predictions: Iterable[Prediction], layers: Mapping[str, LayerFacts]) -> tuple[BestArms, ...]:
    """The fastest arms of every GPU and point at which a subject or a reference was measured."""
    groups: dict[tuple[str, Point], list[Prediction]] = {}
    for each in predictions:
        groups.setdefault((each.gpu, each.workload.point), []).append(each)
    return tuple(
        BestArms(
            gpu=gpu,
            point=point,
            subject=_fastest(members, layers, LayerRole.SUBJECT),
            reference=_fastest(members, layers, LayerRole.REFERENCE),
        )
        for (gpu, point), members in groups.items()
    )


def _fastest(members: Iterable[Prediction], layers: Mapping[str, LayerFacts], role: LayerRole) -> Prediction | None:
    timed = [(each.step_seconds.median, each) for each in members if each.step_seconds is not None]
    of_role = [pair for pair in timed if layers[pair[1].workload.spec.layer].role is role]
    return min(of_role, key=lambda pair: pair[0])[1] if of_role else None


def crossovers_by_gpu(arms: Sequence[BestArms]) -> tuple[PredictedCrossover, ...]:
    """One crossover a GPU, phase and batch of two lengths or more, and one of training with steady steps."""
    found = []
    for gpu in dict.fromkeys(each.gpu for each in arms):
        ratios = {each.point: each.ratio for each in arms if each.gpu == gpu}
        known = {point: ratio for point, ratio in ratios.items() if ratio is not None}
        families: dict[tuple[Phase, int, str, str], list[Point]] = {}
        for point in known:
            key = (point.phase, point.batch_size, point.scope.value, point.dtype.value)
            families.setdefault(key, []).append(point)
        groups = [(key[1], tuple(members)) for key, members in families.items() if len(members) > 1]
        groups += [(STEADY_STEP, members) for members in steady_steps(known)]
        for batch_size, members in groups:
            ordered = sorted(members, key=lambda point: point.sequence_length)
            places = [
                CrossoverPlace(
                    length=point.sequence_length,
                    ratio=known[point],
                    reference_seconds=_reference_seconds(arms, gpu, point),
                )
                for point in ordered
            ]
            tokens, direction, reason = locate_crossover(places)
            found.append(
                PredictedCrossover(
                    gpu=gpu,
                    phase=ordered[0].phase,
                    batch_size=batch_size,
                    places=tuple((place.length, place.ratio) for place in places),
                    tokens=tokens,
                    median_tokens=_median_fall(places),
                    direction=direction,
                    reason=reason,
                    is_measured=all(_is_measured(arms, gpu, point) for point in ordered),
                )
            )
    return tuple(found)


def _median_fall(places: Sequence[CrossoverPlace]) -> float | None:
    """Where the medians come down through 1, linear in the logarithms."""
    for first, last in pairwise(places):
        before, after = first.ratio.median, last.ratio.median
        if before > 1 >= after:
            share = log(before) / (log(before) - log(after))
            return exp(log(first.length) + share * log(last.length / first.length))
    return None


def _is_measured(arms: Iterable[BestArms], gpu: str, point: Point) -> bool:
    found = next(each for each in arms if (each.gpu, each.point) == (gpu, point))
    return all(arm is not None and arm.carried is None for arm in (found.subject, found.reference))


def _reference_seconds(arms: Iterable[BestArms], gpu: str, point: Point) -> float:
    found = next(each.reference for each in arms if (each.gpu, each.point) == (gpu, point))
    assert found is not None  # a ratio has both
    assert found.step_seconds is not None
    return found.step_seconds.median
