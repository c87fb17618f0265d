"""The best arms of each GPU side by side: subject against reference at each point, and the length where they cross."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log
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
    """One point on one GPU: the fastest subject and the fastest reference that fit or may fit; None where none does."""

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
            subject=_fastest(_of_role(members, layers, LayerRole.SUBJECT)),
            reference=_fastest(_of_role(members, layers, LayerRole.REFERENCE)),
        )
        for (gpu, point), members in groups.items()
    )


def _of_role(
    members: Iterable[Prediction], layers: Mapping[str, LayerFacts], role: LayerRole
) -> tuple[Prediction, ...]:
    """Those that fit or may fit, of layers with this role."""
    return tuple(
        each for each in members if each.step_seconds is not None and layers[each.workload.spec.layer].role is role
    )


def _seconds(prediction: Prediction) -> float:
    return inf if prediction.step_seconds is None else prediction.step_seconds.median


def _fastest(members: Sequence[Prediction]) -> Prediction | None:
    return min(members, key=_seconds) if members else None


def crossovers_by_gpu(
    predictions: Sequence[Prediction], layers: Mapping[str, LayerFacts]
) -> tuple[PredictedCrossover, ...]:
    """One crossover a GPU, phase and batch of two lengths or more, and one of training with steady steps.

    References are those common to all lengths of one crossover.
    """
    found = []
    for gpu in dict.fromkeys(each.gpu for each in predictions):
        by_point: dict[Point, list[Prediction]] = {}
        for each in (each for each in predictions if each.gpu == gpu):
            by_point.setdefault(each.workload.point, []).append(each)
        families: dict[tuple[Phase, int, str, str], list[Point]] = {}
        for point in by_point:
            key = (point.phase, point.batch_size, point.scope.value, point.dtype.value)
            families.setdefault(key, []).append(point)
        groups = [(key[1], tuple(members)) for key, members in families.items()]
        groups += [(STEADY_STEP, members) for members in steady_steps(by_point)]
        for batch_size, members in groups:
            pairs = _pairs({point: by_point[point] for point in members}, layers)
            if len(pairs) > 1:
                found.append(_crossover(gpu, batch_size, pairs))
    return tuple(found)


_Pair = tuple["Prediction", "Prediction"]


def _pairs(by_point: Mapping[Point, Sequence[Prediction]], layers: Mapping[str, LayerFacts]) -> list[_Pair]:
    """The fastest subject and the fastest of the common references at each length that has both, shortest first."""
    both = []
    for _, members in sorted(by_point.items(), key=lambda item: item[0].sequence_length):
        subjects, references = (_of_role(members, layers, role) for role in (LayerRole.SUBJECT, LayerRole.REFERENCE))
        if subjects and references:
            both.append((min(subjects, key=_seconds), references))
    shared = [{each.workload.spec.layer for each in references} for _, references in both]
    common = set.intersection(*shared) if shared else set()
    if not common:
        return []
    return [
        (subject, min((each for each in references if each.workload.spec.layer in common), key=_seconds))
        for subject, references in both
    ]


def _crossover(gpu: str, batch_size: int, pairs: Sequence[_Pair]) -> PredictedCrossover:
    places = []
    for subject, reference in pairs:
        ratio = ratio_of(subject, reference)
        assert ratio is not None  # both fit
        length = subject.workload.sequence_length
        places.append(CrossoverPlace(length=length, ratio=ratio, reference_seconds=_seconds(reference)))
    tokens, direction, reason = locate_crossover(places)
    return PredictedCrossover(
        gpu=gpu,
        phase=pairs[0][0].workload.phase,
        batch_size=batch_size,
        places=tuple((place.length, place.ratio) for place in places),
        tokens=tokens,
        median_tokens=_median_fall(places),
        direction=direction,
        reason=reason,
        is_measured=all(arm.carried is None for pair in pairs for arm in pair),
    )


def _median_fall(places: Sequence[CrossoverPlace]) -> float | None:
    """Where the medians come down through 1, linear in the logarithms."""
    for first, last in pairwise(places):
        before, after = first.ratio.median, last.ratio.median
        if before > 1 >= after:
            share = log(before) / (log(before) - log(after))
            return exp(log(first.length) + share * log(last.length / first.length))
    return None
