"""The few rows of the table that a terminal or a notebook shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.render.comparison.model import ReportView, Row


def compact_rows(view: ReportView, room: int) -> tuple[tuple[Row, ...], int]:
    """At most ``room`` rows at the points that sum phases up, and how many others there are.

    Of each phase the baseline, the arms of the tile, then others.
    """
    phases: dict[str, list[Row]] = {}
    for row in view.rows:
        if row.of_headline:
            phases.setdefault(row.phase, []).append(row)
    rows: list[Row] = []
    for left, found in zip(range(len(phases), 0, -1), phases.values(), strict=True):
        rows += _telling(found, max(1, -(-(room - len(rows)) // left)))
    return tuple(rows), len(view.rows) - len(rows)


def _telling(rows: list[Row], most: int) -> list[Row]:
    subjects = [row for row in rows if row.is_subject]
    wanted = [*(r for r in rows if r.is_baseline), *(r for r in rows if r.is_quoted), *subjects[:1]]
    named = {row.arm.key for row in wanted}
    for row in rows:
        if row.arm.key not in named:
            wanted.append(row)
            named.add(row.arm.key)
    kept = list(dict.fromkeys(wanted))[:most]
    return [row for row in rows if row in kept]
