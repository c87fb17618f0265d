"""All layers of a device model in one table: a row a layer, a column a workload, and why a cell is empty.

Every cell is the layer's fastest arm at its column's point, of those measured there with the greatest effort, out of an
analysis as it is; nothing is computed anew. A layer that only another environment (driver, CUDA, torch) has measured is
a row of that environment, with its own times and its ratios against the baseline there; where else a report shows such
a layer, it joins by its ratio (``conclude``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.records import Effort, Phase, SkipKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.analysis.comparison.story import Analysis
    from pamprof.records import LayerSpec, Point, Workload
    from pamprof.records.store import RecordFile

LEAST_ROWS = 3  # two layers are the rest of a report
_LENGTHS = {Phase.TRAIN: (2_048, 8_192, 32_768), Phase.PREFILL: (2_048, 16_384)}
_BATCHES = (1, 64)  # of decode
_CONTEXT = 2_048
_EFFORTS = (Effort.REFERENCE, Effort.STANDARD, None, Effort.QUICK)  # None: every arm, before there was a choice

Member = tuple[str, int]  # a layer and how many states its heads have


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyCell:
    """The fastest arm of a row at a column's point.

    Attributes:
        point: With its baseline; None where there is no number.
        summary: Of the arm; None likewise.
        short: Why there is none, in a few words; empty where there is one.
        reason: The same in a sentence.
    """

    point: PointAnalysis | None = None
    summary: Summary | None = None
    short: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRow:
    """One layer.

    Attributes:
        layer: Registry name.
        state_count: States of a head.
        environment: Which of the analyses it is from.
        cells: In the order of the columns.
    """

    layer: str
    state_count: int
    environment: int
    cells: tuple[FamilyCell, ...]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """What was measured of it."""
        return tuple(cell.summary for cell in self.cells if cell.summary is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The table: a point a column, each measured for at least one layer."""

    columns: tuple[Point, ...]
    rows: tuple[FamilyRow, ...]

    def first(self, phase: Phase) -> int | None:
        """The first column of a phase; None where it has none."""
        return next((number for number, point in enumerate(self.columns) if point.phase is phase), None)


def family(environments: Sequence[tuple[RecordFile, Analysis]]) -> Family | None:
    """The table of all layers, those of the first environment first; None of fewer than ``LEAST_ROWS``.

    Each environment has the records of its own machine. A layer is a row of the first that measured it, or where none
    did, of the first that knows it.

    Columns are training at 2k, 8k and 32k, prompts of 2k and 16k, and decode at batch 1 and 64, each as far as a layer
    was measured there, and at the batch size (the context) at which most layers were. A phase without any of
    them has its shortest and its longest length, or smallest and largest batch.
    """
    first = environments[0][1].story
    if not first.points:
        return None
    kind = first.points[0].point
    shown = [
        [p for p in analysis.points if (p.point.dtype, p.point.scope) == (kind.dtype, kind.scope)]
        for _, analysis in environments
    ]
    found: dict[Member, int] = {}
    for number, (records, analysis) in enumerate(environments):
        for member in _members(records, shown[number], analysis.story.roles.references):
            found.setdefault(member, number)
    if len(found) < LEAST_ROWS:
        return None
    for number, points in reversed(tuple(enumerate(shown))):
        found |= dict.fromkeys((_member(s.workload.spec) for point in points for s in point.summaries), number)
    skipped = [skip.workload for records, _ in environments for skip in records.skips]
    columns = _columns([point for points in shown for point in points], skipped)
    rows = tuple(
        FamilyRow(
            layer=member[0],
            state_count=member[1],
            environment=number,
            cells=tuple(_cell(member, column, environments[number], shown[number]) for column in columns),
        )
        for member, number in sorted(found.items(), key=lambda item: item[1])
    )
    return Family(columns=columns, rows=rows)


def _members(records: RecordFile, points: Iterable[PointAnalysis], references: Sequence[str]) -> list[Member]:
    """Layers that were measured, skipped or refused: subjects before references, in the order of the sessions."""
    sessions = sorted(records.sessions, key=lambda session: session.started_at, reverse=True)
    planned = [_member(arm.spec) for session in sessions for arm in session.arms]
    measured = [_member(s.workload.spec) for point in points for s in point.summaries]
    skipped = [_member(skip.workload.spec) for skip in records.skips]
    refused = [(each.layer, 1) for session in sessions for each in session.unplanned_layers]
    known = dict.fromkeys((*planned, *measured, *skipped, *refused))
    return sorted(known, key=lambda member: member[0] in references)


def _member(spec: LayerSpec) -> Member:
    return spec.layer, spec.state_count


def _columns(points: Sequence[PointAnalysis], skipped: Iterable[Workload]) -> tuple[Point, ...]:
    """See ``family``; a layer that was skipped at a point counts there."""
    counts: dict[Point, set[Member]] = {}
    for analysis in points:
        counts.setdefault(analysis.point, set()).update(_member(s.workload.spec) for s in analysis.summaries)
    for workload in skipped:
        if workload.point in counts:
            counts[workload.point].add(_member(workload.spec))
    columns: list[Point] = []
    for phase in Phase:
        of_phase = [point for point in counts if point.phase is phase]
        if phase is Phase.DECODE:
            for batch in _wanted([point.batch_size for point in of_phase], _BATCHES):
                there = [point for point in of_phase if point.batch_size == batch]
                columns.append(
                    max(there, key=lambda p: (len(counts[p]), p.sequence_length == _CONTEXT, -p.sequence_length))
                )
        else:
            for length in _wanted([point.sequence_length for point in of_phase], _LENGTHS[phase]):
                there = [point for point in of_phase if point.sequence_length == length]
                columns.append(max(there, key=lambda p: (len(counts[p]), p.batch_size)))
    return tuple(columns)


def _wanted(measured: Sequence[int], standard: Sequence[int]) -> list[int]:
    there = [value for value in standard if value in measured]
    return there or sorted({min(measured), max(measured)}) if measured else []


def _cell(
    member: Member, column: Point, environment: tuple[RecordFile, Analysis], points: Iterable[PointAnalysis]
) -> FamilyCell:
    point = next((each for each in points if each.point == column), None)
    own = [s for s in point.summaries if _member(s.workload.spec) == member] if point is not None else []
    if own:
        efforts = {session.session_id: session.effort for session in environment[0].sessions}
        ranked = {summary.workload: _EFFORTS.index(efforts.get(summary.run.session_id)) for summary in own}
        best = min(own, key=lambda s: (ranked[s.workload], s.step_seconds.median))
        return FamilyCell(point=point, summary=best)
    short, reason = _why_not(member, column, *environment)
    return FamilyCell(short=short, reason=reason)


def _why_not(member: Member, column: Point, records: RecordFile, analysis: Analysis) -> tuple[str, str]:
    """Why a layer has no number at a point, in a few words and in a sentence: the surest reason first."""
    skips = [s for s in records.skips if _member(s.workload.spec) == member and s.workload.point == column]
    if skips:
        latest = max(skips, key=lambda skip: skip.started_at)
        short = "out of memory" if latest.kind is SkipKind.OUT_OF_MEMORY else str(latest.kind)
        return short, latest.reason
    facts = analysis.story.roles.layers.get(member[0])
    if column.phase is Phase.DECODE and facts is not None and facts.no_decode_reason is not None:
        return "no decode", f"no decode: {facts.no_decode_reason}"
    refused = [each.reason for s in records.sessions for each in s.unplanned_layers if each.layer == member[0]]
    elsewhere = sorted(
        {
            (point.point.batch_size, point.point.sequence_length, point.point.dtype)
            for point in analysis.points
            if point.point.phase is column.phase
            and point.point.scope is column.scope
            and any(_member(s.workload.spec) == member for s in point.summaries)
        }
    )
    if refused and not elsewhere:
        return "refused", refused[-1]
    if elsewhere:
        places = ", ".join(
            f"{batch} × {length:,} tokens{'' if dtype is column.dtype else f' in {dtype}'}"
            for batch, length, dtype in elsewhere
        )
        return "not run", f"not run here, but at {places}"
    return "not run", "not run in this phase"
