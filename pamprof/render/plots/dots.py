"""Dots with intervals on a logarithmic axis, one panel a point: cost, or any quantity where a ratio is what matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pamprof.render.plots.axis import log_axis, short_dollars, short_number
from pamprof.render.plots.labels import write_above, write_after_row, write_before_row
from pamprof.render.plots.marks import marker, whisker
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, DotPanel
    from pamprof.render.plots.sheet import Sheet

_ROW_INCHES = 0.24


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``DotPanel``s, two to a row where there is room; panels of one group share their axis."""
    panels = cast("tuple[DotPanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(2, len(panels))
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        if first:
            sheet.space(0.06)
        rows = max(len(panel.dots) for panel in group)
        left, right = (1.2, 0.8)
        sheet.space(0.24)
        made = sheet.row(_ROW_INCHES * rows + 0.06, columns=columns, left=left, right=right, gap=0.3)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, rows, _span(panels, panel.axis_group), left=left, right=right, axis=chart.axis)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.26)
    sheet.text(chart.axis, size=8.5, role="muted")


def _span(panels: tuple[DotPanel, ...], group: str) -> tuple[float, float]:
    dots = [dot for panel in panels if panel.axis_group == group for dot in panel.dots]
    ends = [x for dot in dots for x in (dot.value.low, dot.value.high, *dot.slower)]
    return min(ends) / 1.35, max(ends) * 1.35


def _draw_panel(
    axes: Axes, panel: DotPanel, rows: int, span: tuple[float, float], *, left: float, right: float, axis: str
) -> None:
    dollars = axis.startswith("US dollars")
    log_axis(axes, *span, short_dollars if dollars else short_number, at_most=4)
    axes.set_ylim(rows - 0.5, -0.6)
    axes.set_yticks([])
    write_above(axes, panel.title, left=left, points=6)
    for row, dot in enumerate(panel.dots):
        axes.plot(span, (row, row), color=LIGHT["grid"], linewidth=0.6, zorder=1)
        for slower in dot.slower:
            axes.plot(
                (slower,),
                (row,),
                marker=dot.arm.marker,
                markersize=3.6,
                color=LIGHT[dot.arm.role],
                markerfacecolor=LIGHT["paper"],
                markeredgecolor=LIGHT[dot.arm.role],
                markeredgewidth=0.8,
                zorder=2,
            )
        whisker(axes, dot.arm, dot.value, row)
        marker(axes, dot.arm, dot.value.median, row)
        write_before_row(axes, dot.label, row, points=left * 72)
        write_after_row(axes, dot.text, row, points=right * 72, align="right")
