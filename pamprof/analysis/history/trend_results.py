"""What a trend over stored runs consists of; recomputed from records, never stored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.history.conditions import DifferingCondition
    from pamprof.records import Interval, Workload


class RunAgreement(StrEnum):
    """Whether the ratios of one workload agree over all runs."""

    WITHIN = "within"
    OUTSIDE = "outside"
    UNDECIDED = "undecided"  # a run has no ratio of it, or one to another reference


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRun:
    """One run.

    Attributes:
        name: The caller's name for it, usually a path.
        started_at: When the first of its measurements that count started; UTC, ISO 8601.
        commits: Of pamprof's own checkout, by the time of their first measurement that counts; more than one where a
            file holds measurements of several, none where it was installed without a checkout.
        device_names: What it measured on; more than one only where a file mixes machines.
        workload_count: Workloads that have a measurement, references included.
        changes: Conditions that differ from the measurement before, over all workloads.
    """

    name: str
    started_at: str
    commits: tuple[str, ...]
    device_names: tuple[str, ...]
    workload_count: int
    changes: tuple[DifferingCondition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendValue:
    """One workload in one run.

    Attributes:
        ratio: Its time over the reference's; None with ``reason``.
        reference_key: What it was paired with; None where it was not measured.
        noise_half_width: Relative half width of that reference against itself in the same run; None where it was not
            measured.
        changes: Conditions, the reference among them, that differ from the measurement before.
        reason: Why there is no ratio; None where there is one.
    """

    ratio: Interval | None
    reference_key: str | None
    noise_half_width: float | None
    changes: tuple[DifferingCondition, ...]
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSeries:
    """One workload over all runs.

    Attributes:
        key: Its full key, with the device where a run has several.
        workload: What was measured.
        values: One for each run, in order.
        spread: Largest median ratio over the smallest, minus 1; None with fewer than two, or different references.
        widest_half_width: The largest relative half width of the intervals; None without any.
        agreement: Against the limit; None without a limit.
        reason: Why the spread does not cover all runs; None where it does.
        device_name: Where a run has several devices, the one of this series; None elsewhere.
    """

    key: str
    workload: Workload
    values: tuple[TrendValue, ...]
    spread: float | None
    widest_half_width: float | None
    agreement: RunAgreement | None
    reason: str | None
    device_name: str | None = None

    @property
    def noise_half_width(self) -> float | None:
        """The largest noise of its runs; None where none measured it."""
        return max((v.noise_half_width for v in self.values if v.noise_half_width is not None), default=None)

    @property
    def first_ratio(self) -> Interval | None:
        """The ratio in the first run that has one; None without any."""
        return next((value.ratio for value in self.values if value.ratio is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All runs, oldest first, and every workload that is not its own reference in all of them.

    ``within`` is the limit asked for, a ratio such as 0.01; None without one.
    """

    runs: tuple[TrendRun, ...]
    series: tuple[TrendSeries, ...]
    within: float | None
    notes: tuple[str, ...]

    def count(self, agreement: RunAgreement) -> int:
        """Workloads with this agreement."""
        return sum(one.agreement is agreement for one in self.series)
