"""The roofline: achieved FLOP/s over arithmetic intensity, under the ceilings of the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pamprof import units
from pamprof.render.plots.axis import drawable, log_axis, log_height, short_number
from pamprof.render.plots.labels import write_above
from pamprof.render.plots.marks import marker
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, RooflinePanel
    from pamprof.render.plots.sheet import Sheet


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``RooflinePanel``s on shared axes, side by side where there is room."""
    panels = cast("tuple[RooflinePanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(3, len(panels))
    xs = [dot.intensity for panel in panels for dot in panel.dots]
    ys = [
        end for panel in panels for dot in panel.dots for end in (dot.flops_per_second.low, dot.flops_per_second.high)
    ]
    ridges = [panel.peak_flops_per_second / slope.bytes_per_second for panel in panels for slope in panel.slopes]
    across = drawable(min(*xs, *ridges) / 3, max(*xs, *ridges) * 4)
    up = drawable(min(ys) / 2.5, max(panel.peak_flops_per_second for panel in panels) * 2.2)
    _draw_key(sheet, panels)
    sheet.space(0.06)
    sheet.text("achieved FLOP per second (log)", size=8.5, role="muted")
    for first in range(0, len(panels), columns):
        sheet.space(0.3)
        group = panels[first : first + columns]
        made = sheet.row(2.5, columns=columns, left=0.62, right=0.12, gap=0.2)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, across, up)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.24)
    sheet.text(chart.axis, size=8.5, role="muted")


def _draw_key(sheet: Sheet, panels: tuple[RooflinePanel, ...]) -> None:
    arms = {dot.arm.key: dot.arm for panel in panels for dot in panel.dots}
    columns = 2 if sheet.narrow else 6
    rows = -(-len(arms) // columns)
    (axes,) = sheet.row(0.2 * rows)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for number, arm in enumerate(arms.values()):
        x, y = number % columns, number // columns
        marker(axes, arm, x + 0.05, y + 0.5)
        axes.text(x + 0.13, y + 0.5, arm.label, fontsize=8, color=LIGHT["ink"], va="center")


def _draw_panel(axes: Axes, panel: RooflinePanel, across: tuple[float, float], up: tuple[float, float]) -> None:
    log_axis(axes, *across, short_number, at_most=5)
    log_height(axes, *up, short_number, at_most=6)
    peak = panel.peak_flops_per_second
    slopes = sorted(panel.slopes, key=lambda slope: slope.bytes_per_second, reverse=True)
    for slope in slopes:
        xs, ys = (across[0], peak / slope.bytes_per_second, across[1]), (across[0] * slope.bytes_per_second, peak, peak)
        axes.plot(xs, ys, color=LIGHT["ink"], linewidth=1.4)
    axes.annotate(
        f"{units.si(peak, 'FLOP/s')} {panel.ceiling}",
        (across[1], peak),
        xytext=(-2, 4),
        textcoords="offset points",
        fontsize=7.5,
        color=LIGHT["muted"],
        ha="right",
        va="bottom",
    )
    # The lines lie close together on logarithmic axes: one label for all of them, left of the fastest and near its end,
    # where it has room.
    bandwidth = slopes[0].bytes_per_second
    start, ridge = max(across[0], up[0] / bandwidth), peak / bandwidth
    place = start**0.25 * ridge**0.75
    axes.annotate(
        "\n".join(f"{units.si(slope.bytes_per_second, 'B/s')} {slope.label}" for slope in slopes),
        (place, place * bandwidth),
        xytext=(-4, 4),
        textcoords="offset points",
        fontsize=7.5,
        color=LIGHT["muted"],
        ha="right",
    )
    write_above(axes, panel.title, left=0.55, points=8)
    for dot in panel.dots:
        value = dot.flops_per_second
        axes.plot((dot.intensity, dot.intensity), (value.low, value.high), color=LIGHT[dot.arm.role], linewidth=1.4)
        marker(axes, dot.arm, dot.intensity, value.median)
