"""What the device did over time while each arm ran alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Phase
from pamprof.render.charts import Chart, Signal, Strip, Window
from pamprof.render.comparison.charts.common import panel_title, source, subtitle
from pamprof.render.text import PHASE_NAMES

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Summary
    from pamprof.records import Monitor
    from pamprof.render.comparison.inputs import ReportInputs

# signal name in the records, label, unit, factor into that unit, fixed top of the axis where there is a natural one
_SIGNALS = (
    ("gpu_busy_ratio", "GPU busy", "%", 100.0, 100.0),
    ("sm_activity_ratio", "SM activity", "%", 100.0, 100.0),
    ("tensor_activity_ratio", "tensor activity", "%", 100.0, 100.0),
    ("dram_activity_ratio", "memory bandwidth used", "%", 100.0, 100.0),
    ("dram_bandwidth_ratio", "memory bandwidth used", "%", 100.0, 100.0),
    ("power_watts", "power", "W", 1.0, None),
    ("sm_clock_hertz", "SM clock", "MHz", 1e-6, None),
    ("cpu_busy_ratio", "CPU busy", "%", 100.0, 100.0),
    ("process_cpu_busy_ratio", "CPU busy, this process", "%", 100.0, 100.0),
    ("resident_memory_bytes", "resident memory", "MiB", 1 / units.MIB, None),
    ("process_resident_bytes", "resident memory", "MiB", 1 / units.MIB, None),
)
_HOST_LABELS = {"CPU busy", "CPU busy, this process", "resident memory"}  # shown where no GPU signal was read
_MOST_SAMPLES_A_WINDOW = 60
_EXECUTIONS = {"compiled": "comp.", "compiled-graph": "c+graph"}


def strip_chart(inputs: ReportInputs) -> Chart:
    """The strip over the fastest execution of each arm and the eager code, at each phase's headline point."""
    chosen = _chosen(inputs)
    windows, signals = _join(inputs, chosen)
    reasons = dict.fromkeys(u.reason for run in inputs.records.runs for u in run.unknowns if u.field == "monitor")
    missing = dict.fromkeys(
        f"{u.field.removeprefix('monitor.')}: {u.reason}"
        for run in inputs.records.runs
        for u in run.unknowns
        if u.field.startswith("monitor.")
    )
    unread = f" Not read here: {'; '.join(missing)}." if missing else ""
    return Chart(
        name="utilisation",
        kind="strip",
        title=_finding(inputs, chosen),
        subtitle=subtitle(inputs),
        axis="seconds of monitored running, windows joined end to end",
        caption=(
            "While an arm ran alone, step after step. GPU busy is the share of time in which at least one kernel ran: "
            "one small kernel reads 100 %, so read it with SM and tensor activity. Raw samples, no interval."
            if any(signal.label == "GPU busy" for signal in signals)
            else "While an arm ran alone, step after step. Raw samples, no interval."
        )
        + unread,
        source=source(inputs),
        alt=_finding(inputs, chosen) + ". " + _described(inputs, chosen),
        panels=(Strip(windows=windows, signals=signals),) if windows and signals else (),
        reason="" if windows and signals else " ".join(reasons) or "utilisation was not sampled in this session",
    )


def _chosen(inputs: ReportInputs) -> tuple[Summary, ...]:
    chosen = []
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is None:
            continue
        shown = list(inputs.best_arms(told.point))
        eager = None if told.eager is None else told.point.summary_of(told.eager.subject)
        if eager is not None and eager not in shown:
            shown.append(eager)
        chosen += sorted((s for s in shown if s.run.monitor is not None), key=_start)
    return tuple(chosen)


def _start(summary: Summary) -> float:
    return 0.0 if summary.run.monitor is None else summary.run.monitor.start_seconds


def _join(inputs: ReportInputs, chosen: tuple[Summary, ...]) -> tuple[tuple[Window, ...], tuple[Signal, ...]]:
    windows: list[Window] = []
    offsets: list[tuple[Monitor, float]] = []
    edge = 0.0
    for summary in chosen:
        monitor = summary.run.monitor
        if monitor is None or monitor.window_seconds <= 0:
            continue
        phase = PHASE_NAMES[summary.workload.phase]
        windows.append(
            Window(
                start=edge,
                end=edge + monitor.window_seconds,
                phase=phase,
                arm=inputs.arm(summary.workload),
                execution=_EXECUTIONS.get(str(summary.workload.execution), str(summary.workload.execution)),
            )
        )
        offsets.append((monitor, edge))
        edge += monitor.window_seconds
    signals = []
    for name, label, unit, factor, top in _SIGNALS:
        segments = tuple(
            _segment(series.times_seconds, series.values, monitor, offset, factor)
            for monitor, offset in offsets
            for series in monitor.series
            if series.signal == name and series.values
        )
        if segments:
            peak = max(max(values) for _, values in segments)
            signals.append(Signal(label=label, unit=unit, top=top or _round_up(peak), segments=segments))
    on_gpu = [signal for signal in signals if signal.label not in _HOST_LABELS]
    return tuple(windows), tuple(on_gpu or signals)


def _segment(
    times: tuple[float, ...], values: tuple[float, ...], monitor: Monitor, offset: float, factor: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    stride = max(1, -(-len(times) // _MOST_SAMPLES_A_WINDOW))
    inside = [
        (offset + min(max(t - monitor.start_seconds, 0.0), monitor.window_seconds), v * factor)
        for t, v in zip(times[::stride], values[::stride], strict=True)
    ]
    return tuple(t for t, _ in inside), tuple(v for _, v in inside)


def _round_up(value: float) -> float:
    step = 1.0
    while step * 10 < value:
        step *= 10
    return next(m * step for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * step >= value) if value > 1 else 1.0


def _mean(summary: Summary, signal: str) -> float | None:
    monitor = summary.run.monitor
    values = [v for s in (monitor.series if monitor else ()) if s.signal == signal for v in s.values]
    return sum(values) / len(values) if values else None


def _finding(inputs: ReportInputs, chosen: tuple[Summary, ...]) -> str:
    for signal, words in (
        ("tensor_activity_ratio", "the tensor cores are busy"),
        ("gpu_busy_ratio", "the GPU is busy"),
        ("cpu_busy_ratio", "the CPU is busy"),
        ("process_cpu_busy_ratio", "the CPU is busy"),
    ):
        for phase in Phase:
            told = inputs.story.phase(phase)
            ours = None if told is None else told.best_summary
            if told is None or ours is None or ours not in chosen or told.point.baseline not in chosen:
                continue
            point = told.point
            own, theirs = _mean(ours, signal), _mean(point.baseline, signal)
            if own is not None and theirs is not None:
                return (
                    f"{panel_title(point).split(',')[0]}: {words} {units.percent(theirs)} of the time under the "
                    f"{inputs.arm(point.baseline.workload).label}, {units.percent(own)} under "
                    f"{inputs.arm(ours.workload).label}"
                )
    return "What the device did over time"


def _described(inputs: ReportInputs, chosen: tuple[Summary, ...]) -> str:
    sentences = []
    for summary in chosen:
        for signal, words in (("gpu_busy_ratio", "GPU busy"), ("cpu_busy_ratio", "CPU busy")):
            value = _mean(summary, signal)
            if value is not None:
                phase = PHASE_NAMES[summary.workload.phase]
                sentences.append(f"{phase}, {inputs.full_label(summary.workload)}: {words} {units.percent(value)}.")
    return " ".join(sentences)
