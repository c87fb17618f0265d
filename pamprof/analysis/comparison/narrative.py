"""The sentences a report opens with: what it costs, what the largest doubt is, what the best code reaches.

They are generated from the conclusions alone, so they say what the numbers say, with interval and limits, and say so
when nothing can be concluded.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import (
    FUSED,
    PAM,
    PUBLISHED,
    execution_label,
    implementation_label,
    layer_title,
    point_phrase,
)
from pamprof.analysis.comparison.results import Basis, CrossoverQuantity, DoubtKind
from pamprof.records import Execution, Phase
from pamprof.statistics import EQUIVALENCE_BAND, Verdict, half_width
from pamprof.units import percent, ratio, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.results import Analysis, Comparison, Crossover, Doubt, PointAnalysis, Summary
    from pamprof.records import Environment, Interval, Workload

_GRAVITY = (
    DoubtKind.THROTTLED,
    DoubtKind.SHARED_DEVICE,
    DoubtKind.NOISY_MACHINE,
    DoubtKind.TOO_FEW_SAMPLES,
    DoubtKind.UNSTEADY_REFERENCE,
    DoubtKind.WIDE_INTERVAL,
    DoubtKind.CLOCK_DRIFT,
    DoubtKind.FIRST_SAMPLES_SLOW,
    DoubtKind.UNCOUNTED_OPERATORS,
    DoubtKind.LAUNCH_BOUND,
)
_PREFERENCE = ("always cheaper", "cheaper above", "unknown", "always dearer")


def headline(analysis: Analysis) -> tuple[str, ...]:
    """The opening sentences: first the finding, second the largest doubt, then what follows from both.

    The finding stands at the first phase of train, prefill, decode that was measured, there at the shortest length and
    the largest batch, in the precision most points were measured in.
    """
    point = _main_point(analysis)
    if point is None:
        if analysis.points:
            name = layer_title(analysis.points[0].baseline.workload.spec.layer)
            return (f"Nothing can be concluded about cost: only the {name} was measured, and nothing beside it.",)
        return ("Nothing can be concluded: no point was measured to the end.",)
    subject = _as_published(point)
    best = _best(point)
    quoted = tuple(dict.fromkeys((subject.subject, point.baseline.workload, best.subject)))
    doubts = _gravest_first([_summary_of(point, workload) for workload in quoted])
    sentences = [" ".join((_finding(point, subject), *_decode(analysis, point))), _doubt(point, subject, doubts)]
    if doubts and doubts[0][1].kind is not DoubtKind.LAUNCH_BOUND:
        sentences += [
            f"{_sentence(doubt, _name(summary.workload))}"
            for summary, doubt in doubts
            if doubt.kind is DoubtKind.LAUNCH_BOUND and summary.workload == subject.subject
        ]
    if best.subject != subject.subject:
        sentences.append(_best_sentence(point, best))
    return tuple(sentences)


def _main_point(analysis: Analysis) -> PointAnalysis | None:
    compared = [point for point in analysis.points if point.comparisons]
    if not compared:
        return None
    common = Counter((point.point.dtype, point.point.scope) for point in compared).most_common(1)[0][0]
    usual = [point for point in compared if (point.point.dtype, point.point.scope) == common]
    with_pam = [p for p in usual if any(c.subject.spec.layer == PAM for c in p.comparisons)] or usual
    phase = with_pam[0].point.phase
    return min(
        (p for p in with_pam if p.point.phase is phase), key=lambda p: (p.point.sequence_length, -p.point.batch_size)
    )


def _subjects(point: PointAnalysis) -> list[Comparison]:
    """Comparisons of PAM, or of whatever else than the baseline's own layer there is."""
    own = point.baseline.workload.spec.layer
    for layers in ({PAM}, {c.subject.spec.layer for c in point.comparisons} - {own}):
        found = [comparison for comparison in point.comparisons if comparison.subject.spec.layer in layers]
        if found:
            return found
    return list(point.comparisons)


def _as_published(point: PointAnalysis) -> Comparison:
    subjects = _subjects(point)
    published = [c for c in subjects if c.subject.implementation == PUBLISHED]
    eager = [c for c in published if c.subject.execution is Execution.EAGER]
    return (eager or published or [_best(point)])[0]


def _best(point: PointAnalysis) -> Comparison:
    return min(_subjects(point), key=lambda comparison: comparison.time_ratio.median)


def _summary_of(point: PointAnalysis, workload: Workload) -> Summary:
    return next(summary for summary in point.summaries if summary.workload == workload)


def _finding(point: PointAnalysis, comparison: Comparison) -> str:
    place = point_phrase(point.point)
    place = f"{place[0].upper()}{place[1:]}"
    reference = point.baseline.workload
    other = f"the {layer_title(reference.spec.layer)} ({execution_label(reference.execution)})"
    device = _device(point.baseline.run.environment)
    value = f"{ratio(comparison.time_ratio.median)} {_brackets(comparison.time_ratio)}"
    pairing = "" if comparison.paired else "; the two were not sampled side by side"
    name = _name(comparison.subject)
    match comparison.verdict:
        case Verdict.INCONCLUSIVE:
            return (
                f"{place}: nothing can be concluded about {name} against {other} on {device}; the cost ratio per token "
                f"is {value}, which leaves open which one is dearer{pairing}."
            )
        case Verdict.EQUIVALENT:
            return (
                f"{place}: {name} costs the same per token as {other} on {device}, within {percent(EQUIVALENCE_BAND)}: "
                f"{value}{pairing}."
            )
        case Verdict.FASTER:
            return f"{place}: {name} costs only {value} of {other} per token on {device}{pairing}."
        case Verdict.SLOWER:
            return f"{place}: {name} costs {value} {other} per token on {device}; {_split(point, comparison)}{pairing}."


def _split(point: PointAnalysis, comparison: Comparison) -> str:
    """How a cost ratio divides into FLOPs and FLOP/s."""
    flops = [_summary_of(point, w).run.flops for w in (comparison.subject, comparison.baseline)]
    counted = "counted FLOPs" if all(count.complete for count in flops) else "FLOPs as far as they can be counted"
    arithmetic, efficiency = ratio(comparison.flop_ratio), comparison.efficiency_ratio
    if efficiency.low > 1:
        return (
            f"{arithmetic} of that is arithmetic ({counted}), the other {ratio(efficiency.median)} "
            f"{_brackets(efficiency)} is FLOP/s it does not reach"
        )
    if efficiency.high < 1:
        return f"its arithmetic alone ({counted}) is {arithmetic}, which it does at the higher rate"
    return f"arithmetic ({counted}, {arithmetic}) explains all of that"


def _decode(analysis: Analysis, point: PointAnalysis) -> tuple[str, ...]:
    """Where decode becomes the cheaper one, by batch; nothing where decode was not measured."""
    layer = _subjects(point)[0].subject.spec.layer
    by_batch: dict[int, Crossover] = {}
    for crossover in analysis.crossovers:
        if (
            crossover.basis is Basis.MEASURED
            and crossover.quantity is CrossoverQuantity.TIME
            and crossover.phase is Phase.DECODE
            and crossover.dtype is point.point.dtype
            and crossover.subject_layer == layer
        ):
            known = by_batch.get(crossover.batch_size)
            if known is None or _preference(crossover) < _preference(known):
                by_batch[crossover.batch_size] = crossover
    if not by_batch:
        return ()
    contexts = sorted(
        {
            p.point.sequence_length
            for p in analysis.points
            if p.point.phase is Phase.DECODE and p.point.dtype is point.point.dtype
        }
    )
    reference = layer_title(point.baseline.workload.spec.layer)
    parts = [f"{_place(crossover, contexts)} at batch {batch}" for batch, crossover in sorted(by_batch.items())]
    return (f"Decode with the best {layer_title(layer)} code against the {reference}: {'; '.join(parts)}.",)


def _preference(crossover: Crossover) -> tuple[int, float]:
    length = crossover.tokens.median if crossover.tokens is not None else 0.0
    return _PREFERENCE.index(crossover.direction), length


def _place(crossover: Crossover, contexts: Sequence[int]) -> str:
    where = (
        f"every context measured ({tokens(contexts[0])} to {tokens(contexts[-1])} tokens)"
        if len(contexts) > 1
        else f"the one context measured ({tokens(contexts[0])} tokens)"
    )
    if crossover.tokens is not None:
        limits = _brackets(crossover.tokens)
        return f"cheaper above about {significant(crossover.tokens.median)} tokens of context {limits}"
    words = {"always cheaper": f"cheaper at {where}", "always dearer": f"dearer at {where}"}
    return words.get(crossover.direction, f"no cheaper one can be told at {where}")


def _gravest_first(summaries: Sequence[Summary]) -> list[tuple[Summary, Doubt]]:
    found = [(summary, doubt) for summary in summaries for doubt in summary.doubts]
    return sorted(found, key=lambda item: _GRAVITY.index(item[1].kind))


def _doubt(point: PointAnalysis, comparison: Comparison, doubts: Sequence[tuple[Summary, Doubt]]) -> str:
    if doubts:
        summary, doubt = doubts[0]
        return f"Largest doubt: {_sentence(doubt, _name(summary.workload))}"
    noise = point.noise_half_width
    known = f"the ratio is known to ±{percent(half_width(comparison.time_ratio))}"
    floor = "" if noise is None else f", and the reference against itself to ±{percent(noise)}"
    return f"Nothing casts doubt on these numbers: {known}{floor}."


def _sentence(doubt: Doubt, name: str) -> str:
    what = "the machine is noisy" if doubt.kind is DoubtKind.NOISY_MACHINE else f"{name}, {doubt.kind}"
    return f"{what}: {doubt.observation}; {doubt.advice}."


def _best_sentence(point: PointAnalysis, best: Comparison) -> str:
    value = f"{ratio(best.time_ratio.median)} {_brackets(best.time_ratio)}"
    reference = layer_title(point.baseline.workload.spec.layer)
    return (
        f"The fastest {layer_title(best.subject.spec.layer)} there, {best.subject.implementation} "
        f"({execution_label(best.subject.execution)}), costs {value} the {reference}{_won_by_hand(point, best)}."
    )


def _won_by_hand(point: PointAnalysis, best: Comparison) -> str:
    """What kernels written by hand make of the rung before theirs; nothing where the best code has none."""
    steps = () if point.ladder is None else point.ladder.steps
    for before, step in pairwise(steps):
        if step.workload == best.subject and best.subject.implementation == FUSED and before.workload is not None:
            factor = f"{ratio(step.factor.median)} {_brackets(step.factor)}"
            return f"; kernels written by hand take {factor} of the time of {_name(before.workload)}"
    return ""


def _name(workload: Workload) -> str:
    """An arm inside a sentence: ``PAM as published (eager)``."""
    how = execution_label(workload.execution)
    if workload.implementation == PUBLISHED:
        return f"{layer_title(workload.spec.layer)} as published ({how})"
    return f"{implementation_label(workload)} ({how})"


def _device(environment: Environment) -> str:
    if environment.device_kind == "cpu":
        threads = environment.cpu_thread_count
        return f"this CPU ({environment.device_name}, {threads} thread{'s' if threads != 1 else ''})"
    return f"this {environment.device_name}"


def _brackets(interval: Interval) -> str:
    if interval.confidence <= 0:
        return "(a single sample)"
    return f"[{significant(interval.low)}, {significant(interval.high)}]"
