"""Lines over batch size or context, labelled at their ends, with crossovers marked and named."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, cast

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pamprof import units
from pamprof.render.plots.axis import drawable, log_height, short_dollars, short_number
from pamprof.render.plots.labels import write_above, write_below
from pamprof.render.plots.marks import marker, spread, vertical_mark
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, LinePanel
    from pamprof.render.plots.sheet import Sheet


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``LinePanel``s, two to a row where there is room."""
    panels = cast("tuple[LinePanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(2, len(panels))
    height = 2.2 if sheet.narrow else 2.5
    sheet.text(chart.axis, size=8.5, role="muted")
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        marked = any(panel.marks or panel.note for panel in group)
        sheet.space(0.52 if marked else 0.3)
        made = sheet.row(height, columns=columns, left=0.58, right=1.38, gap=0.25)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, height, dollars="dollars" in chart.axis, title_points=24 if marked else 8)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.5)


def _draw_panel(axes: Axes, panel: LinePanel, height: float, *, dollars: bool, title_points: int) -> None:
    ends = [end for line in panel.lines for v in line.values for end in (v.low, v.high)]
    low, high = drawable(min(ends) / 1.25, max(ends) * 1.25)
    if high / low < 4:
        low, high = low / 1.3, high * 1.3
    log_height(axes, low, high, short_dollars if dollars else short_number, at_most=6)
    sizes = sorted({x for line in panel.lines for x in line.xs})
    reach = [*sizes, *(mark.x.median for mark in panel.marks)]
    axes.set_xscale("log", base=2)
    axes.set_xlim(*drawable(min(reach) / 1.18, max(reach) * 1.12))
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FixedFormatter([units.tokens(int(x)) for x in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    write_above(axes, panel.title, left=0.55, points=title_points)
    write_below(axes, panel.x_label)
    if panel.note:
        write_above(axes, panel.note, left=0.55, points=9, size=8, weight="normal")
    for line in panel.lines:
        medians = [v.median for v in line.values]
        axes.plot(
            line.xs,
            medians,
            color=LIGHT[line.arm.role],
            linewidth=1.8,
            zorder=3,
        )
        for x, value in zip(line.xs, line.values, strict=True):
            axes.plot(
                (x, x),
                (value.low, value.high),
                color=LIGHT[line.arm.role],
                linewidth=1.6,
                marker="_",
                markersize=5,
                zorder=3,
            )
            marker(axes, line.arm, x, value.median)
    _label_ends(axes, panel, height, low, high)
    for mark in panel.marks:
        vertical_mark(axes, mark.x.low, mark.x.median, mark.x.high, mark.text, basis=mark.basis)


def _label_ends(axes: Axes, panel: LinePanel, height: float, low: float, high: float) -> None:
    def place(value: float) -> float:
        return log10(min(max(value, low), high) / low) / log10(high / low)

    wanted = [place(line.values[-1].median) for line in panel.lines]
    placed = spread(wanted, [11.5 / 72 / height] * len(wanted), 0.02, 0.98)
    for line, was, now in zip(panel.lines, wanted, placed, strict=True):
        axes.annotate(
            line.arm.label,
            (line.xs[-1], line.values[-1].median),
            xytext=(14, (now - was) * height * 72),
            textcoords="offset points",
            fontsize=8.5,
            color=LIGHT["ink"],
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LIGHT[line.arm.role], "linewidth": 0.8, "shrinkA": 1, "shrinkB": 5},
        )
