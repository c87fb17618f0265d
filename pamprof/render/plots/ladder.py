"""The ladder: how each rung multiplies the cost per token, on a logarithmic axis, one panel a point."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from matplotlib.patches import Rectangle

from pamprof import units
from pamprof.render.plots.axis import log_axis
from pamprof.render.plots.labels import write_after_row, write_before_row
from pamprof.render.plots.style import LIGHT
from pamprof.render.text import brackets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, LadderBar, LadderPanel
    from pamprof.render.plots.sheet import Sheet

_LABEL_INCHES = 2.75
_VALUE_INCHES = 2.3


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``LadderPanel``s below each other, all on one axis so that their lengths compare."""
    panels = cast("tuple[LadderPanel, ...]", chart.panels)
    low, high = _span(panels)
    for number, panel in enumerate(panels):
        if number:
            sheet.space(0.22)
        sheet.text(panel.title, size=10, weight="bold")
        sheet.space(0.04)
        if sheet.narrow:
            (axes,) = sheet.row(0.46 * len(panel.bars) + 0.1, left=0.05, right=0.05)
        else:
            (axes,) = sheet.row(0.31 * len(panel.bars) + 0.08, left=_LABEL_INCHES, right=_VALUE_INCHES)
        log_axis(axes, low, high, _tick, at_most=5 if sheet.narrow else 8)
        axes.set_ylim(len(panel.bars) - (0.35 if not sheet.narrow else 0.3), -0.6 if not sheet.narrow else -0.75)
        axes.set_yticks([])
        axes.axvline(1.0, color=LIGHT["rule"], linewidth=1.0)
        for row, bar in enumerate(panel.bars):
            _draw_bar(axes, row, bar, narrow=sheet.narrow)
        for row in range(1, len(panel.bars)):
            edge = panel.bars[row].start
            axes.plot((edge, edge), (row - 0.8, row + 0.3), color=LIGHT["rule"], linewidth=0.8, zorder=1)
        sheet.space(0.2)
        if number == len(panels) - 1:
            sheet.text(chart.axis, size=8.5, role="muted", left=0.0 if sheet.narrow else _LABEL_INCHES)


def _span(panels: tuple[LadderPanel, ...]) -> tuple[float, float]:
    ends = [
        end for panel in panels for bar in panel.bars for end in (bar.cumulative.low, bar.cumulative.high, bar.start)
    ]
    return min(*ends, 1.0) / 1.25, max(*ends, 1.0) * 1.25


def _draw_bar(axes: Axes, row: int, bar: LadderBar, *, narrow: bool) -> None:
    end = bar.cumulative.median
    left, right = min(bar.start, end), max(bar.start, end)
    tall = 0.3 if narrow else 0.52
    colour = LIGHT[bar.role]
    if left < right:
        axes.add_patch(
            Rectangle(
                (left, row - tall / 2),
                right - left,
                tall,
                facecolor=colour if bar.measured else LIGHT["paper"],
                edgecolor=colour,
                linewidth=1.4,
                linestyle="-" if bar.measured else (0, (3, 2)),
                zorder=2,
            )
        )
    axes.plot((end, end), (row - tall / 2 - 0.06, row + tall / 2 + 0.06), color=colour, linewidth=2.6, zorder=3)
    interval = bar.cumulative
    if interval.low < interval.high:
        axes.plot((interval.low, interval.high), (row, row), color=LIGHT["ink"], linewidth=1.1, zorder=4)
    frame = axes.get_yaxis_transform()
    factor = f"{units.ratio(bar.factor.median)} {brackets(bar.factor)}".rstrip() if row else "1 by definition"
    total = units.ratio(bar.cumulative.median)
    if narrow:
        back = {"facecolor": LIGHT["paper"], "edgecolor": "none", "pad": 0.8}
        total = f"  →  {units.ratio(bar.cumulative.median)}" if row else ""
        axes.text(0, row - 0.42, bar.label, transform=frame, fontsize=8.5, color=LIGHT["ink"], va="center", bbox=back)
        axes.text(
            1,
            row - 0.42,
            factor + total,
            transform=frame,
            fontsize=8,
            color=LIGHT["ink"],
            va="center",
            ha="right",
            bbox=back,
        )
        return
    write_before_row(axes, bar.label, row, points=_LABEL_INCHES * 72, up=4 if bar.detail else 0, size=9)
    if bar.detail:
        write_before_row(axes, bar.detail, row, points=_LABEL_INCHES * 72, up=-6.5, size=7, role="muted")
    write_after_row(axes, factor, row, points=8)
    write_after_row(axes, total, row, points=_VALUE_INCHES * 72, size=9, weight="bold", align="right")


def _tick(value: float) -> str:
    return f"{value:g}×"
