"""Tornadoes: what each input moves when it is a fifth lower or a fifth higher, the largest on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from matplotlib.patches import Rectangle

from pamprof.render.plots.axis import near_ticks, short_dollars, short_number
from pamprof.render.plots.labels import write_above, write_before_row
from pamprof.render.plots.marks import LINE_STYLES
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, TornadoPanel
    from pamprof.render.plots.sheet import Sheet

_ROW_INCHES = 0.25
_LOWER, _HIGHER = "optimizer", "published"


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``TornadoPanel``s, two to a row where there is room, under a key of the two directions."""
    panels = cast("tuple[TornadoPanel, ...]", chart.panels)
    written = short_dollars if "dollars" in chart.axis else short_number
    _draw_key(sheet)
    columns = 1 if sheet.narrow else min(2, len(panels))
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        rows = max(len(panel.bars) for panel in group)
        sheet.space(0.34)
        made = sheet.row(_ROW_INCHES * rows + 0.05, columns=columns, left=1.75, right=0.35, gap=0.3)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, rows, written)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.26)
    sheet.text(chart.axis, size=8.5, role="muted")


def _draw_key(sheet: Sheet) -> None:
    (axes,) = sheet.row(0.2)
    width = sheet.width
    axes.set_xlim(0, width)
    axes.set_ylim(1, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for left, role, text in ((0.0, _LOWER, "input a fifth lower"), (1.75, _HIGHER, "a fifth higher")):
        axes.add_patch(Rectangle((left, 0.2), 0.16, 0.6, facecolor=LIGHT[role], edgecolor=LIGHT["ink"], linewidth=0.5))
        axes.text(left + 0.24, 0.5, text, fontsize=8, color=LIGHT["ink"], va="center")


def _draw_panel(axes: Axes, panel: TornadoPanel, rows: int, written: Callable[[float], str]) -> None:
    ends = [end for bar in panel.bars for end in (bar.lower, bar.higher) if end is not None]
    low, high = min(*ends, panel.usual), max(*ends, panel.usual)
    room = max((high - low) * 0.08, panel.usual * 0.02)
    axes.set_xlim(low - room, high + room)
    ticks = near_ticks(max(low - room, panel.usual * 1e-3), high + room, at_most=4)
    axes.set_xticks(ticks, [written(float(f"{tick:.3g}")) for tick in ticks])
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(rows - 0.45, -0.6)
    axes.set_yticks([])
    axes.axvline(panel.usual, color=LIGHT["ink"], linewidth=1.0, linestyle=LINE_STYLES[panel.basis])
    write_above(axes, panel.title, left=1.72, points=6)
    frame = axes.get_yaxis_transform()
    for row, bar in enumerate(panel.bars):
        for end, role in ((bar.lower, _LOWER), (bar.higher, _HIGHER)):
            if end is None:
                continue
            left, right = min(panel.usual, end), max(panel.usual, end)
            axes.add_patch(
                Rectangle(
                    (left, row - 0.31),
                    right - left,
                    0.62,
                    facecolor=LIGHT[role],
                    edgecolor=LIGHT["ink"],
                    linewidth=0.5,
                    zorder=2,
                )
            )
        write_before_row(axes, bar.name, row, points=1.72 * 72)
        if bar.reason:
            axes.annotate(
                bar.reason,
                (1, row),
                xycoords=frame,
                xytext=(0, 0),
                textcoords="offset points",
                fontsize=7,
                color=LIGHT["muted"],
                va="center",
                ha="right",
            )
