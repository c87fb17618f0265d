"""The sentences a report opens with, made of the story: what it costs, and what the largest doubt is.

They say what the numbers say, with interval and limits, and say so when nothing can be concluded.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import crossover_phrase, execution_label, point_phrase, protocol_label
from pamprof.analysis.comparison.results import DoubtKind, StepKind
from pamprof.records import ImplementationKind, Phase
from pamprof.statistics import EQUIVALENCE_BAND, TARGET_HALF_WIDTH, Verdict, half_width
from pamprof.units import percent, plus_minus, ratio, seconds, significant, tokens

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Comparison
    from pamprof.analysis.comparison.story import PhaseStory, QuotedDoubt, Story
    from pamprof.records import Environment, Interval

_MOST_OTHER_LENGTHS = 4


def headline(story: Story) -> tuple[str, ...]:
    """The opening sentences: the finding, the largest doubt, and what explains the eager code where it waits.

    The finding stands at the first phase of train, prefill, decode in which the subject was measured: the best code
    against the best reference, then the published code at equal execution, then eager, then where decode is cheaper.
    """
    told = next((phase for phase in story.phases if phase.best is not None), None)
    if told is None or told.best is None:
        if story.phases:
            name = story.names.title(story.phases[0].point.baseline.workload.spec.layer)
            return (f"Nothing can be concluded about cost: only the {name} was measured, and nothing beside it.",)
        return ("Nothing can be concluded: no point was measured to the end.",)
    finding = (
        _finding(story, told, told.best),
        *_own_reference(story, told),
        *_other_lengths(story, told),
        *_published(story, told, told.best),
        *_other_subjects(story, told),
        *_decode(story),
        *_floor(story),
    )
    doubt = _largest_doubt(story, told, told.best)
    return (" ".join(finding), doubt, *_kernels(story, told, told.best), *_launch_bound(story, told))


def effort_sentence(story: Story) -> str:
    """With which effort it was measured, and what a quick comparison lacks; empty where records do not say."""
    if story.effort is None:
        return ""
    lacks = story.lacks
    if lacks is None:
        return f"Effort {story.effort}."
    parts = []
    if lacks.point_count:
        parts.append(
            f"a standard comparison has {lacks.point_count} point{'s' if lacks.point_count > 1 else ''} beyond the "
            f"{lacks.planned_count} planned"
        )
    if lacks.without_energy_count:
        parts.append(f"{lacks.without_energy_count} of {lacks.summary_count} rows have no valid energy")
    if lacks.wide_count and lacks.widest_ratio is not None:
        parts.append(
            f"{lacks.wide_count} of {lacks.ratio_count} ratios are known less closely than "
            f"{plus_minus(TARGET_HALF_WIDTH, 1)}, the widest to {plus_minus(lacks.widest_ratio)}"
        )
    missing = "; ".join(parts) or "fewer samples than a standard comparison takes"
    mixed = lacks.quick_count < lacks.summary_count
    where = f" in {lacks.quick_count} of {lacks.summary_count} rows" if mixed else ""
    more = "--effort standard measures that, with --resume only what is missing or wide."
    return f"Effort quick{where}: {missing}. {more}"


def _finding(story: Story, told: PhaseStory, best: Comparison) -> str:
    place = point_phrase(told.point.point)
    place = f"{place[0].upper()}{place[1:]}"
    reference = story.names.title(best.baseline.spec.layer)
    other = f"the {reference} ({execution_label(best.baseline.execution)})"
    device = _device(told.point.baseline.run.environment)
    value = _value(best.time_ratio)
    pairing = "" if best.processes is None else f" ({protocol_label(best.processes.process_count)})"
    pairing += "" if best.paired else "; the two were not sampled side by side"
    several = sum(c.subject.spec.layer == best.subject.spec.layer for c in told.point.comparisons) > 1
    how = execution_label(best.subject.execution)
    if len(story.roles.layers[best.subject.spec.layer].implementations) > 1:
        how = f"{best.subject.implementation}, {how}"
    who = f"the best {story.subject_title} code ({how})" if several else story.names.in_sentence(best.subject)
    match best.verdict:
        case Verdict.INCONCLUSIVE if (side := _side(best.time_ratio)) is not None:
            return (
                f"{place}: {who} costs a little {side} per token than {other} on {device}: {value}, which leaves open "
                f"whether by more than {percent(EQUIVALENCE_BAND)}{pairing}."
            )
        case Verdict.INCONCLUSIVE:
            return (
                f"{place}: nothing can be concluded about {who} against {other} on {device}; the cost ratio per "
                f"token is {value}, which leaves open which one is more expensive{pairing}."
            )
        case Verdict.EQUIVALENT:
            return (
                f"{place}: {who} costs the same per token as {other} on {device}, within {percent(EQUIVALENCE_BAND)}: "
                f"{value}{pairing}."
            )
        case Verdict.FASTER:
            return f"{place}: {who} costs only {value} of {other} per token on {device}{pairing}."
        case Verdict.SLOWER:
            return f"{place}: {who} costs {value} {other} per token on {device}{pairing}."


def _side(ratio: Interval) -> str | None:
    """``less`` or ``more`` where the whole interval lies on one side of 1."""
    if ratio.confidence <= 0 or ratio.low <= 1 <= ratio.high:
        return None
    return "less" if ratio.high < 1 else "more"


def _own_reference(story: Story, told: PhaseStory) -> tuple[str, ...]:
    """The best code against the session's own reference, where another one is the fastest."""
    own = told.own_reference
    if own is None:
        return ()
    measured = {summary.workload.spec.layer for summary in told.point.summaries}
    count = sum(layer in measured for layer in story.roles.references)
    name = story.names.title(own.baseline.spec.layer)
    how = execution_label(own.baseline.execution)
    return (f"That is the fastest of {count} references; against the {name} ({how}) it is {_value(own.time_ratio)}.",)


def _other_lengths(story: Story, told: PhaseStory) -> tuple[str, ...]:
    """The best code at other lengths: all of them where there are few, else the ends and the middle.

    The fastest reference is named where it is not that of the headline.
    """
    others = told.others
    if len(others) > _MOST_OTHER_LENGTHS:
        others = (others[0], others[len(others) // 2], others[-1])
    if not others:
        return ()
    known = None if told.best is None else told.best.baseline.spec.layer
    parts = []
    for at, best in others:
        layer = best.baseline.spec.layer
        whom = "" if layer == known else f" against the {story.names.title(layer)}"
        parts.append(f"{_value(best.time_ratio)} at {tokens(at.point.sequence_length)}{whom}")
    return (f"At other lengths: {', '.join(parts)}.",)


def _kernels(story: Story, told: PhaseStory, best: Comparison) -> tuple[str, ...]:
    """What hand-written kernels make of the step before theirs; nothing where the best code has none."""
    steps = () if told.point.ladder is None else told.point.ladder.steps
    for before, step in pairwise(steps):
        if step.kind is StepKind.KERNELS and step.workload == best.subject and before.workload is not None:
            before_name = story.names.in_sentence(before.workload)
            return (f"Hand-written kernels take {_value(step.factor)} of the time of {before_name}.",)
    return ()


def _published(story: Story, told: PhaseStory, best: Comparison) -> tuple[str, ...]:
    published = told.published
    if published is None:
        return _eager(story, told)
    how = execution_label(published.subject.execution)
    split = _split(published)
    if published.subject == best.subject and published.baseline == best.baseline:
        return *(() if split is None else (f"That is {split}.",)), *_eager(story, told)
    title = story.names.title(published.subject.spec.layer)
    of_which = "" if split is None else f", of which {split}"
    eager = "" if told.eager is None else f"; eager {_value(told.eager.time_ratio)} the fastest reference"
    other = published.baseline.spec.layer
    whom = "" if other == best.baseline.spec.layer else f" the {story.names.title(other)}"
    return (
        f"{title} as published costs {_value(published.time_ratio)}{whom} at equal execution ({how}){of_which}{eager}.",
    )


def _split(comparison: Comparison) -> str | None:
    """How a slower arm's cost ratio divides into FLOPs and FLOP/s; None where it is not slower or they do not tell."""
    efficiency = comparison.efficiency_ratio
    if comparison.verdict is not Verdict.SLOWER or comparison.flop_ratio is None or efficiency is None:
        return None
    arithmetic = ratio(comparison.flop_ratio)
    if efficiency.low > 1:
        return f"{arithmetic} is arithmetic (counted FLOPs)"
    if efficiency.high < 1:
        return f"arithmetic alone (counted FLOPs) would be {arithmetic}, done at the higher rate"
    return f"arithmetic (counted FLOPs, {arithmetic}) explains all"


def _eager(story: Story, told: PhaseStory) -> tuple[str, ...]:
    if told.eager is None:
        return ()
    name = story.names.in_sentence(told.eager.subject)
    if story.roles.layers[told.eager.subject.spec.layer].carrier is None:  # a name that somebody gave stays as it is
        name = f"{name[0].upper()}{name[1:]}"
    return (f"{name} costs {_value(told.eager.time_ratio)} the fastest reference.",)


def _other_subjects(story: Story, told: PhaseStory) -> tuple[str, ...]:
    return tuple(
        f"{story.names.in_sentence(best.subject)} costs {_value(best.time_ratio)} there."
        for best in told.other_subjects
    )


def _decode(story: Story) -> tuple[str, ...]:
    """Where decode becomes the cheaper one, by batch, and than whose; nothing without a measured cache."""
    by_batch = story.crossovers_of(Phase.DECODE)
    if not by_batch:
        return ()
    against: dict[str, dict[str, list[str]]] = {}
    for batch, crossover in by_batch.items():
        places = against.setdefault(story.names.fastest_of(crossover.reference_layers), {})
        places.setdefault(crossover_phrase(crossover), []).append(str(batch))
    parts = []
    for reference, places in against.items():
        here = [
            f"{place} at batch {batches[0]}" if len(batches) == 1 else f"{place} at batches {', '.join(batches)}"
            for place, batches in places.items()
        ]
        parts.append(f"against the {reference}: {'; '.join(here)}")
    return (f"Decode with the best {story.subject_title} code {'; '.join(parts)}.",)


def _floor(story: Story) -> tuple[str, ...]:
    """Decode of the smallest batch against the references' floor, where hand-written kernels are the best there."""
    told = story.phase(Phase.DECODE)
    if told is None:
        return ()
    length = told.point.point.sequence_length
    alike = [point for point in story.points_of(Phase.DECODE) if point.point.sequence_length == length]
    point = min(alike, key=lambda point: point.point.batch_size)
    best, lowest = story.best_of_subject(point), point.reference_floor
    kernels = ImplementationKind.KERNELS
    if best is None or lowest is None or story.roles.kind(best.subject) is not kernels:
        return ()
    place, floor = point_phrase(point.point), lowest.seconds
    mine, theirs = (point.summary_of(w).step_seconds.scaled(1 / floor) for w in (best.subject, best.baseline))
    return (
        f"{place[0].upper()}{place[1:]}: hand-written kernels face compiled code; the references' floor is "
        f"{seconds(floor)}, the time of the weights and cache that {story.names.in_sentence(lowest.workload)} keeps at "
        f"the {lowest.ceiling} ceiling. "
        f"{story.names.in_sentence(best.subject)} takes {_value(mine)} of that floor, "
        f"{story.names.in_sentence(best.baseline)} {_value(theirs)}.",
    )


def _largest_doubt(story: Story, told: PhaseStory, best: Comparison) -> str:
    if story.doubts:
        return f"Largest doubt: {_sentence(story, story.doubts[0])}"
    noise = told.point.noise_half_width
    known = f"the ratio is known to {plus_minus(half_width(best.time_ratio))}"
    floor = "" if noise is None else f", and the reference against itself to {plus_minus(noise)}"
    return f"Nothing casts doubt on these numbers: {known}{floor}."


def _launch_bound(story: Story, told: PhaseStory) -> list[str]:
    """That the eager code waits for its launches, which says more about its number than about the layer."""
    if told.eager is None:
        return []
    summary = told.point.summary_of(told.eager.subject)
    name = story.names.in_sentence(summary.workload)
    return [
        f"{name}, {doubt.kind}: {doubt.observation}; {doubt.advice}."
        for doubt in summary.doubts
        if doubt.kind is DoubtKind.LAUNCH_BOUND
    ]


def _sentence(story: Story, quoted: QuotedDoubt) -> str:
    doubt, name = quoted.doubt, story.names.in_sentence(quoted.summary.workload)
    what = "the machine is noisy" if doubt.kind is DoubtKind.NOISY_MACHINE else f"{name}, {doubt.kind}"
    return f"{what}: {doubt.observation}; {doubt.advice}."


def _device(environment: Environment) -> str:
    if environment.device_kind == "cpu":
        threads = environment.cpu_thread_count
        return f"this CPU ({environment.device_name}, {threads} thread{'s' if threads != 1 else ''})"
    return f"this {environment.device_name}"


def _value(interval: Interval) -> str:
    return f"{ratio(interval.median)} {_brackets(interval)}"


def _brackets(interval: Interval) -> str:
    if interval.confidence <= 0:
        return "(a single sample)"
    return f"[{significant(interval.low)}, {significant(interval.high)}]"
