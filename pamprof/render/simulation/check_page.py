"""The page of ``pamprof serve-check``: distributions as served and as predicted side by side, tables, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.records import Interval
from pamprof.render.arms import arm_key, assign_arms
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Mark
from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_page, static
from pamprof.render.plots.picture import draw_png
from pamprof.render.simulation.charts import tail_piece
from pamprof.render.simulation.check_view import check_view, load_words
from pamprof.render.text import cleaned, days, device_label, listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.analysis.simulation.checked import CheckedLoad
    from pamprof.render.arms import Arm

PAGE = "serve-check.html"


def write_check_page(loads: Sequence[CheckedLoad], output_dir: Path) -> tuple[Path, ...]:
    """Write ``serve-check.html`` and one PNG a picture into ``output_dir``; their paths, the page first.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    charts = cleaned(check_charts(loads))
    contents = [(PAGE, render_check_html(loads, charts).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in charts if chart.panels]
    return write_files(output_dir, contents)


def render_check_html(loads: Sequence[CheckedLoad], charts: Sequence[Chart]) -> str:
    """The whole page; equal loads give equal bytes."""
    return render_page(
        "serve_check.html.jinja",
        charts,
        view=check_view(loads),
        figures=charts,
        cost_style=Markup(static("serving/page.css")),
    )


def check_charts(loads: Sequence[CheckedLoad]) -> tuple[Chart, ...]:
    """One picture a load: every arm's times as served and as predicted."""
    looks = assign_arms([load.check.workload for load in loads])
    names = dict.fromkeys(load_words(load) for load in loads)
    return tuple(
        _chart(number, name, [load for load in loads if load_words(load) == name], looks)
        for number, name in enumerate(names, start=1)
    )


def _chart(number: int, name: str, loads: Sequence[CheckedLoad], looks: dict) -> Chart:  # type: ignore[type-arg]
    first = loads[0].check
    panels = []
    for title, quantity, limit in (
        ("To the first token", "seconds_to_first_token", first.limit_seconds_to_first_token),
        ("Per output token", "seconds_per_output_token", first.limit_seconds_per_output_token),
    ):
        curves = [
            curve
            for load in loads
            for basis in (Basis.MEASURED, Basis.MODELLED)
            if (curve := _curve(load, quantity, basis, looks[arm_key(load.check.workload)])) is not None
        ]
        if curves:
            panels.append(
                CurvePanel(
                    title=title,
                    x_label="time (log)",
                    x_unit="seconds",
                    curves=tuple(curves),
                    marks=(Mark(x=Interval.exact(limit), text=f"allowed: {units.seconds(limit)}", basis=None),),
                    level=1 - first.percentile / 100 if first.percentile < 99.5 else None,
                    level_text=f"p{first.percentile:g}",
                )
            )
    devices = listed(tuple(dict.fromkeys(device_label(load.check.environment) for load in loads)))
    when = days(sorted(load.check.started_at for load in loads))
    heading = f"Times at {name}, as served and as predicted"
    return Chart(
        name=f"check-{number}",
        kind="curves",
        title=heading,
        subtitle=f"{devices} · served {when}",
        axis="share of the requests that take longer (logarithmic)",
        caption=(
            "Each curve falls from all requests to the slowest: solid as served, broken as predicted before the server "
            "began. The horizontal line is the share that may take longer than the limits."
        ),
        source="Source: pamprof serve-check; both from the records.",
        alt=f"{heading}.",
        panels=tuple(panels),
        reason="" if panels else "too few requests were served",
    )


def _curve(load: CheckedLoad, quantity: str, basis: Basis, look: Arm) -> ArmCurve | None:
    import numpy as np

    measured = basis is Basis.MEASURED
    times = getattr(load.measured if measured else load.predicted, quantity)
    kept = np.sort(times[np.isfinite(times) & (times > 0)])
    piece = tail_piece(kept, (kept,), basis=basis, confidence=1.0)
    label = f"{look.label}, {'served' if measured else 'predicted'}"
    return None if piece is None else ArmCurve(arm=look, label=label, pieces=(piece,), spots=())
