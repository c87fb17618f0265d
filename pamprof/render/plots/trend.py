"""Ratios over stored runs: small multiples, one panel a workload, each with a range of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

from matplotlib.ticker import FixedFormatter, FixedLocator

from pamprof.render.plots.axis import drawable, near_ticks, set_log_height
from pamprof.render.plots.labels import write_above
from pamprof.render.plots.marks import marker
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, TrendPanel
    from pamprof.render.plots.sheet import Sheet

_HEIGHT_INCHES = 1.05
_LINE_INCHES = 0.135
# A flat series is drawn flat: a panel shows at least this much above and below its middle.
_LEAST_REACH = 1.015
_MOST_LABELS = 4
_MOST_LETTERS = 34
_MANY_RUNS = 12


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``TrendPanel``s of equally many runs, three to a row where there is room."""
    panels = cast("tuple[TrendPanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(3, len(panels))
    lines = max(len(label) for panel in panels for label in panel.runs)
    sheet.text(chart.axis, size=8.5, role="muted")
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        sheet.space(0.48 if any(panel.changes for panel in group) else 0.34)
        made = sheet.row(_HEIGHT_INCHES, columns=columns, left=0.5, right=0.12, gap=0.3)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.08 + _LINE_INCHES * lines)


def _draw_panel(axes: Axes, panel: TrendPanel) -> None:
    low, high = _span(panel)
    set_log_height(axes, low, high, near_ticks(low, high))
    count = len(panel.runs)
    axes.set_xlim(-0.4, count - 0.6)
    labelled = _labelled(count)
    axes.xaxis.set_major_locator(FixedLocator(list(range(count))))
    axes.xaxis.set_major_formatter(
        FixedFormatter(["\n".join(label) if number in labelled else "" for number, label in enumerate(panel.runs)])
    )
    axes.tick_params(axis="x", labelsize=7, pad=3)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    if panel.noise is not None:
        ends = drawable(*panel.noise)
        axes.axhspan(*ends, color=LIGHT["band"], linewidth=0, zorder=0)
        for edge in ends:
            axes.axhline(edge, color=LIGHT["rule"], linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    for number, name in panel.changes:
        _draw_change(axes, number - 0.5, name)
    colour = LIGHT[panel.arm.role]
    known = [(x, value) for x, value in enumerate(panel.values) if value is not None]
    for (x, value), (next_x, next_value) in pairwise(known):
        gap = next_x - x > 1  # a run between the two has no ratio
        axes.plot(
            (x, next_x),
            (value.median, next_value.median),
            color=colour,
            linewidth=1.4,
            linestyle=(0, (2, 2)) if gap else "-",
            zorder=3,
        )
    for x, value in known:
        axes.plot((x, x), (value.low, value.high), color=colour, linewidth=1.4, marker="_", markersize=5, zorder=3)
        marker(axes, panel.arm, x, value.median, size=5.5 if count <= _MANY_RUNS else 4.0)
    _draw_heading(axes, panel)


def _span(panel: TrendPanel) -> tuple[float, float]:
    ends = [end for value in panel.values if value is not None for end in (value.low, value.high)]
    ends += panel.noise or ()
    low, high = drawable(min(ends), max(ends))
    middle = low**0.5 * high**0.5
    low, high = min(low, middle / _LEAST_REACH), max(high, middle * _LEAST_REACH)
    room = (high / low) ** 0.08
    return drawable(low / room, high * room)


def _labelled(count: int) -> frozenset[int]:
    """Numbers of the runs whose label is written: the first, the last and evenly some between."""
    if count <= _MOST_LABELS:
        return frozenset(range(count))
    return frozenset(round(part * (count - 1) / (_MOST_LABELS - 1)) for part in range(_MOST_LABELS))


def _draw_change(axes: Axes, x: float, name: str) -> None:
    axes.axvline(x, color=LIGHT["ink"], linewidth=0.9, linestyle=(0, (4, 2.5)), zorder=2)
    axes.annotate(
        name,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
        color=LIGHT["ink"],
        ha="center",
        va="bottom",
        annotation_clip=False,
    )


def _draw_heading(axes: Axes, panel: TrendPanel) -> None:
    above = 12 if panel.changes else 5
    title = panel.title if len(panel.title) <= _MOST_LETTERS else f"{panel.title[: _MOST_LETTERS - 1]}…"
    write_above(axes, title, left=0.47, points=above, size=8.5)
    axes.annotate(
        panel.text,
        (1, 1),
        xycoords="axes fraction",
        xytext=(6, above),
        textcoords="offset points",
        fontsize=8,
        color=LIGHT["muted"],
        ha="right",
        va="bottom",
        annotation_clip=False,
    )
