"""Predicted GPUs as files: a page that needs no network, one PNG a picture, and every row as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page
from pamprof.render.plots.picture import draw_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.render.prediction.export import PredictionRow
    from pamprof.render.prediction.view import PredictionView

PAGE = "predict.html"


def render_prediction_html(view: PredictionView) -> str:
    """The whole page; equal views give equal bytes."""
    return render_page("prediction.html.jinja", view.charts, view=view)


def write_prediction(view: PredictionView, rows: Sequence[PredictionRow], output_dir: Path) -> tuple[Path, ...]:
    """Write ``predict.html``, ``predictions.json`` and the PNGs into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    json = msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n"
    contents = [(PAGE, render_prediction_html(view).encode()), ("predictions.json", json)]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in view.charts if chart.panels]
    return write_files(output_dir, contents)
