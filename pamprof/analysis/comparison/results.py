"""The derived nouns: what analysis concludes from runs. Never stored, always recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.records import Dtype, Phase
from pamprof.statistics import Verdict

if TYPE_CHECKING:
    from pamprof.records import Interval, Point, Run, Workload
    from pamprof.statistics import QuotedRatio

__all__ = [
    "Basis",
    "CeilingKind",
    "Comparison",
    "Crossover",
    "CrossoverQuantity",
    "DecodeFloor",
    "Direction",
    "Doubt",
    "DoubtKind",
    "Ladder",
    "LadderStep",
    "PointAnalysis",
    "ProcessRatios",
    "RoofPlace",
    "StepKind",
    "Summary",
    "Verdict",
    "least_sure",
]


class Basis(StrEnum):
    """Where a number comes from, the surest first; these words are what every report says."""

    MEASURED = "measured"  # at the very point
    COUNTED = "counted"  # exact arithmetic on counted FLOPs or bytes
    INTERPOLATED = "interpolated"  # between measured points
    MODELLED = "modelled"  # by a formula


def least_sure(*bases: Basis) -> Basis:
    """The basis of what rests on numbers of all of ``bases``, at least one."""
    return max(bases, key=tuple(Basis).index)


class DoubtKind(StrEnum):
    """The closed list of doubts about a result."""

    THROTTLED = "throttled"
    FIRST_SAMPLES_SLOW = "first samples slow"
    CLOCK_DRIFT = "clock drift"
    TOO_FEW_SAMPLES = "too few samples"
    LAUNCH_BOUND = "launch-bound"
    SHARED_DEVICE = "shared device"
    WIDE_INTERVAL = "wide interval"
    UNCOUNTED_OPERATORS = "uncounted operators"
    NOISY_MACHINE = "noisy machine"
    UNSTEADY_REFERENCE = "unsteady reference"
    ABOVE_ROOF = "above the roof"
    HAND_WRITTEN = "hand-written against compiled"
    POWER_COUPLED = "power-coupled"
    NOT_STATIONARY = "not stationary"
    FEW_PROCESSES = "few processes"
    CLOCKS_NOT_WATCHED = "clocks not watched"
    QUICK = "quick"
    RECOMPILED = "recompiled inside timed steps"
    GROWS = "grows with every step"
    SLOWS = "slows down"
    GRAPH_BREAKS = "graph breaks"
    CLOSED_FORM = "closed form refused"
    PART_OF_BOARD = "part of a board"


class CeilingKind(StrEnum):
    """What bounds the speed of a step: a matrix product, or one kind of traffic with memory."""

    PRODUCT = "product"
    READ = "read"
    WRITE = "write"
    COPY = "copy"
    LISTED_PEAK = "listed peak"
    LISTED_BANDWIDTH = "listed bandwidth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One doubt: what was seen, in numbers, and what to do about it.

    Attributes:
        kind: Which of the closed list.
        observation: What was seen.
        advice: What to do about it.
        shift_ratio: How far the row's cost ratio could be off because of it, relative, such as 0.03; 0 where the ratio
            is not touched; None where nothing bounds it.
    """

    kind: DoubtKind
    observation: str
    advice: str
    shift_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoofPlace:
    """Where a run stands under the device's ceilings; bytes are a model, each moved once.

    Attributes:
        read_bytes, write_bytes: The least a step moves.
        flops_per_byte: Matrix FLOPs over both.
        bandwidth_kind: Memory ceiling its traffic is held to; None where none is known.
        ceiling: Which ceiling is the roof above this intensity; None where the peak or the bandwidth is unknown.
        missing_ceiling: The one that would fit the traffic where the records have the copy's alone; None otherwise.
        bound_flops_per_second: The roof; None with ``ceiling``.
        share_ratio: Achieved FLOP/s, the median, over the roof; None with ``ceiling``. Above 1 there is a doubt.
    """

    read_bytes: int
    write_bytes: int
    flops_per_byte: float
    bandwidth_kind: CeilingKind | None
    ceiling: CeilingKind | None
    missing_ceiling: CeilingKind | None
    bound_flops_per_second: float | None
    share_ratio: float | None

    @property
    def is_above(self) -> bool:
        """Whether the run is faster than its roof allows."""
        return self.share_ratio is not None and self.share_ratio > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeFloor:
    """The least that a decode step of a layer takes while it moves what its leanest code keeps: bytes over bandwidth.

    Bytes are those in memory, casts and fused copies included, so another code that keeps fewer could be faster. Of the
    arms of one size and state dtype at a point all have the lowest floor among them.

    Attributes:
        workload: The arm whose bytes they are.
        seconds: Weights and cache read once, of learned positions one row; a recurrent state is written back as well.
        moved_bytes: All that.
        ceiling: Memory ceiling that it is divided by.
        missing_ceiling: The one that would fit where the records have the copy's alone; None otherwise.
    """

    workload: Workload
    seconds: float
    moved_bytes: int
    ceiling: CeilingKind
    missing_ceiling: CeilingKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run, summarised. Times are wall seconds per step.

    Attributes:
        run: The run itself.
        label: Short unique name of the arm in its point, such as ``PAM planar · compiled``.
        sample_count: Samples.
        step_seconds: The one estimate that tokens per second, FLOP/s and dollars follow from: the baseline's own time
            times the arm's ratio to it, so that they divide to the displayed ratio.
        sampled_step_seconds: Median of the arm's own samples, which lie minutes apart from those of other arms; of
            windows in fresh processes the mean, by itself.
        device_seconds: Median of its own samples by CUDA events; None without them.
        tokens_per_second: From ``step_seconds``.
        flops_per_second: Achieved matrix FLOP/s (causal count over wall time).
        model_flops_utilisation: Achieved over the device's dense peak for the dtype; None where the peak is unknown or
            no FLOPs were counted.
        kernel_busy_ratio: Kernel time of a profiled step over the step's wall time, 0..1; None if not profiled.
        joules_per_token: From the monitor window; None if unknown or invalid.
        doubts: What a sceptic should know.
        roof: Its place under the device's ceilings; None where its step moves nothing, counted no FLOPs, or no roof was
            given.
        floor: The lowest of its layer's decode steps at the point; None outside decode and without a known bandwidth.
    """

    run: Run
    label: str
    sample_count: int
    step_seconds: Interval
    sampled_step_seconds: Interval
    device_seconds: Interval | None
    tokens_per_second: Interval
    flops_per_second: Interval
    model_flops_utilisation: Interval | None
    kernel_busy_ratio: float | None
    joules_per_token: float | None
    doubts: tuple[Doubt, ...]
    roof: RoofPlace | None = None
    floor: DecodeFloor | None = None

    @property
    def workload(self) -> Workload:
        """What was measured."""
        return self.run.workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRatios:
    """Two ways in which fresh processes measured one ratio.

    Attributes:
        process_count: Processes behind the ratio: those of subject or baseline, whichever are fewer. Those of the
            session's reference by itself do not count, because every process measures beside it.
        paired: From windows in turn.
        alone: From windows in which each arm ran by itself; None where a process lacks them.
        power_coupled: Whether the two differ by more than their noise, for the subject or for the baseline.
        quoted: Which of them is quoted; None where it is ``alone`` of one arm and ``paired`` of the other, because the
            power couples one of them with the reference alone.
        spread_ratio: Relative standard deviation of the quoted ratio between processes; None with fewer than two.
    """

    process_count: int
    paired: Interval
    alone: Interval | None
    power_coupled: bool
    quoted: QuotedRatio | None
    spread_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm against a baseline at one point: cost ratio = FLOP ratio x efficiency ratio.

    Attributes:
        subject: The arm.
        baseline: What it is compared to.
        time_ratio: Subject time over baseline time per token; above 1 is more expensive. It is the cost ratio, since
            both run on the same device at the same price.
        flop_ratio: Counted matrix FLOPs per token, subject over baseline; None where either count is incomplete or 0,
            so that nothing can be said of how the cost divides.
        efficiency_ratio: Baseline's achieved FLOP/s over the subject's; ``time_ratio = flop_ratio * efficiency_ratio``.
            None with it.
        verdict: Of the subject against the baseline.
        paired: True when both were sampled side by side or through one common reference in the same worker.
        processes: The ratio in turn and alone, by fresh processes; None where either has no windows.
    """

    subject: Workload
    baseline: Workload
    time_ratio: Interval
    flop_ratio: float | None
    efficiency_ratio: Interval | None
    verdict: Verdict
    paired: bool
    processes: ProcessRatios | None = None


class StepKind(StrEnum):
    """What a step of the ladder is credited to."""

    BASELINE = "baseline"
    ARCHITECTURE = "architecture"
    ARITHMETIC = "arithmetic"
    PUBLISHED = "published code"
    CODE = "code"  # the first measured code of a layer that declares none published
    EXECUTION = "compiler and graph"
    LAYOUT = "layout"
    KERNELS = "hand-written kernels"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One rung: multiplies the cost so far by ``factor``.

    Attributes:
        kind: What the rung stands for.
        label: For people, such as ``complex arithmetic`` or ``layout: planar``.
        explanation: One sentence: what is compared with what.
        factor: Multiplicative change against the rung before.
        cumulative: Cost per token relative to the baseline after this rung.
        basis: Measured or counted.
        workload: The arm that stands at this rung; None for a counted rung.
    """

    kind: StepKind
    label: str
    explanation: str
    factor: Interval
    cumulative: Interval
    basis: Basis
    workload: Workload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The overhead of one point, decomposed. ``missing`` says which rungs could not be built and why."""

    point: Point
    baseline: Workload
    steps: tuple[LadderStep, ...]
    missing: tuple[str, ...]


class CrossoverQuantity(StrEnum):
    """What is equal at a crossover."""

    TIME = "time"  # and with it the cost per token
    DECODE_TRAFFIC = "decode traffic"  # bytes moved for each token, 2 S/kappa
    MEMORY = "memory"  # bytes held by one sequence, S/kappa


class Direction(StrEnum):
    """Which of two arms is the cheaper one over the contexts measured; the better for the subject, the earlier here."""

    ALWAYS_CHEAPER = "always cheaper"
    CHEAPER_ABOVE = "cheaper above"
    UNDECIDED = "undecided"
    NEVER_CHEAPER = "never cheaper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Context length from which the fixed state is the cheaper one, in tokens.

    Attributes:
        subject_layer, subject_implementation: The fixed-state arm (its best execution at each context); the
            implementation is empty for a modelled crossover, which holds for all of them.
        batch_size: Sequences per step; 0 in training where it shrinks with the length, at as many tokens a step.
        tokens: The crossover by logarithmic interpolation, its interval holding affine ones, too; None with ``reason``
            where measurement brackets none.
        direction: Which one is cheaper where, inside the measured contexts.
        reason: One sentence: bracketed by which contexts, or why undecided.
        basis: Interpolated (between measured contexts), measured where there is no crossover among those measured, or
            modelled (by formula from bytes).
        phase: Phase it holds for; in train and prefill the context is the sequence length.
        dtype: Precision policy it holds for.
        quantity: What is equal there.
        contexts: Those measured, in order, tokens; none for a modelled one.
        ratios: Of the subject to the fastest of ``reference_layers`` at each of ``contexts``.
        reference_layers: Whom it is against: of the references measured at all ``contexts`` those that are the fastest
            at one, in order of preference; of a modelled one the layer whose cache it is.
    """

    subject_layer: str
    subject_implementation: str
    batch_size: int
    tokens: Interval | None
    direction: Direction
    reason: str
    basis: Basis
    phase: Phase = Phase.DECODE
    dtype: Dtype = Dtype.BFLOAT16
    quantity: CrossoverQuantity = CrossoverQuantity.TIME
    contexts: tuple[int, ...] = ()
    ratios: tuple[Interval, ...] = ()
    reference_layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PointAnalysis:
    """Everything concluded at one point.

    Attributes:
        point: Where.
        baseline: What every ratio is against: the fastest reference in its fastest execution measured here.
        summaries: Every arm, the baseline included.
        comparisons: Every arm against the baseline, the baseline itself excluded.
        ladder: The decomposition; None where subject or reference was not measured.
        noise_half_width: Relative half width of the reference's ratio against itself; None where it was not measured.
        same_execution: Every arm against the session's own reference in the arm's own execution.
        own_reference: Every arm against the session's own reference in its fastest execution; empty where that is the
            baseline.
        reference_floor: The lowest of the references there; None outside decode, and where it is not known.
    """

    point: Point
    baseline: Summary
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    ladder: Ladder | None
    noise_half_width: float | None
    same_execution: tuple[Comparison, ...] = ()
    own_reference: tuple[Comparison, ...] = ()
    reference_floor: DecodeFloor | None = None

    def summary_of(self, workload: Workload) -> Summary:
        """The summary of a workload measured at this point."""
        return next(summary for summary in self.summaries if summary.workload == workload)

    def comparison_of(self, workload: Workload) -> Comparison | None:
        """The comparison of an arm with the baseline; None for the baseline itself."""
        return next((c for c in self.comparisons if c.subject == workload), None)
