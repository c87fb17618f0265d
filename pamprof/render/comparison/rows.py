"""The table of every workload: its rows, what was skipped, and the doubts in small words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.machines import told_part
from pamprof.records import Phase
from pamprof.render.arms import execution_label
from pamprof.render.comparison.metrics import cells
from pamprof.render.comparison.model import Cell, Row, Skipped, TraceLink, Word
from pamprof.render.text import PHASE_NAMES, plural, point_label
from pamprof.statistics import Verdict

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Doubt, PointAnalysis, Summary
    from pamprof.analysis.comparison.story import PhaseStory
    from pamprof.records import Workload
    from pamprof.render.comparison.inputs import ReportInputs

VERDICTS = {
    Verdict.FASTER: Word(text="cheaper", meaning="cheaper than the baseline beyond the equivalence band"),
    Verdict.SLOWER: Word(text="more expensive", meaning="more expensive than the baseline beyond the equivalence band"),
    Verdict.EQUIVALENT: Word(text="equivalent", meaning="within the equivalence band of the baseline"),
    Verdict.INCONCLUSIVE: Word(
        text="inconclusive", meaning="the interval leaves open whether they differ by more than 1 %"
    ),
}


def rows(inputs: ReportInputs) -> tuple[Row, ...]:
    """Every measured workload; points in order, within a point the cheapest first."""
    made: list[Row] = []
    headlines = {told.point.point: told for told in inputs.story.phases}
    for point in inputs.analysis.points:
        for place, summary in enumerate(sorted(point.summaries, key=lambda s: s.step_seconds.median)):
            workload = summary.workload
            is_baseline = workload == point.baseline.workload
            made.append(
                Row(
                    arm=inputs.arm(workload),
                    execution=execution_label(workload),
                    phase=PHASE_NAMES[workload.phase],
                    point=point_label(workload.point),
                    batch_size=workload.batch_size,
                    sequence_length=workload.sequence_length,
                    dtype=str(workload.dtype),
                    first_of_point=place == 0,
                    of_headline=point.point in headlines,
                    is_quoted=workload in _quoted(headlines.get(point.point)),
                    is_subject=workload.spec.layer == inputs.story.roles.subject,
                    is_baseline=is_baseline,
                    cells=cells(inputs, point, summary),
                    verdict=_verdict(point, summary),
                    doubts=tuple(Word(text=d.kind, meaning=doubt_in_words(d)) for d in summary.doubts),
                )
            )
    return tuple(made)


def _quoted(told: PhaseStory | None) -> tuple[Workload, ...]:
    """The subject's arms in a phase's tile."""
    if told is None:
        return ()
    return tuple(comparison.subject for comparison in (told.best, told.published, told.eager) if comparison is not None)


def _verdict(point: PointAnalysis, summary: Summary) -> Cell:
    comparison = point.comparison_of(summary.workload)
    if comparison is None:
        return Cell(text="baseline", detail="the fastest reference arm at this point")
    word = VERDICTS[comparison.verdict]
    if comparison.paired:
        return Cell(text=word.text, detail=word.meaning)
    return Cell(text=f"{word.text} *", detail=f"{word.meaning}; not sampled side by side")


def skipped(inputs: ReportInputs) -> tuple[Skipped, ...]:
    """Points planned for one device of the report's machine without a number, with the reason.

    One that was measured later is left out.
    """
    told = told_part(inputs.records, joined=True)
    done = {run.workload.key for run in told.runs}
    latest = {skip.workload.key: skip for skip in told.skips if skip.workload.key not in done}
    measured = {run.workload.spec.layer for run in told.runs}
    unplanned = {
        failed.layer: failed.reason
        for session in told.sessions
        for failed in session.unplanned_layers
        if failed.layer not in measured
    }
    return tuple(
        Skipped(
            what=f"{inputs.full_label(skip.workload)}, {PHASE_NAMES[skip.workload.phase].lower()}, "
            f"{point_label(skip.workload.point)}, {skip.workload.dtype}",
            kind=str(skip.kind).replace("-", " "),
            reason=skip.reason,
        )
        for skip in latest.values()
    ) + tuple(
        Skipped(what=f"{layer}, every point", kind="not planned", reason=reason) for layer, reason in unplanned.items()
    )


def doubt_in_words(doubt: Doubt) -> str:
    """What was seen and what to do about it, as one sentence."""
    return f"{doubt.observation.rstrip('.')}; {doubt.advice.rstrip('.')}."


def doubt_words(inputs: ReportInputs) -> tuple[Word, ...]:
    """Each kind of doubt that occurs, with how often and what to do about it."""
    found: dict[str, tuple[int, str]] = {}
    for point in inputs.analysis.points:
        for summary in point.summaries:
            for doubt in summary.doubts:
                count, example = found.get(doubt.kind, (0, doubt_in_words(doubt)))
                found[doubt.kind] = (count + 1, example)
    return tuple(
        Word(text=kind, meaning=f"{plural(count, 'row')} of the table. For example: {example}")
        for kind, (count, example) in found.items()
    )


def kernel_words(inputs: ReportInputs) -> tuple[Word, ...]:
    """Where the kernel time went, for the fastest execution of every arm and the eager code, at one point a phase."""
    words = []
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is None:
            continue
        point = told.point
        eager = () if told.eager is None else (point.summary_of(told.eager.subject),)
        for summary in dict.fromkeys((*inputs.best_arms(point), *eager)):
            shares = tuple(
                f"{units.percent(share.share_ratio)} of kernel time in {share.kernel}"
                for share in summary.run.kernel_shares or ()
            )
            if shares:
                label = f"{PHASE_NAMES[phase]}, {point_label(point.point)}: {inputs.full_label(summary.workload)}"
                words.append(Word(text=label, meaning="; ".join(shares)))
    return tuple(words)


def launch_words(inputs: ReportInputs) -> tuple[Word, ...]:
    """How kernels were launched, chosen among several or refused, by run; alike ones together."""
    said: dict[str, list[str]] = {}
    for point in inputs.analysis.points:
        for summary in point.summaries:
            run = summary.run
            refused = tuple(f"refused: {text}" for text in run.refused_configurations or ())
            lines = "; ".join((*(run.kernel_configurations or ()), *refused))
            if lines:
                where = f"{PHASE_NAMES[run.workload.phase]}, {point_label(run.workload.point)}"
                said.setdefault(lines, []).append(f"{where}: {inputs.full_label(run.workload)}")
    return tuple(Word(text="; ".join(names), meaning=lines) for lines, names in said.items())


def trace_links(inputs: ReportInputs) -> tuple[TraceLink, ...]:
    """The traces of single steps, each file once, and why one could not be written."""
    found: dict[str, TraceLink] = {}
    for run in inputs.records.runs:
        text = (
            f"{PHASE_NAMES[run.workload.phase]}, {point_label(run.workload.point)}: {inputs.full_label(run.workload)}"
        )
        if run.trace is not None:
            href = run.trace.file if run.trace.is_beside_records else ""
            meaning = f"{run.trace.file}, {units.binary_bytes(run.trace.byte_count)}"
            found[run.trace.file] = TraceLink(text=text, href=href, meaning=meaning)
        for unknown in run.unknowns:
            if unknown.field == "trace":
                found[text] = TraceLink(text=text, href="", meaning=unknown.reason)
    return tuple(found.values())
