"""The cost page as files: one page with live inputs that needs no network, and one PNG a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page, static
from pamprof.render.plots.picture import draw_png
from pamprof.render.serving.script import serving_script

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.render.serving.page_view import CostPageView

PAGE = "cost.html"


def render_cost_html(view: CostPageView) -> str:
    """The whole page; equal views give equal bytes."""
    return render_page(
        "serving/page.html.jinja",
        view.charts,
        view=view,
        cost_style=Markup(static("serving/page.css")),
        script=Markup(serving_script(view.data)),
    )


def write_cost_page(view: CostPageView, output_dir: Path) -> tuple[Path, ...]:
    """Write ``cost.html`` and one PNG a picture into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    contents = [(PAGE, render_cost_html(view).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in view.charts]
    return write_files(output_dir, contents)
