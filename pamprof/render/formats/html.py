"""The page: one file without a single reference to another, light and dark, on a phone, on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from pamprof.render.comparison.compact import compact_rows
from pamprof.render.plots.picture import draw_svg
from pamprof.render.plots.style import DARK, LIGHT, css_colour, css_variables, icon_path
from pamprof.render.serving.script import serving_script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.render.charts import Chart
    from pamprof.render.comparison.model import ReportView
    from pamprof.render.training.figures import TrainingView
    from pamprof.render.training.report import TrainingReport

_NOTEBOOK_COLUMNS = ("tokens_per_second", "cost", "price", "memory")
_NOTEBOOK_ROWS = 12


def render_html(view: ReportView) -> str:
    """The whole page; equal views give equal bytes."""
    serving = view.serving
    return render_page(
        "report.html.jinja",
        view.every_chart,
        view=view,
        icons={arm.key: icon_path(arm.marker) for arm in view.arms},
        cost_style=Markup(static("serving/page.css")),
        script=Markup(static("sort.js") + ("" if serving is None else serving_script(serving.data))),
    )


def render_notebook(view: ReportView) -> str:
    """The story, the four numbers, the ladders and the rows that sum phases up, as one element for a notebook's cell.

    It has no script, and its style names nothing outside itself. Equal views give equal text.
    """
    rows, left_out = compact_rows(view, _NOTEBOOK_ROWS)
    return render_page(
        "notebook.html.jinja",
        (),
        view=view,
        icons={arm.key: icon_path(arm.marker) for arm in view.arms},
        columns=[view.column(name) for name in _NOTEBOOK_COLUMNS],
        rows=rows,
        left_out=left_out,
    )


def render_training(loops: Iterable[TrainingView]) -> str:
    """Profiles of training loops, as one element for a notebook's cell."""
    return render_page("training.html.jinja", (), loops=loops)


def render_training_page(report: TrainingReport) -> str:
    """The whole page where nothing but training loops was measured; equal reports give equal text."""
    return render_page("training_page.html.jinja", (), report=report)


def render_page(template: str, charts: Iterable[Chart], **content: object) -> str:
    """A template of this package with the pictures of ``charts`` and ``content``, every text of which is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pamprof.render", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["colour"] = css_colour
    pictures = {
        chart.name: (Markup(draw_svg(chart, narrow=False)), Markup(draw_svg(chart, narrow=True)))
        for chart in charts
        if chart.panels
    }
    return environment.get_template(template).render(
        pictures=pictures,
        light=Markup(css_variables(LIGHT)),
        dark=Markup(css_variables(DARK)),
        style=Markup(static("report.css")),
        **content,
    )


def static(name: str) -> str:
    """A script or a style sheet of this package's templates."""
    from importlib.resources import files

    return files("pamprof.render").joinpath("templates", name).read_text(encoding="utf-8")
