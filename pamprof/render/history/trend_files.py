"""The trend as files: a page that needs no network, and one PNG a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page
from pamprof.render.plots.picture import draw_png

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.render.history.trend import TrendView

PAGE = "trend.html"


def render_trend_html(view: TrendView) -> str:
    """The whole page; equal views give equal bytes."""
    return render_page("trend.html.jinja", view.charts, view=view)


def write_trend(view: TrendView, output_dir: Path) -> tuple[Path, ...]:
    """Write ``trend.html`` and one PNG a picture into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    contents = [(PAGE, render_trend_html(view).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in view.charts]
    return write_files(output_dir, contents)
