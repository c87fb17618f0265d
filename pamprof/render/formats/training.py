"""Profiled training loops as a frame, as CSV, and as a report's files where nothing else was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.formats.csv import for_spreadsheets, guard
from pamprof.render.formats.files import write_files
from pamprof.render.formats.html import render_training_page
from pamprof.render.formats.markdown import training_markdown
from pamprof.render.formats.markdown_table import escape
from pamprof.render.text import clean
from pamprof.render.training.report import training_report, training_views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pandas import DataFrame

    from pamprof.records import TrainingProfile
    from pamprof.records.store import RecordFile

TRAINING_FILE = "training.csv"


def training_frame(profiles: Sequence[TrainingProfile], *, text: Callable[[str], str] = clean) -> DataFrame:
    """One row a loop: when and where, then every figure with its unit at the end of its column's name.

    An unknown figure is ``NA``. Every text goes through ``text``.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    types: dict[str, str] = {}
    for profile, view in zip(profiles, training_views(profiles), strict=True):
        figures = [figure for figure in view.figures if figure.column]
        about: dict[str, str | int | None] = {
            "started_at": text(profile.started_at),
            "device_name": text(profile.environment.device_name),
            "dtype": None if profile.dtype is None else profile.dtype.value,
            "tokens_per_step": profile.tokens_per_step,
            "micro_batch_count": profile.accumulation,
            "timed_step_count": len(profile.step_seconds),
        }
        types |= {name: "Int64" if name.endswith(("_count", "_step")) else "string" for name in about}
        types |= {figure.column: figure.dtype for figure in figures}
        rows.append({**about, **{figure.column: figure.value for figure in figures}})
    return pd.DataFrame.from_records(rows, columns=list(types)).astype("object").astype(types)


def training_csv(profiles: Sequence[TrainingProfile]) -> str:
    """The frame as text; an unknown figure is an empty cell."""
    return for_spreadsheets(str(training_frame(profiles, text=guard).to_csv(index=False, lineterminator="\n")))


def write_training_report(records: RecordFile, folder: Path) -> Path:
    """Write ``report.html``, ``summary.md`` and ``training.csv`` of the loops in ``records``; the page's path.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    report = training_report(records)
    head = [f"# {escape(report.title)}", "", *(line for alert in report.alerts for line in (f"> {escape(alert)}", ""))]
    contents = (
        ("report.html", render_training_page(report)),
        ("summary.md", "\n".join([*head, *training_markdown(report.loops)])),
        (TRAINING_FILE, training_csv(records.profiles)),
    )
    return write_files(folder, [(name, text.encode()) for name, text in contents])[0]
