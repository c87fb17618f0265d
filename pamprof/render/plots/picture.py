"""A chart in its three forms: a PNG that stands alone, and an SVG for the page, wide and narrow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pamprof.render.plots.sheet import Sheet
from pamprof.render.plots.style import drawing, png_bytes, svg_text

if TYPE_CHECKING:
    from pamprof.render.charts import Chart


def draw_png(chart: Chart) -> bytes:
    """The chart with title, subtitle and source line; where there is nothing to draw, the reason in words.

    The result depends on the chart alone: no date, no program name.
    """
    with drawing():
        sheet = Sheet(narrow=False, standalone=True)
        sheet.text(chart.title, size=15, weight="bold")
        sheet.text(chart.subtitle, size=9.5, role="muted")
        sheet.space(0.16)
        if chart.panels:
            _draw(sheet, chart)
        else:
            sheet.text(chart.reason, size=11)
        sheet.space(0.16)
        sheet.text(f"{chart.caption} {chart.source}" if chart.panels else chart.source, size=7.5, role="muted")
        return png_bytes(sheet.finish())


def draw_svg(chart: Chart, *, narrow: bool) -> str:
    """The chart without title or source line, which the page sets as text."""
    with drawing():
        sheet = Sheet(narrow=narrow, standalone=False)
        _draw(sheet, chart)
        return svg_text(sheet.finish(), name=f"{chart.name}-{'narrow' if narrow else 'wide'}")


def _draw(sheet: Sheet, chart: Chart) -> None:
    import_module(f"pamprof.render.plots.{chart.kind}").draw(sheet, chart)
