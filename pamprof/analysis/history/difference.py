"""Two measurements of the same workloads, HEAD over BASE: ratios with intervals, verdicts, and a gate on the interval.

Runs are matched by their full workload key, and by their device where a file has several. Where both were sampled
beside the same reference, the ratio is (head / its reference) / (base / its reference), in which a machine that slowed
down between the two files cancels. A change of the reference itself cancels too; it is therefore compared separately,
unpaired.

Samples of one process do not show what the next process would measure. Every interval of times therefore holds the
spread between fresh processes, measured where the files hold several, presumed otherwise (``process_spread``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import has_enough_windows, has_windows, process_of, windows_of
from pamprof.analysis.comparison.pairing import is_reference
from pamprof.analysis.history.conditions import DifferingCondition, conditions, differing_conditions
from pamprof.analysis.history.process_spread import (
    presumed_spread_ratio,
    repeats_of,
    repeats_until_decided,
)
from pamprof.analysis.history.reference_drift import moved_references, reference_times
from pamprof.analysis.history.stored_runs import (
    device_key,
    file_notes,
    has_several_devices,
    is_ratio,
    latest_runs,
    skip_reasons,
)
from pamprof.errors import RecordError
from pamprof.records import Interval
from pamprof.statistics import CONFIDENCE, compare_processes, paired_estimate, unpaired_estimate, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Run, Workload
    from pamprof.records.store import RecordFile
    from pamprof.statistics import ProcessComparison
    from pamprof.statistics.log_estimate import LogEstimate


class ComparedMetric(StrEnum):
    """What is compared: wall time of a step (seconds), or peak tensor storage of a step (bytes)."""

    TIME = "time"
    MEMORY = "memory"


class RatioBasis(StrEnum):
    """How a ratio was computed."""

    CHAINED = "chained"  # through the reference of each file
    UNPAIRED = "unpaired"  # the machine's drift between the two files is not in the interval
    EXACT = "exact"  # two counted numbers


class Change(StrEnum):
    """HEAD against BASE: time with the equivalence band of 1 %, memory exactly."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    LESS = "less memory"
    MORE = "more memory"
    EQUAL = "equal"
    INCONCLUSIVE = "inconclusive"


class GateOutcome(StrEnum):
    """Where the whole interval lies against the gate's threshold."""

    WITHIN = "within"
    ABOVE = "above"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One workload in both files.

    Attributes:
        key: Its full key, with the device where one file has several.
        workload: What was measured.
        base_value: Median seconds per step, or peak bytes, of BASE; None where unknown.
        head_value: The same of HEAD.
        ratio: HEAD over BASE; None with ``reason``.
        basis: How the ratio was computed.
        change: The verdict.
        outcome: Against the threshold; without one, whether there is a verdict at all.
        reason: Why there is no ratio, or why it is unpaired; None otherwise.
        base_process_count: Fresh processes of BASE that the ratio joins.
        head_process_count: The same of HEAD.
        process_spread_ratio: Relative standard deviation between processes that the interval holds; None for counted
            numbers, and without a ratio.
        process_spread_measured: Whether these processes showed it; otherwise it is presumed.
        repeats_to_settle: Where the verdict, or with a gate its outcome, is inconclusive: processes of each side that
            would decide it if the ratio stays; None where a hundred would not.
        device_name: The device on both sides, where one file has several; None elsewhere.
    """

    key: str
    workload: Workload
    base_value: float | None
    head_value: float | None
    ratio: Interval | None
    basis: RatioBasis
    change: Change
    outcome: GateOutcome
    reason: str | None
    base_process_count: int = 1
    head_process_count: int = 1
    process_spread_ratio: float | None = None
    process_spread_measured: bool = False
    repeats_to_settle: int | None = None
    device_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A workload that only one file has; ``reason`` is why the other file skipped it, None where it does not say."""

    key: str
    workload: Workload
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """HEAD over BASE, all workloads.

    Attributes:
        base: Name of the first file.
        head: Name of the second.
        metric: What is compared.
        fail_above: The gate's threshold as a ratio, such as 0.05; None without a gate.
        differences: Workloads in both, in the order of BASE.
        only_in_base: Workloads that HEAD lacks.
        only_in_head: Workloads that BASE lacks.
        differing: Conditions that differ between matched runs; empty where the environments agree.
        notes: Remarks on the comparison, one sentence each.
    """

    base: str
    head: str
    metric: ComparedMetric
    fail_above: float | None
    differences: tuple[Difference, ...]
    only_in_base: tuple[Unmatched, ...]
    only_in_head: tuple[Unmatched, ...]
    differing: tuple[DifferingCondition, ...]
    notes: tuple[str, ...]

    def count(self, outcome: GateOutcome) -> int:
        """Workloads with this outcome."""
        return sum(difference.outcome is outcome for difference in self.differences)


def difference_between(
    base: RecordFile,
    head: RecordFile,
    *,
    base_name: str = "BASE",
    head_name: str = "HEAD",
    metric: ComparedMetric = ComparedMetric.TIME,
    fail_above: float | None = None,
) -> FileDifference:
    """Compare every workload in ``head`` with the same in ``base``: the latest run, and its repeats by other processes.

    Mixed environments are compared unpaired and listed in ``differing``; the caller may refuse them.
    """
    by_device = has_several_devices((base, head))
    before, after = (latest_runs(file.runs, by_device=by_device) for file in (base, head))
    pairs = [(run, after[key]) for key, run in before.items() if key in after]
    timed = metric is ComparedMetric.TIME
    base_runs, head_runs = (
        tuple(run for one in latest.values() for run in (repeats_of(one, file.runs) if timed else (one,)))
        for latest, file in ((before, base), (after, head))
    )
    notes = [*file_notes(base, base_runs, base_name), *file_notes(head, head_runs, head_name)]
    if timed:
        differences = [_time_difference(mine, theirs, base_runs, head_runs, fail_above) for mine, theirs in pairs]
        notes.extend(moved_references(pairs, base_runs, head_runs))
    else:
        differences = [_memory_difference(mine, theirs, fail_above) for mine, theirs in pairs]
    if by_device:
        differences = [
            replace(
                difference,
                key=device_key(difference.key, mine.environment.device_name),
                device_name=mine.environment.device_name,
            )
            for difference, (mine, _) in zip(differences, pairs, strict=True)
        ]
    return FileDifference(
        base=base_name,
        head=head_name,
        metric=metric,
        fail_above=fail_above,
        differences=tuple(differences),
        only_in_base=_unmatched(before, after, skip_reasons(head, by_device=by_device)),
        only_in_head=_unmatched(after, before, skip_reasons(base, by_device=by_device)),
        differing=differing_conditions(pairs),
        notes=tuple(notes),
    )


def _time_difference(
    base: Run, head: Run, base_runs: Sequence[Run], head_runs: Sequence[Run], fail_above: float | None
) -> Difference:
    theirs, mine = repeats_of(base, base_runs), repeats_of(head, head_runs)
    same_environment, same_reference = conditions(base) == conditions(head), base.reference.key == head.reference.key
    chained = same_environment and same_reference and not is_reference(base)
    reason = None
    if not chained:
        reason = (
            "the environments differ"
            if not same_environment
            else "it is the reference itself"
            if same_reference
            else f"paired with {base.reference.key} in BASE and with {head.reference.key} in HEAD"
        )
    whole = same_environment and same_reference and is_reference(base)
    base_times = _times(base, base_runs, theirs, beside_every_arm=whole)
    head_times = _times(head, head_runs, mine, beside_every_arm=whole)
    found: ProcessComparison | None = None
    ratio: Interval | None = None
    try:
        head_estimates, base_estimates = (
            _chained_estimates((mine, head_runs), (theirs, base_runs))
            if chained
            else (_estimates(head_times), _estimates(base_times))
        )
        found = compare_processes(
            head_estimates,
            base_estimates,
            presumed_spread_ratio=presumed_spread_ratio(head.environment.device_kind, chained=chained),
        )
        ratio = found.estimate.interval(CONFIDENCE)
    except RecordError as exc:
        reason = str(exc)
    if ratio is not None and not is_ratio(ratio):
        reason = "the samples lie too far apart for a ratio; measure both again"
        found = ratio = None
    change = Change.INCONCLUSIVE if ratio is None else Change(verdict(ratio).value)
    outcome = _outcome(ratio, change, fail_above)
    undecided = outcome is GateOutcome.INCONCLUSIVE and ratio is not None and ratio.confidence > 0
    every_base, every_head = ([time for times in one for time in times] for one in (base_times, head_times))
    return Difference(
        key=base.workload.key,
        workload=base.workload,
        base_value=median(every_base) if every_base else None,
        head_value=median(every_head) if every_head else None,
        ratio=ratio,
        basis=RatioBasis.CHAINED if chained else RatioBasis.UNPAIRED,
        change=change,
        outcome=outcome,
        reason=reason,
        base_process_count=len(base_times),
        head_process_count=len(head_times),
        process_spread_ratio=found.spread_ratio if found else None,
        process_spread_measured=found.spread_measured if found else False,
        repeats_to_settle=repeats_until_decided(ratio, found, fail_above) if undecided and ratio and found else None,
    )


def _times(
    run: Run, runs: Sequence[Run], repeats: Sequence[Run], *, beside_every_arm: bool
) -> tuple[tuple[float, ...], ...]:
    """Step times of each process, seconds; those of the reference from beside every arm, if asked for.

    Of windows those by itself count, where they were taken.
    """
    if not beside_every_arm or has_windows(run):
        return tuple(repeat.timing.alone_wall_time_seconds or repeat.timing.wall_time_seconds for repeat in repeats)
    processes = dict.fromkeys(process_of(one) for one in runs if one.reference.key == run.reference.key)
    found = (reference_times(run, [one for one in runs if process_of(one) == process]) for process in processes)
    return tuple(times for times in found if times)


def _estimates(times: Sequence[tuple[float, ...]]) -> list[LogEstimate]:
    """Estimates of the step time of each process."""
    return [unpaired_estimate(one) for one in times] or [unpaired_estimate(())]


def _chained_estimates(
    *sides: tuple[Sequence[Run], Sequence[Run]],
) -> tuple[Sequence[LogEstimate], ...]:
    """Estimates of the ratio to the reference of each process, of each side (repeats, all runs of its file).

    Of windows, that of the arms alone counts where every side has it and the power couples the arms in one of them;
    both sides are then compared alone.
    """
    windows = [
        windows_of([run for run in repeats if has_enough_windows(run)], runs) if has_windows(repeats[0]) else None
        for repeats, runs in sides
    ]
    found = [one for one in windows if one is not None]
    alone = [one.alone for one in found if one.alone is not None]
    if len(alone) == len(sides) and any(one.power_coupled for one in found):
        return tuple(one.estimates for one in alone)
    return tuple(
        one.paired.estimates
        if one is not None
        else [
            paired_estimate(repeat.timing.wall_time_seconds, repeat.timing.reference_wall_time_seconds)
            for repeat in repeats
        ]
        for one, (repeats, _) in zip(windows, sides, strict=True)
    )


def _memory_difference(base: Run, head: Run, fail_above: float | None) -> Difference:
    mine, theirs = head.memory.peak_bytes, base.memory.peak_bytes
    ratio, change, reason = None, Change.INCONCLUSIVE, None
    if mine is None or theirs is None or mine <= 0 or theirs <= 0:
        reason = f"the peak is not known in {'BASE' if theirs is None or theirs <= 0 else 'HEAD'}"
        unknown = next((u.reason for run in (base, head) for u in run.unknowns if u.field == "memory.peak_bytes"), None)
        reason += f": {unknown}" if unknown else ""
    else:
        ratio = Interval.exact(mine / theirs)
        change = Change.EQUAL if mine == theirs else Change.MORE if mine > theirs else Change.LESS
    return Difference(
        key=base.workload.key,
        workload=base.workload,
        base_value=theirs,
        head_value=mine,
        ratio=ratio,
        basis=RatioBasis.EXACT,
        change=change,
        outcome=_outcome(ratio, change, fail_above),
        reason=reason,
    )


def _outcome(ratio: Interval | None, change: Change, fail_above: float | None) -> GateOutcome:
    if ratio is None or ratio.confidence <= 0:
        return GateOutcome.INCONCLUSIVE
    if fail_above is None:
        return GateOutcome.INCONCLUSIVE if change is Change.INCONCLUSIVE else GateOutcome.WITHIN
    if ratio.low > 1 + fail_above:
        return GateOutcome.ABOVE
    return GateOutcome.WITHIN if ratio.high <= 1 + fail_above else GateOutcome.INCONCLUSIVE


def _unmatched(runs: dict[str, Run], others: dict[str, Run], reasons: dict[str, str]) -> tuple[Unmatched, ...]:
    return tuple(
        Unmatched(key=key, workload=run.workload, reason=reasons.get(key))
        for key, run in runs.items()
        if key not in others
    )
