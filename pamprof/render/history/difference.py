"""Differences between record files as a table; every text is free of control characters."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.history.difference import ComparedMetric, GateOutcome, RatioBasis
from pamprof.render.formats.table_view import TableView
from pamprof.render.history.workload_labels import workload_labels
from pamprof.render.text import brackets, cleaned, listed, plural
from pamprof.statistics.processes import MOST_REPEATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.analysis.history.difference import Difference, FileDifference, Unmatched

_RATIO_DIGITS = 4


def difference_view(differences: Sequence[FileDifference]) -> TableView:
    """Two files in detail, or several files against the first, which is BASE in all ``differences``."""
    view = _pair_view(differences[0]) if len(differences) == 1 else _trend_view(differences)
    return cleaned(view)


def differing_sentence(found: FileDifference) -> str:
    """``the environments of base and head differ in torch (2.12.0, 2.13.0) and threads (2, 4)``."""
    words = tuple(f"{condition.name} ({condition.base}, {condition.head})" for condition in found.differing)
    return cleaned(f"the environments of {found.base} and {found.head} differ in {listed(words)}")


def _pair_view(found: FileDifference) -> TableView:
    gated = found.fail_above is not None
    labels = workload_labels(found.differences)
    quantity = "step time" if found.metric is ComparedMetric.TIME else "peak memory"
    timed = found.metric is ComparedMetric.TIME
    columns = ("workload", "where", "BASE", "HEAD", "HEAD / BASE", "verdict", "basis")
    return TableView(
        title=f"pamprof diff: {quantity}, {found.head} over {found.base}",
        summary=_summary(found),
        columns=(*columns, *(("gate",) if gated else ()), *(("repeats to settle",) if timed else ())),
        right=frozenset({2, 3}),
        rows=tuple(
            (
                labels[row.key][0],
                labels[row.key][1],
                _value(row.base_value, found.metric),
                _value(row.head_value, found.metric),
                _ratio(row),
                row.change.value,
                row.basis.value if row.ratio else row.reason or "",
                *((row.outcome.value,) if gated else ()),
                *((_repeats(row),) if timed else ()),
            )
            for row in found.differences
        ),
        notes=_notes((found,)),
    )


def _trend_view(found: Sequence[FileDifference]) -> TableView:
    first, last = found[0], found[-1]
    tables = [{row.key: row for row in difference.differences} for difference in found]
    common = [row for row in first.differences if all(row.key in table for table in tables)]
    labels = workload_labels(common)
    quantity = "step time" if first.metric is ComparedMetric.TIME else "peak memory"
    gate = ("gate",) if first.fail_above is not None else ()
    return TableView(
        title=f"pamprof diff: {quantity} of {plural(len(found) + 1, 'file')} over {first.base}",
        summary=f"{plural(len(common), 'workload')} in every file. Last file over the first: {_summary(last)}",
        columns=("workload", "where", first.base, *(difference.head for difference in found), *gate),
        right=frozenset({2}),
        rows=tuple(
            (
                *labels[row.key],
                _value(row.base_value, first.metric),
                *(_trend_cell(table[row.key]) for table in tables),
                *((tables[-1][row.key].outcome.value,) if gate else ()),
            )
            for row in common
        ),
        notes=_notes(found),
    )


def _trend_cell(row: Difference) -> str:
    if row.ratio is None:
        return f"{units.UNKNOWN} ({row.reason})"
    mark = " (unpaired)" if row.basis is RatioBasis.UNPAIRED else ""
    return f"{_ratio(row)} {row.change.value}{mark}"


def _summary(found: FileDifference) -> str:
    changes: dict[str, int] = defaultdict(int)
    for row in found.differences:
        changes[row.change.value] += 1
    verdicts = ", ".join(f"{count} {change}" for change, count in changes.items())
    text = f"{plural(len(found.differences), 'workload')} compared: {verdicts}."
    if found.fail_above is not None:
        text += (
            f" Against a limit of +{units.percent(found.fail_above)}: {found.count(GateOutcome.ABOVE)} above, "
            f"{found.count(GateOutcome.WITHIN)} within, {found.count(GateOutcome.INCONCLUSIVE)} inconclusive."
        )
    return text


def _notes(found: Sequence[FileDifference]) -> tuple[str, ...]:
    rows = [row for difference in found for row in difference.differences]
    notes: list[str] = []
    if any(row.basis is RatioBasis.CHAINED and row.ratio for row in rows):
        notes.append(
            "Chained: (HEAD / its reference) / (BASE / its reference), so that drift of the machine "
            "between the files cancels, and so does a change of the reference itself."
        )
    unpaired = tuple(dict.fromkeys(row.reason for row in rows if row.basis is RatioBasis.UNPAIRED and row.ratio))
    if unpaired:
        reasons = "; ".join(reason for reason in unpaired if reason)
        notes.append(f"Unpaired ({reasons}): a lasting change of the machine between the files is not in the interval.")
    notes += _spreads(rows, counted=len(found) == 1)
    for difference in found:
        if difference.differing:
            notes.append(f"{differing_sentence(difference)}.")
        notes += [f"{note}." for note in difference.notes]
        notes += _unmatched(f"Only in {difference.base}", difference.only_in_base)
        notes += _unmatched(f"Only in {difference.head}", difference.only_in_head)
    files = tuple(name for difference in found for name in (difference.base, difference.head))
    return tuple(dict.fromkeys(note if note.startswith(files) else f"{note[:1].upper()}{note[1:]}" for note in notes))


def _repeats(row: Difference) -> str:
    """How many processes of each side would decide the row; empty where it is decided, or nothing can be said."""
    if row.outcome is not GateOutcome.INCONCLUSIVE or row.ratio is None or row.ratio.confidence <= 0:
        return ""
    return f"more than {MOST_REPEATS}" if row.repeats_to_settle is None else f"{row.repeats_to_settle}"


def _spreads(rows: Iterable[Difference], *, counted: bool) -> list[str]:
    """What the intervals hold of fresh processes; ``counted`` where a column says how many would decide a row."""
    known = [row for row in rows if row.process_spread_ratio is not None]
    presumed = sorted({row.process_spread_ratio or 0.0 for row in known if not row.process_spread_measured})
    measured = [row.process_spread_ratio or 0.0 for row in known if row.process_spread_measured]
    notes = []
    if presumed:
        spreads = listed(tuple(units.percent(one) for one in presumed))
        notes.append(
            f"Intervals hold what a fresh process moves: presumed as {spreads} (standard deviation) where fewer than "
            "four processes measured a workload."
            + (" The last column says how many of each side would decide a row, if its ratio stays." if counted else "")
        )
    if measured:
        rows_hold = f"{plural(len(measured), 'row')} {'holds' if len(measured) == 1 else 'hold'}"
        notes.append(
            f"{rows_hold} what fresh processes were seen to move, at most {units.percent(max(measured))} (standard "
            "deviation)."
        )
    return notes


def _unmatched(where: str, workloads: Iterable[Unmatched]) -> list[str]:
    return [f"{where}: {found.key}{f' ({found.reason})' if found.reason else ''}" for found in workloads]


def _value(value: float | None, metric: ComparedMetric) -> str:
    return units.seconds(value) if metric is ComparedMetric.TIME else units.binary_bytes(value, 4)


def _ratio(row: Difference) -> str:
    if row.ratio is None:
        return units.UNKNOWN
    interval = brackets(row.ratio, lambda value: units.significant(value, _RATIO_DIGITS))
    return f"{units.ratio(row.ratio.median, _RATIO_DIGITS)} {interval}".rstrip()
