"""The capacity page as files: a page that needs no network, one PNG a picture, and every accuracy as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.capacity.export import capacity_csv
from pamprof.render.capacity.view import capacity_view
from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page
from pamprof.render.plots.picture import draw_png

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.records import Capacity
    from pamprof.render.capacity.view import CapacityView

PAGE = "capacity.html"


def render_capacity_html(view: CapacityView) -> str:
    """The whole page; equal views give equal bytes."""
    return render_page("capacity/page.html.jinja", view.charts, view=view)


def write_capacity(record: Capacity, output_dir: Path) -> tuple[Path, ...]:
    """Write ``capacity.html``, ``capacity.csv`` and the PNGs into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    view = capacity_view(record)
    contents = [(PAGE, render_capacity_html(view).encode()), ("capacity.csv", capacity_csv(record).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in view.charts if chart.panels]
    return write_files(output_dir, contents)
