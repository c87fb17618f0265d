"""The table of every workload: its columns, its rows, what was skipped, and the doubts in small words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Phase
from pamprof.render.arms import execution_label
from pamprof.render.comparison.charts.cost import unit_of, value_of
from pamprof.render.comparison.material import comparison_of
from pamprof.render.comparison.model import Cell, Column, Row, Skipped, Word
from pamprof.render.text import PHASE_NAMES, Formatter, brackets, plural, point_label

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Doubt, PointAnalysis, Summary
    from pamprof.records import Interval, Run
    from pamprof.render.comparison.material import Material

_VERDICTS = {
    "faster": "cheaper than the baseline beyond the equivalence band",
    "slower": "dearer than the baseline beyond the equivalence band",
    "equivalent": "within the equivalence band of the baseline",
    "inconclusive": "the interval is too wide to say",
}


def columns(material: Material) -> tuple[Column, ...]:
    """Numeric columns, in order."""
    dollars = material.quote is not None
    return (
        Column(heading="n", unit="samples", meaning="paired samples taken, none dropped"),
        Column(heading="Step", unit="wall time", meaning="median wall time of one step, with interval"),
        Column(heading="Tokens/s", unit="", meaning="from the median step time"),
        Column(
            heading="Cost", unit="× baseline", meaning="time per token over the fastest transformer's at this point"
        ),
        Column(heading="$/M" if dollars else "h/M", unit="tokens", meaning=unit_of(material)),
        Column(heading="FLOP", unit="per token", meaning="counted matrix FLOPs per token, causal"),
        Column(heading="MFU", unit="of peak", meaning="model FLOPs utilisation: achieved over dense peak FLOP/s"),
        Column(heading="Busy", unit="of step", meaning="share of the step in which at least one kernel ran"),
        Column(heading="Memory", unit="peak", meaning="highest live tensor storage of a step"),
        Column(heading="Energy", unit="mJ/token", meaning="device energy of the monitored window over its tokens"),
    )


def rows(material: Material) -> tuple[Row, ...]:
    """Every measured workload; points in order, within a point the cheapest first."""
    made: list[Row] = []
    headlines = tuple(material.headline_point(phase) for phase in Phase)
    for point in material.analysis.points:
        for place, summary in enumerate(sorted(point.summaries, key=lambda s: s.step_seconds.median)):
            workload = summary.workload
            is_baseline = workload == point.baseline.workload
            made.append(
                Row(
                    arm=material.arm(workload),
                    execution=execution_label(workload),
                    phase=PHASE_NAMES[workload.phase],
                    point=point_label(workload.point),
                    batch_size=workload.batch_size,
                    sequence_length=workload.sequence_length,
                    dtype=str(workload.dtype),
                    first_of_point=place == 0,
                    of_headline=point in headlines,
                    is_published=summary == material.published(point),
                    is_subject=workload.spec.layer == material.subject_layer,
                    is_baseline=is_baseline,
                    cells=_cells(material, point, summary),
                    verdict=_verdict(point, summary),
                    doubts=tuple(Word(text=d.kind, meaning=doubt_in_words(d)) for d in summary.doubts),
                )
            )
    return tuple(made)


def _cells(material: Material, point: PointAnalysis, summary: Summary) -> tuple[Cell, ...]:
    run = summary.run
    comparison = comparison_of(point, summary)
    ratio = (
        Cell(text="1", detail="baseline", sort=1.0)
        if comparison is None
        else _interval(comparison.time_ratio, units.ratio, units.significant)
    )
    value = value_of(material, summary)
    money = units.usd if material.quote is not None else units.significant
    flops = run.flops.matrix_flop_count / run.workload.tokens_per_step
    return (
        Cell(text=str(summary.sample_count), sort=float(summary.sample_count)),
        _interval(summary.step_seconds, units.seconds, _in_unit_of(summary.step_seconds.median)),
        _interval(summary.tokens_per_second, units.si, units.si),
        ratio,
        _interval(value, money, lambda x: money(x).replace("$", "")),
        Cell(text=units.si(flops), detail="" if run.flops.complete else "incomplete", sort=flops),
        _known(
            summary.model_flops_utilisation.median if summary.model_flops_utilisation else None,
            units.percent,
            run,
            ("model_flops_utilisation",),
            "the device's dense peak for this dtype is not known to pamprof",
        ),
        _known(
            summary.kernel_busy_ratio,
            units.percent,
            run,
            ("timing.kernel_time_seconds", "kernel_busy_ratio"),
            "no profiler reached the device",
        ),
        _known(run.memory.peak_bytes, units.binary_bytes, run, ("memory.peak_bytes",), "no peak was recorded"),
        _known(
            summary.joules_per_token,
            lambda x: units.significant(x * 1e3),
            run,
            ("energy", "monitor.energy", "energy.counter_joules", "monitor"),
            _energy_reason(run),
        ),
    )


def _interval(interval: Interval, formatter: Formatter, bracket_formatter: Formatter) -> Cell:
    return Cell(text=formatter(interval.median), detail=brackets(interval, bracket_formatter), sort=interval.median)


def _in_unit_of(median_seconds: float) -> Formatter:
    """A formatter of seconds without a unit, in the step that ``units.seconds`` gives the median."""
    steps = (1.0, 1e-3, 1e-6)
    step = next((s for s in steps if abs(median_seconds) >= s * 0.9995), 1e-9)
    return lambda value: units.significant(value / step)


def _known(value: float | None, formatter: Formatter, run: Run, fields: tuple[str, ...], otherwise: str) -> Cell:
    if value is not None:
        return Cell(text=formatter(value), sort=float(value))
    reason = next((u.reason for field in fields for u in run.unknowns if u.field == field), otherwise)
    return Cell(text=units.UNKNOWN, reason=reason)


def _energy_reason(run: Run) -> str:
    energy = run.monitor.energy if run.monitor is not None else None
    if energy is not None and energy.invalid_reasons:
        return "; ".join(energy.invalid_reasons)
    return "the device reports no energy"


def _verdict(point: PointAnalysis, summary: Summary) -> Cell:
    comparison = comparison_of(point, summary)
    if comparison is None:
        return Cell(text="baseline", detail="the fastest reference arm at this point")
    words = {"faster": "cheaper", "slower": "dearer"}
    pairing = "" if comparison.paired else "; not sampled side by side"
    return Cell(
        text=words.get(comparison.verdict, comparison.verdict) + ("" if comparison.paired else " *"),
        detail=_VERDICTS.get(comparison.verdict, "") + pairing,
    )


def skipped(material: Material) -> tuple[Skipped, ...]:
    """Planned points without a number, with the reason; one that was measured later is left out."""
    done = {run.workload.key for run in material.records.runs}
    latest = {skip.workload.key: skip for skip in material.records.skips if skip.workload.key not in done}
    return tuple(
        Skipped(
            what=f"{material.full_label(skip.workload)}, {PHASE_NAMES[skip.workload.phase].lower()}, "
            f"{point_label(skip.workload.point)}, {skip.workload.dtype}",
            kind=str(skip.kind).replace("-", " "),
            reason=skip.reason,
        )
        for skip in latest.values()
    )


def doubt_in_words(doubt: Doubt) -> str:
    """What was seen and what to do about it, as one sentence."""
    return f"{doubt.observation.rstrip('.')}; {doubt.advice.rstrip('.')}."


def doubt_words(material: Material) -> tuple[Word, ...]:
    """Each kind of doubt that occurs, with how often and what to do about it."""
    found: dict[str, tuple[int, str]] = {}
    for point in material.analysis.points:
        for summary in point.summaries:
            for doubt in summary.doubts:
                count, example = found.get(doubt.kind, (0, doubt_in_words(doubt)))
                found[doubt.kind] = (count + 1, example)
    return tuple(
        Word(text=kind, meaning=f"{plural(count, 'row')} of the table. For example: {example}")
        for kind, (count, example) in found.items()
    )


def kernel_words(material: Material) -> tuple[Word, ...]:
    """Where the kernel time went, for the fastest execution of every arm and the published one, a point a phase."""
    words = []
    for phase in Phase:
        point = material.headline_point(phase)
        if point is None:
            continue
        published = material.published(point)
        for summary in dict.fromkeys((*material.best(point), *((published,) if published else ()))):
            shares = tuple(
                f"{units.percent(share.share_ratio)} of kernel time in {share.kernel}"
                for share in summary.run.kernel_shares or ()
            )
            if shares:
                label = f"{PHASE_NAMES[phase]}, {point_label(point.point)}: {material.full_label(summary.workload)}"
                words.append(Word(text=label, meaning="; ".join(shares)))
    return tuple(words)


def launch_words(material: Material) -> tuple[Word, ...]:
    """How kernels of our own were launched, and which configurations were refused, by run; alike ones together."""
    said: dict[str, list[str]] = {}
    for point in material.analysis.points:
        for summary in point.summaries:
            run = summary.run
            refused = tuple(f"refused: {text}" for text in run.refused_configurations or ())
            lines = "; ".join((*(run.kernel_configurations or ()), *refused))
            if lines:
                where = f"{PHASE_NAMES[run.workload.phase]}, {point_label(run.workload.point)}"
                said.setdefault(lines, []).append(f"{where}: {material.full_label(run.workload)}")
    return tuple(Word(text="; ".join(names), meaning=lines) for lines, names in said.items())
