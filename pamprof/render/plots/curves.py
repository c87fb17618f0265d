"""Curves on logarithmic axes with the band of their interval: solid, dotted or dashed by their basis."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, cast

from pamprof import units
from pamprof.render.plots.axis import drawable, log_axis, log_height, short_dollars, short_number, short_seconds
from pamprof.render.plots.labels import write_above, write_below
from pamprof.render.plots.marks import LINE_STYLES, marker, spread, vertical_mark
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Unit
    from pamprof.render.plots.sheet import Sheet

_LINE_INCHES = 11.5 / 72
_WIDEST = 10.0


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``CurvePanel``s, two to a row where there is room."""
    panels = cast("tuple[CurvePanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(2, len(panels))
    height = 2.4 if sheet.narrow else 2.8
    sheet.text(chart.axis, size=8.5, role="muted")
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        above = max(_lines_above(panel) for panel in group)
        sheet.space(0.32 + above * 0.17)
        made = sheet.row(height, columns=columns, left=0.62, right=1.42, gap=0.25)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, height, formatter=_heights(chart), title_points=8 + 12.5 * above)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.5)


def _lines_above(panel: CurvePanel) -> int:
    return bool(panel.marks) + bool(panel.note)


def _draw_panel(
    axes: Axes, panel: CurvePanel, height: float, *, formatter: Callable[[float], str], title_points: float
) -> None:
    values = [value for curve in panel.curves for piece in curve.pieces for value in piece.values]
    values += [spot.value for curve in panel.curves for spot in curve.spots]
    levels = () if panel.level is None else (panel.level,)
    # An interval that a few noisy samples left open may not flatten what was found; its band runs out of the picture.
    medians = [*(v.median for v in values), *levels]
    lowest, highest = min(medians), max(medians)
    low, high = drawable(
        max(min([*(v.low for v in values), *levels]), lowest / _WIDEST) / 1.25,
        min(max([*(v.high for v in values), *levels]), highest * _WIDEST) * 1.25,
    )
    if high / low < 4:
        low, high = low / 1.4, high * 1.4
    log_height(axes, low, high, formatter, at_most=6)
    reach = [x for curve in panel.curves for piece in curve.pieces for x in piece.xs]
    reach += [spot.x for curve in panel.curves for spot in curve.spots]
    reach += [mark.x.median for mark in panel.marks]
    across = drawable(min(reach) / 1.12, max(reach) * 1.08)
    log_axis(axes, *across, _formatter(panel.x_unit), at_most=5)
    if panel.x_unit == "tokens":
        ticks = powers_of_two(*across)
        axes.set_xticks(ticks, [units.tokens(tick) for tick in ticks])
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    write_above(axes, panel.title, left=0.6, points=title_points)
    if panel.note:
        write_above(axes, panel.note, left=0.6, points=title_points - 13, size=8, weight="normal")
    write_below(axes, panel.x_label)
    for level in levels:
        axes.axhline(level, color=LIGHT["rule"], linewidth=1.2, zorder=2)
        axes.annotate(
            panel.level_text,
            (0, level),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=8,
            color=LIGHT["muted"],
            va="bottom",
        )
    for curve in panel.curves:
        draw_curve(axes, curve)
    write_labels(axes, panel, height, lambda value: log10(min(max(value, low), high) / low) / log10(high / low))
    for mark in panel.marks:
        vertical_mark(axes, mark.x.low, mark.x.median, mark.x.high, mark.text, basis=mark.basis)


def draw_curve(axes: Axes, curve: ArmCurve) -> None:
    """A line in pieces with the band of its interval, and shapes on it."""
    colour = LIGHT[curve.arm.role]
    for piece in curve.pieces:
        if any(value.low < value.high for value in piece.values):
            lows, highs = [value.low for value in piece.values], [value.high for value in piece.values]
            axes.fill_between(piece.xs, lows, highs, color=colour, alpha=0.18, linewidth=0, zorder=1)
        axes.plot(
            piece.xs,
            [value.median for value in piece.values],
            color=colour,
            linewidth=1.8,
            linestyle=LINE_STYLES[piece.basis],
            zorder=3,
        )
    for spot in curve.spots:
        axes.plot(
            (spot.x, spot.x), (spot.value.low, spot.value.high), color=colour, linewidth=1.4, marker="_", markersize=4
        )
        marker(axes, curve.arm, spot.x, spot.value.median, basis=spot.basis, size=5.5)


def write_labels(axes: Axes, panel: CurvePanel, height: float, place: Callable[[float], float]) -> None:
    """Names at the right edge, moved apart, each with a line to the end of its curve.

    ``place`` is where a value lies between the lower and the upper end of the axis, 0..1.
    """
    ends = [_end(curve) for curve in panel.curves]
    # The dtype of a state goes on a line of its own: the margin is narrow.
    labels = [curve.label.replace(" (", "\n(") for curve in panel.curves]
    heights = [_LINE_INCHES * (1 + label.count("\n")) / height for label in labels]
    placed = spread([place(y) for _, y in ends], heights, 0.03, 0.97)
    for curve, label, (x, y), now in zip(panel.curves, labels, ends, placed, strict=True):
        axes.annotate(
            label,
            (x, y),
            xytext=(1.03, now),
            textcoords="axes fraction",
            fontsize=8.5,
            color=LIGHT["ink"],
            va="center",
            linespacing=1.15,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),  # from the name's near edge: a line from its middle would cross its neighbours
                "color": LIGHT[curve.arm.role],
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def _end(curve: ArmCurve) -> tuple[float, float]:
    ends = [(piece.xs[-1], piece.values[-1].median) for piece in curve.pieces]
    ends += [(spot.x, spot.value.median) for spot in curve.spots]
    return max(ends)


def _heights(chart: Chart) -> Callable[[float], str]:
    if "dollars" in chart.axis:
        return short_dollars
    return short_seconds if chart.axis.startswith("time (") else short_number


def _formatter(unit: Unit) -> Callable[[float], str]:
    return short_seconds if unit == "seconds" else short_number


def powers_of_two(low: float, high: float) -> list[int]:
    """Powers of two between the ends, at most seven of them."""
    found = [1 << exponent for exponent in range(60) if low <= 1 << exponent <= high]
    stride = -(-len(found) // 7) if found else 1
    return found[::stride]
