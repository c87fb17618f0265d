"""The closed list of doubts: what a sceptic should know about a run, in numbers, and what to do about each."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.code_doubts import code_doubts
from pamprof.analysis.comparison.joined import JoinedRun, processes_of
from pamprof.analysis.comparison.pairing import is_reference, reference_ratio
from pamprof.analysis.comparison.results import CeilingKind, Doubt, DoubtKind
from pamprof.devices.parts import part_of
from pamprof.records import Execution, StopReason
from pamprof.statistics import (
    FEWEST_PROCESSES,
    Stationarity,
    StationarityVerdict,
    Verdict,
    half_width,
    stationarity,
    unpaired_ratio_interval,
    verdict,
)
from pamprof.units import percent, plus_minus, seconds, si, significant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pamprof.analysis.comparison.results import RoofPlace, Summary
    from pamprof.records import Interval, Run

FEWEST_SAMPLES = 5
WIDEST_HALF_WIDTH = 0.03
SLOW_START_RATIO = 1.05
DRIFT_RATIO = 0.05
UNSTEADY_RATIO = 0.05
LAUNCH_BOUND_BUSY_RATIO = 0.6
LAUNCH_BOUND_HOST_RATIO = 0.95
MANY_OPERATORS = 500

_NOT_THE_GPU = "this is the speed of Python and the launch queue, not of the GPU: compare the graph or compiled rows"
_REPLAYED = (Execution.GRAPH, Execution.COMPILED_GRAPH)


def doubts_of(run: Run, *, kernel_busy_ratio: float | None) -> tuple[Doubt, ...]:
    """Every doubt about one run that its own record shows, the gravest first."""
    return tuple(_doubts(run, kernel_busy_ratio))


def ratio_half_width(run: Run) -> float:
    """Relative half width of the run's ratio to its reference, which of the reference itself is the noise."""
    return half_width(reference_ratio(run))


def noisy_machine(reference_run: Run) -> Doubt | None:
    """The doubt that the A-against-A run casts on everything measured beside that reference; None if it casts none."""
    if not is_reference(reference_run) or len(reference_run.timing.wall_time_seconds) < 2:
        return None
    interval = reference_ratio(reference_run)
    different = verdict(interval) in {Verdict.FASTER, Verdict.SLOWER}
    if not different and half_width(interval) <= WIDEST_HALF_WIDTH:
        return None
    return Doubt(
        kind=DoubtKind.NOISY_MACHINE,
        observation=(f"the reference measured against itself came out at {_value(interval)} instead of 1"),
        advice="stop other work on the machine and measure again; differences of this size mean nothing here",
        shift_ratio=max(half_width(interval), _distance(interval.median)),
    )


def unsteady_reference(run: Run, reference_run: Run) -> Doubt | None:
    """The doubt that the reference was not as fast beside ``run`` as by itself; None where it was, or with few samples.

    Both are the same step of one process, sampled one after the other: the device was in another state, or the
    company of the arm changes it. Pairs share that state, but two steps need not slow down alike. Where each arm was
    also measured alone, ``power_coupled`` says what the company changes.
    """
    beside = [time for one in processes_of(run) for time in one.timing.reference_wall_time_seconds]
    alone = [time for one in processes_of(reference_run) for time in one.timing.wall_time_seconds]
    known = isinstance(run, JoinedRun) and run.windows.alone is not None
    if run is reference_run or known or min(len(beside), len(alone)) < FEWEST_SAMPLES:
        return None
    interval = unpaired_ratio_interval(beside, alone)
    if interval.low < 1 + UNSTEADY_RATIO and interval.high > 1 - UNSTEADY_RATIO:
        return None
    return Doubt(
        kind=DoubtKind.UNSTEADY_REFERENCE,
        observation=(
            f"beside this arm the reference took {seconds(median(beside))}, by itself {seconds(median(alone))}, "
            f"{significant(interval.median)} [{significant(interval.low)}, {significant(interval.high)}] as long"
        ),
        advice="the ratio holds for the state the device was in then; repeat the comparison, and compare the clocks",
        shift_ratio=_distance(interval.median),
    )


def hand_written(baseline: Summary, reference_floor: float | None) -> Doubt:
    """The doubt about hand-written kernels whose decode is compared with a reference that has none.

    Args:
        baseline: The reference.
        reference_floor: Seconds of the lowest floor of the references at the point; None where it is not known.
    """
    took, observation = baseline.step_seconds.median, f"the reference ({baseline.label}) has no hand-written step"
    if reference_floor is None:
        return Doubt(
            kind=DoubtKind.HAND_WRITTEN,
            observation=observation,
            advice="compare code in plain torch; no bandwidth is known that would bound what such a step could win",
            shift_ratio=None,
        )
    within = max(0.0, took / reference_floor - 1)
    return Doubt(
        kind=DoubtKind.HAND_WRITTEN,
        observation=(
            f"{observation} and takes {seconds(took)}, {significant(took / reference_floor)} of the references' floor "
            f"of {seconds(reference_floor)}"
        ),
        advice=(
            "no code that keeps as many bytes could bring the reference below the floor; for equal care compare code "
            "in plain torch"
        ),
        shift_ratio=within,
    )


def above_roof(run: Run, flops_per_second: Interval, place: RoofPlace | None) -> tuple[Doubt, ...]:
    """The doubt about a run that is faster than its roof allows; none where it is not."""
    if place is None or not place.is_above:
        return ()
    rate, instead, causes = si(flops_per_second.median, "FLOP/s"), "", []
    if place.ceiling not in {CeilingKind.PRODUCT, CeilingKind.LISTED_PEAK}:
        rate = f"{si(flops_per_second.median / place.flops_per_byte, 'B/s')} at the least traffic"
        if not run.timing.cold_cache:
            causes.append("data may stay in a cache from step to step, which --cold-cache excludes")
    if place.missing_ceiling is not None:
        instead = f", which stands in for the {place.missing_ceiling} ceiling that these records lack"
        causes.append("a new measurement has that ceiling")
    if place.ceiling in {CeilingKind.LISTED_PEAK, CeilingKind.LISTED_BANDWIDTH}:
        causes.append("the data sheet may list another variant of the device")
    else:
        causes.append("the device may have been slower while the ceilings were measured")
    return (
        Doubt(
            kind=DoubtKind.ABOVE_ROOF,
            observation=f"{rate}, {percent(place.share_ratio, 3)} of the {place.ceiling} ceiling{instead}",
            advice=f"{'; '.join(causes)}; times and ratios are not affected",
            shift_ratio=0.0,
        ),
    )


def has_invalid_energy(run: Run) -> bool:
    """Whether energy was read in a window that cannot support it; not where it cannot be read at all."""
    energy = None if run.monitor is None else run.monitor.energy
    return energy is not None and not energy.valid


def quick(run: Run) -> Doubt:
    """The doubt about a run of a session with effort quick; what it lacks is measured by a standard one.

    Few samples are no error by themselves: how far off the ratio may be is what its interval says.
    """
    count = len(run.timing.wall_time_seconds)
    lacks = ", without valid energy" if has_invalid_energy(run) else ""
    return Doubt(
        kind=DoubtKind.QUICK,
        observation=f"measured with effort quick: {count} sample{'s' if count != 1 else ''}{lacks}",
        advice="--effort standard --resume samples wide intervals again and measures what quick leaves out",
        shift_ratio=None if count < 2 else ratio_half_width(run),
    )


def _doubts(run: Run, kernel_busy_ratio: float | None) -> Iterator[Doubt]:
    yield from _partial(run)
    yield from _monitored(run)
    if isinstance(run, JoinedRun):
        yield from _of_processes(run)
    yield from _sampled(run)
    yield from _drifted(run)
    if not isinstance(run, JoinedRun):
        yield from _unsettled(run)
    yield from code_doubts(run)
    if not run.flops.complete:
        names = ", ".join(f"{item.operator} ({item.count}×)" for item in run.flops.uncounted_operators[:4])
        more = len(run.flops.uncounted_operators) - 4
        yield Doubt(
            kind=DoubtKind.UNCOUNTED_OPERATORS,
            observation=f"no FLOP formula for {names}" + (f" and {more} more" if more > 0 else ""),
            advice="its FLOPs and everything computed from them are a lower bound; times are not affected",
            shift_ratio=0.0,
        )
    yield from _launch_bound(run, kernel_busy_ratio)


def _partial(run: Run) -> Iterator[Doubt]:
    """A slice or a virtual GPU is no small board: power, clocks and part of the caches are shared with the others."""
    part = part_of(run.environment)
    if part is None:
        return
    known = not part.unknown_reason
    yield Doubt(
        kind=DoubtKind.PART_OF_BOARD,
        observation=f"measured on {part.words}",
        advice=(
            "listed peaks and rates are taken by these shares; what runs on the rest of the board shares its power"
            if known
            else "the board's peaks and rates do not hold for it; give the part's own rate with --price"
        ),
        shift_ratio=None,
    )


def _monitored(run: Run) -> Iterator[Doubt]:
    monitor = run.monitor
    yield from _unwatched(run)
    if monitor is None:
        return
    if monitor.throttle_reasons:
        yield Doubt(
            kind=DoubtKind.THROTTLED,
            observation=f"the device lowered its clocks: {', '.join(monitor.throttle_reasons)}",
            advice="check cooling and power limit; the samples are kept, because a rented device would bill them too",
            shift_ratio=_clock_loss(run),
        )
    if monitor.other_process_count:
        count = monitor.other_process_count
        yield Doubt(
            kind=DoubtKind.SHARED_DEVICE,
            observation=f"{count} other process{'es were' if count > 1 else ' was'} on the device",
            advice=(
                "measure on a device of your own; memory and utilisation include the others, and dollars are those of "
                "the whole device"
            ),
            shift_ratio=None,
        )


def _of_processes(run: JoinedRun) -> Iterator[Doubt]:
    windows, itself = run.windows, is_reference(run)
    ratio, apart = windows.ratio, windows.alone_over_paired
    if windows.power_coupled and windows.alone is not None and apart is not None:
        yield Doubt(
            kind=DoubtKind.POWER_COUPLED,
            observation=(
                f"in turn with the reference it takes {_value(windows.paired.interval)} of its time, each alone "
                f"{_value(windows.alone.interval)}; {windows.quoted} is quoted"
            ),
            advice="arms that take turns share the power limit of the device; what runs in use runs alone",
            shift_ratio=_distance(apart.median),
        )
    unsettled = sum(one.timing.settled is False for one in run.processes)
    course = _of_windows_alone(run) if itself else ratio.stationarity
    moved = course.verdict is StationarityVerdict.NOT_STATIONARY
    if moved or unsettled:
        seen = [f"over the windows {'alone' if itself else 'of the ratio'} {course.reason}"]
        if unsettled:
            seen.insert(
                0,
                f"power, clocks or step time were not seen steady before sampling began in {unsettled} of "
                f"{len(run.processes)} process{'es' if len(run.processes) > 1 else ''}",
            )
        judged = course.verdict is not StationarityVerdict.TOO_SHORT
        yield Doubt(
            kind=DoubtKind.NOT_STATIONARY,
            observation="; ".join(seen),
            advice="allow a longer warm-up and more windows"
            + ("" if judged and not moved else "; the mean is that of a transient"),
            shift_ratio=None if course.change_ratio is None else abs(course.change_ratio),
        )
    if len(run.processes) < FEWEST_PROCESSES and not itself:
        count = len(run.processes)
        yield Doubt(
            kind=DoubtKind.FEW_PROCESSES,
            observation=(
                f"{count} processes only; what a fresh one moves is known from one difference, so the interval is wide"
                if count > 1
                else "1 process only; the interval holds what moves within one"
            ),
            advice=f"measure in {FEWEST_PROCESSES} processes or more (--repeat); the next may differ by more",
            shift_ratio=ratio.process_spread_ratio,
        )


def _of_windows_alone(run: JoinedRun) -> Stationarity:
    """Of the process whose windows alone changed most: a reference in turn with itself has few windows."""
    found = [stationarity(one.timing.alone_wall_time_seconds or one.timing.wall_time_seconds) for one in run.processes]
    moved = [each for each in found if each.verdict is StationarityVerdict.NOT_STATIONARY]
    return max(moved or found, key=lambda each: abs(each.change_ratio or 0.0))


def _value(interval: Interval) -> str:
    return f"{significant(interval.median, 4)} [{significant(interval.low, 4)}, {significant(interval.high, 4)}]"


def _unwatched(run: Run) -> Iterator[Doubt]:
    """A row whose clocks nobody saw cannot be called unthrottled."""
    monitor = run.monitor
    if run.environment.device_kind != "cuda":
        return
    if monitor is None:
        seen = "no monitored window was taken"
    else:
        clocks = any(series.signal == "sm_clock_hertz" and series.values for series in monitor.series)
        missing = [
            what
            for what, known in (("clocks", clocks), ("reasons for throttling", monitor.throttle_reasons is not None))
            if not known
        ]
        if not missing:
            return
        seen = f"the monitored window has no {' and no '.join(missing)}"
    yield Doubt(
        kind=DoubtKind.CLOCKS_NOT_WATCHED,
        observation=f"{seen}, so that nobody knows whether the device lowered its clocks",
        advice="measure with a window (--monitor) where the driver tells clocks (`pamprof doctor`)",
        shift_ratio=None,
    )


def _unsettled(run: Run) -> Iterator[Doubt]:
    """Step times that still changed, or a device that had not settled when they were taken.

    What arm and reference share cancels in the ratio, so the ratio's own change is how far it could be off.
    """
    timing = run.timing
    settled = stationarity(timing.wall_time_seconds)
    moved = settled.verdict is StationarityVerdict.NOT_STATIONARY
    if not moved and timing.settled is not False:
        return
    mine, theirs = timing.wall_time_seconds, timing.reference_wall_time_seconds
    ratios = [own / other for own, other in zip(mine, theirs, strict=True)]
    change = stationarity(ratios).change_ratio
    unsettled = "power, clocks and step time had not settled before the first sample"
    yield Doubt(
        kind=DoubtKind.NOT_STATIONARY,
        observation=f"of the step times {settled.reason}" if moved else unsettled,
        advice="warm the device up for longer, or sample longer; the ratio suffers less, because both change",
        shift_ratio=None if change is None else _distance(1 + change),
    )


def _sampled(run: Run) -> Iterator[Doubt]:
    timing = run.timing
    count = sum(len(one.timing.wall_time_seconds) for one in processes_of(run))
    if count < FEWEST_SAMPLES:
        why = "was interrupted" if timing.stop_reason is StopReason.INTERRUPTED else f"ended by {timing.stop_reason}"
        yield Doubt(
            kind=DoubtKind.TOO_FEW_SAMPLES,
            observation=f"{count} sample{'s' if count > 1 else ''} only; sampling {why}",
            advice="allow more time for the point, or resume the session",
            shift_ratio=None if count < 2 else ratio_half_width(run),
        )
    if count >= 2:
        width = ratio_half_width(run)
        if width > WIDEST_HALF_WIDTH:
            yield Doubt(
                kind=DoubtKind.WIDE_INTERVAL,
                observation=f"the ratio to the reference is known to {plus_minus(width)} only, from {count} samples",
                advice="allow more samples or a quieter machine; differences below that are not resolved",
                shift_ratio=width,
            )


def _drifted(run: Run) -> Iterator[Doubt]:
    samples, joined = run.timing.wall_time_seconds, isinstance(run, JoinedRun)
    start = max(1, len(samples) // 10)
    if len(samples) >= FEWEST_SAMPLES:
        head, rest = median(samples[:start]), samples[start:]
        if head > SLOW_START_RATIO * median(rest) and head > max(rest):
            yield Doubt(
                kind=DoubtKind.FIRST_SAMPLES_SLOW,
                observation=(
                    f"the first {'sample was' if start == 1 else f'{start} samples were'} "
                    f"{percent(head / median(rest) - 1)} slower than the rest"
                ),
                advice="the warm-up was too short; "
                + ("the mean of the windows holds it" if joined else "the median forgives it, a mean would not"),
                shift_ratio=_distance((fmean(samples) if joined else median(samples)) / median(rest)),
            )
    clocks = [] if run.monitor is None else [s for s in run.monitor.series if s.signal == "sm_clock_hertz"]
    for series in clocks:
        if len(series.values) < 4:
            continue
        half = len(series.values) // 2
        before, after = fmean(series.values[:half]), fmean(series.values[half:])
        if abs(after - before) > DRIFT_RATIO * before:
            yield Doubt(
                kind=DoubtKind.CLOCK_DRIFT,
                observation=f"the SM clock went from {si(before, 'Hz')} to {si(after, 'Hz')} within the window",
                advice="lock the clocks or warm the device up for longer; ratios are paired and suffer less",
                shift_ratio=_distance(after / before),
            )


def _launch_bound(run: Run, busy: float | None) -> Iterator[Doubt]:
    if run.environment.device_kind != "cuda":
        return
    timing = run.timing
    host_ratio = median(timing.host_time_seconds) / median(timing.wall_time_seconds)
    operators = run.flops.operator_count
    replayed = run.workload.execution in _REPLAYED
    idle = busy is not None and busy < LAUNCH_BOUND_BUSY_RATIO
    waiting = not replayed and host_ratio > LAUNCH_BOUND_HOST_RATIO and operators >= MANY_OPERATORS
    if busy is not None and idle and replayed:
        yield Doubt(
            kind=DoubtKind.LAUNCH_BOUND,
            observation=f"the GPU ran kernels for {percent(busy)} of the step although a graph replays them",
            advice="the kernels are too small to follow each other without gaps; fuse them or give them more work",
            shift_ratio=1 - busy,
        )
    elif busy is not None and idle:
        yield Doubt(
            kind=DoubtKind.LAUNCH_BOUND,
            observation=f"the GPU ran kernels for {percent(busy)} of the step; {_dispatched(run)}",
            advice=_NOT_THE_GPU,
            shift_ratio=1 - busy,
        )
    elif waiting:
        yield Doubt(
            kind=DoubtKind.LAUNCH_BOUND,
            observation=f"the host was busy for {percent(host_ratio)} of the step; {_dispatched(run)}",
            advice=_NOT_THE_GPU,
            shift_ratio=None,
        )


def _dispatched(run: Run) -> str:
    count = f"{run.flops.operator_count:,}".replace(",", "\u2009")
    if run.workload.execution is Execution.EAGER:
        return f"{count} operators are dispatched one by one"
    return f"its eager form dispatches {count} operators, and too many of them are still launched one by one"


def _distance(ratio: float) -> float:
    """How far a ratio lies from 1, relative, alike above and below."""
    return max(ratio, 1 / ratio) - 1


def _clock_loss(run: Run) -> float | None:
    """How much lower than its highest value the SM clock was on average; None where it was not sampled."""
    clocks = [] if run.monitor is None else [s.values for s in run.monitor.series if s.signal == "sm_clock_hertz"]
    values = [value for series in clocks for value in series]
    return max(values) / fmean(values) - 1 if values else None
