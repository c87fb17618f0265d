"""Writes a report's files: the page, the pictures, the summary and the table of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis import analyse
from pamprof.records.sweeps import split_sweeps
from pamprof.render.comparison.inputs import gather
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_html
from pamprof.render.formats.kernels import KERNELS_FILE, kernels_csv
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.training import TRAINING_FILE, training_csv
from pamprof.render.plots.picture import draw_png
from pamprof.render.scaling.export import SCALING_FILE, scaling_csv
from pamprof.render.serving.section import serving_section

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.analysis.comparison.story import Analysis
    from pamprof.pricing.rates.price_choice import PriceChoice
    from pamprof.records import PriceQuote
    from pamprof.records.store import RecordFile
    from pamprof.render.comparison.model import ReportView


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """What was written.

    Attributes:
        html: The page.
        paths: Every file, the page first.
        view: What they show, for the terminal.
    """

    html: Path
    paths: tuple[Path, ...]
    view: ReportView


def write_report(
    records: RecordFile,
    output_dir: Path,
    *,
    quote: PriceQuote | None = None,
    quote_unknown_reason: str | None = None,
    choice: PriceChoice | None = None,
) -> WrittenReport:
    """Write ``report.html``, one PNG a picture, ``summary.md`` and ``measurements.csv`` into ``output_dir``.

    Serving sweeps among the records become the section on serving; profiled training loops a section, and
    ``training.csv``; points that ranks shared a section, and ``scaling.csv``; the rest is made of the other sessions.
    Records with kernels add ``kernels.csv``.
    Equal records and prices give equal bytes. A file is replaced as a whole, so a failure leaves the old one.

    Args:
        records: What was measured.
        output_dir: Folder, made if missing.
        quote: Price to use; without one, the price the latest session stored.
        quote_unknown_reason: Why there is no price, when the session's own must not be used either.
        choice: What serving may be paid with beside the price the records hold; None: nothing.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    comparison, _ = split_sweeps(records)
    analysis = analyse(comparison)
    view = report_view(records, analysis, quote=quote, quote_unknown_reason=quote_unknown_reason, choice=choice)
    charts = view.every_chart
    contents: list[tuple[str, bytes]] = [("report.html", render_html(view).encode())]
    contents += [(f"{chart.name}.png", draw_png(chart)) for chart in charts]
    contents.append(("summary.md", render_markdown(view).encode()))
    table = measurements_csv(comparison, analysis, quote=quote, quote_unknown_reason=quote_unknown_reason)
    contents.append(("measurements.csv", table.encode()))
    if any(run.kernels for run in comparison.runs):
        contents.append((KERNELS_FILE, kernels_csv(comparison.runs, analysis.roofs).encode()))
    if records.profiles:
        contents.append((TRAINING_FILE, training_csv(records.profiles).encode()))
    if records.ranked:
        inputs = gather(comparison, analysis, quote=quote, quote_reason=quote_unknown_reason)
        contents.append((SCALING_FILE, scaling_csv(records.ranked, quote=inputs.quote).encode()))
    paths = write_files(output_dir, contents)
    return WrittenReport(html=paths[0], paths=paths, view=view)


def report_view(
    records: RecordFile,
    analysis: Analysis,
    *,
    quote: PriceQuote | None = None,
    quote_unknown_reason: str | None = None,
    choice: PriceChoice | None = None,
) -> ReportView:
    """What the report shows: arguments as of ``write_report``, and the conclusions from all that is no sweep."""
    comparison, sweep = split_sweeps(records)
    return build_view(
        comparison,
        quote=quote,
        quote_unknown_reason=quote_unknown_reason,
        analysis=analysis,
        serving=serving_section(comparison, sweep, choice=choice),
        beside=[run.workload for run in sweep.runs],
    )
