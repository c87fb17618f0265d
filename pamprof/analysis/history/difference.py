"""Two measurements of the same workloads, HEAD over BASE: ratios with intervals, verdicts, and a gate on the interval.

Runs are matched by their full workload key. Where both were sampled beside the same reference, the ratio is
(head / its reference) / (base / its reference), in which a machine that slowed down between the two files cancels. A
change of the reference itself cancels too; it is therefore compared separately, unpaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.pairing import is_reference
from pamprof.analysis.history.conditions import DifferingCondition, conditions, differing_conditions
from pamprof.analysis.history.reference_drift import moved_references, reference_times
from pamprof.analysis.history.stored_runs import file_notes, is_ratio, latest_runs
from pamprof.errors import RecordError
from pamprof.records import Interval
from pamprof.statistics import chained_ratio_interval, unpaired_ratio_interval, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Run, Skip, Workload
    from pamprof.records.store import RecordFile


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
        key: Its full key.
        workload: What was measured.
        base_value: Median seconds per step, or peak bytes, of BASE; None where unknown.
        head_value: The same of HEAD.
        ratio: HEAD over BASE; None with ``reason``.
        basis: How the ratio was computed.
        change: The verdict.
        outcome: Against the threshold; without one, whether there is a verdict at all.
        reason: Why there is no ratio, or why it is unpaired; None otherwise.
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
    """Compare the latest run of every workload in ``head`` with the latest in ``base``.

    Mixed environments are compared unpaired and listed in ``differing``; the caller may refuse them.
    """
    before, after = latest_runs(base.runs), latest_runs(head.runs)
    base_runs, head_runs = tuple(before.values()), tuple(after.values())
    pairs = [(run, after[key]) for key, run in before.items() if key in after]
    notes = [*file_notes(base, base_runs, base_name), *file_notes(head, head_runs, head_name)]
    if metric is ComparedMetric.TIME:
        differences = [_time_difference(mine, theirs, base_runs, head_runs, fail_above) for mine, theirs in pairs]
        notes.extend(moved_references(pairs, base_runs, head_runs))
    else:
        differences = [_memory_difference(mine, theirs, fail_above) for mine, theirs in pairs]
    return FileDifference(
        base=base_name,
        head=head_name,
        metric=metric,
        fail_above=fail_above,
        differences=tuple(differences),
        only_in_base=_unmatched(before, after, head.skips),
        only_in_head=_unmatched(after, before, base.skips),
        differing=differing_conditions(pairs),
        notes=tuple(notes),
    )


def _time_difference(
    base: Run, head: Run, base_runs: Sequence[Run], head_runs: Sequence[Run], fail_above: float | None
) -> Difference:
    mine, theirs = head.timing, base.timing
    basis, reason, ratio = RatioBasis.UNPAIRED, None, None
    base_times, head_times = theirs.wall_time_seconds, mine.wall_time_seconds
    try:
        if conditions(base) == conditions(head) and base.reference.key == head.reference.key:
            if is_reference(base):
                reason = "it is the reference itself"
                base_times, head_times = reference_times(base, base_runs), reference_times(head, head_runs)
                ratio = unpaired_ratio_interval(head_times, base_times)
            else:
                basis = RatioBasis.CHAINED
                ratio = chained_ratio_interval(
                    mine.wall_time_seconds,
                    mine.reference_wall_time_seconds,
                    theirs.wall_time_seconds,
                    theirs.reference_wall_time_seconds,
                )
        else:
            reason = (
                "the environments differ"
                if conditions(base) != conditions(head)
                else f"paired with {base.reference.key} in BASE and with {head.reference.key} in HEAD"
            )
            ratio = unpaired_ratio_interval(mine.wall_time_seconds, theirs.wall_time_seconds)
    except RecordError as exc:
        reason = str(exc)
    if ratio is not None and not is_ratio(ratio):
        reason = "the samples lie too far apart for a ratio; measure both again"
        ratio = None
    change = Change.INCONCLUSIVE if ratio is None else Change(verdict(ratio).value)
    return Difference(
        key=base.workload.key,
        workload=base.workload,
        base_value=median(base_times) if base_times else None,
        head_value=median(head_times) if head_times else None,
        ratio=ratio,
        basis=basis,
        change=change,
        outcome=_outcome(ratio, change, fail_above),
        reason=reason,
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


def _unmatched(runs: dict[str, Run], others: dict[str, Run], skips: Iterable[Skip]) -> tuple[Unmatched, ...]:
    reasons = {skip.workload.key: f"{skip.kind}: {skip.reason}" for skip in skips}
    return tuple(
        Unmatched(key=key, workload=run.workload, reason=reasons.get(key))
        for key, run in runs.items()
        if key not in others
    )
