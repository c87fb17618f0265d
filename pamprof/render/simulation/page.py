"""The page on serving under load: one file that needs no network, and one PNG a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page, static
from pamprof.render.plots.picture import draw_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.render.charts import Chart
    from pamprof.render.simulation.live import LiveInputs
    from pamprof.render.simulation.view import LoadView

PAGE = "simulate.html"


def render_load_html(view: LoadView, charts: Sequence[Chart], live: LiveInputs | None = None) -> str:
    """The whole page; equal views give equal bytes."""
    return render_page(
        "simulation.html.jinja",
        charts,
        view=view,
        figures=charts,
        live=live,
        cost_style=Markup(static("serving/page.css")),
    )


def write_load_page(
    view: LoadView, charts: Sequence[Chart], output_dir: Path, live: LiveInputs | None = None
) -> tuple[Path, ...]:
    """Write ``simulate.html`` and one PNG a picture into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    contents = [(PAGE, render_load_html(view, charts, live).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in charts]
    return write_files(output_dir, contents)
