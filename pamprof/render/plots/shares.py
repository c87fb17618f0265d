"""Curves of shares: percent from 0 to 100 upwards, a logarithmic axis of sizes, labels at the right edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from matplotlib.ticker import FixedFormatter, FixedLocator

from pamprof import units
from pamprof.render.plots.axis import drawable, log_axis, short_number
from pamprof.render.plots.curves import draw_curve, powers_of_two, write_labels
from pamprof.render.plots.labels import write_above, write_below
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, CurvePanel
    from pamprof.render.plots.sheet import Sheet

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LOW, _HIGH = -0.02, 1.04


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``CurvePanel``s of values 0..1, two to a row where there is room."""
    panels = cast("tuple[CurvePanel, ...]", chart.panels)
    columns = 1 if sheet.narrow else min(2, len(panels))
    height = 2.4 if sheet.narrow else 2.8
    sheet.text(chart.axis, size=8.5, role="muted")
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        sheet.space(0.32)
        made = sheet.row(height, columns=columns, left=0.5, right=1.42, gap=0.25)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, height)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.5)


def _draw_panel(axes: Axes, panel: CurvePanel, height: float) -> None:
    axes.set_ylim(_LOW, _HIGH)
    axes.yaxis.set_major_locator(FixedLocator(_SHARES))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{share:.0%}" for share in _SHARES]))
    axes.grid(visible=True, axis="y", color=LIGHT["grid"], linewidth=0.8)
    reach = [x for curve in panel.curves for piece in curve.pieces for x in piece.xs]
    across = drawable(min(reach) / 1.12, max(reach) * 1.08)
    log_axis(axes, *across, short_number)
    ticks = powers_of_two(*across)
    axes.set_xticks(ticks, [units.tokens(tick) for tick in ticks])
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(LIGHT["rule"])
    write_above(axes, panel.title, left=0.48, points=8)
    write_below(axes, panel.x_label)
    for curve in panel.curves:
        draw_curve(axes, curve)
    write_labels(axes, panel, height, lambda share: (share - _LOW) / (_HIGH - _LOW))
