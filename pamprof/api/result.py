"""What a comparison found, for a notebook, a terminal or a program."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import OutputError, RecordError, UnsupportedError

if TYPE_CHECKING:
    from pandas import DataFrame

    from pamprof.analysis.comparison.story import Analysis, Story
    from pamprof.pricing.rates.price_choice import PriceChoice
    from pamprof.records import PriceQuote
    from pamprof.records.store import RecordFile
    from pamprof.render.comparison.model import ReportView


class Result:
    """Records of comparisons and of profiled training loops, and everything that follows from them.

    Statistics are computed from the stored samples when they are first asked for. ``repr`` gives the table that
    ``pamprof compare`` prints; a notebook shows sentence, four numbers, ladders and table. The figures of training
    loops follow.

    Attributes:
        records: Sessions, runs with all samples, skips with their reasons, ceilings, training loops (``profiles``).

    Args:
        records: At least one run, or training loop.
        quote: A price that replaces the records' own.
        choice: What serving may be paid with, where the records hold a sweep.
    """

    def __init__(
        self,
        records: RecordFile,
        *,
        quote: PriceQuote | None = None,
        choice: PriceChoice | None = None,
    ) -> None:
        self.records = records
        self._quote = quote
        self._choice = choice

    @cached_property
    def _comparison(self) -> RecordFile:
        from pamprof.records.sweeps import split_sweeps

        return split_sweeps(self.records)[0]

    @cached_property
    def _analysis(self) -> Analysis:
        from pamprof.analysis import analyse

        return analyse(self._comparison)

    @cached_property
    def _view(self) -> ReportView:
        from pamprof.render.formats.write import report_view

        return report_view(self.records, self._analysis, quote=self._quote, choice=self._choice)

    @property
    def story(self) -> Story:
        """Who is compared, at which points, what the numbers are; ``story.sentence`` says it in words.

        Raises:
            RecordError: Nothing was compared: the records hold training loops alone.
        """
        if not self.records.runs:
            raise RecordError("training loops alone tell no story; their figures are in to_frame()")
        return self._analysis.story

    def to_frame(self) -> DataFrame:
        """One row a measured workload, with the columns of ``measurements.csv``; an unknown value is ``NA``.

        Times are in seconds, memory in bytes, energy in joules, prices in US dollars: the unit ends each column's name.
        Records of training loops alone give the rows of ``training_frame``.
        """
        from pamprof.render.formats.csv import measurements

        if not self.records.runs:
            return self.training_frame()
        return measurements(self._comparison, self._analysis, quote=self._quote)

    def training_frame(self) -> DataFrame:
        """One row a profiled training loop, with the columns of ``training.csv``; an unknown value is ``NA``."""
        from pamprof.render.formats.training import training_frame

        return training_frame(self.records.profiles)

    def scaling_frame(self) -> DataFrame:
        """One row a point that several ranks shared, with the columns of ``scaling.csv``; an unknown value is ``NA``.

        Empty where nothing was measured with ``ranks``.
        """
        from pamprof.render.comparison.inputs import gather
        from pamprof.render.scaling.export import scaling_frame

        quote = self._quote
        if self.records.runs:
            quote = gather(self._comparison, self._analysis, quote=quote, quote_reason=None).quote
        return scaling_frame(self.records.ranked, quote=quote)

    def to_csv(self, path: str | Path) -> Path:
        """Write the frame as the report has it, text that a spreadsheet would run made inert.

        Raises:
            OutputError: The file cannot be written.
        """
        from pamprof.render.formats.csv import measurements_csv
        from pamprof.render.formats.files import write_files
        from pamprof.render.formats.training import training_csv

        target = Path(path)
        if self.records.runs:
            text = measurements_csv(self._comparison, self._analysis, quote=self._quote)
        else:
            text = training_csv(self.records.profiles)
        return write_files(target.parent, [(target.name, text.encode())])[0]

    def to_parquet(self, path: str | Path) -> Path:
        """Write the frame as one Parquet file.

        Raises:
            UnsupportedError: pyarrow is not installed.
            OutputError: The file cannot be written.
        """
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            raise UnsupportedError("a Parquet file needs pyarrow, which is not installed; pip install pyarrow")
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.to_frame().to_parquet(target, engine="pyarrow", index=False)
        except OSError as exc:
            raise OutputError(f"cannot write {target}: {exc.strerror}; choose another path") from exc
        return target

    def report(self, folder: str | Path) -> Path:
        """Write the report as ``pamprof report`` does, and the pages beside it; the path of its page.

        Raises:
            OutputError: The folder cannot be made or a file in it not written.
        """
        from pamprof.api.other_pages import write_other_pages
        from pamprof.render.formats.training import write_training_report
        from pamprof.render.formats.write import write_report

        write_other_pages(self.records, Path(folder))
        if not self.records.runs:
            return write_training_report(self.records, Path(folder))
        return write_report(self.records, Path(folder), quote=self._quote, choice=self._choice).html

    def __repr__(self) -> str:
        from pamprof.render.formats.terminal import terminal_text
        from pamprof.render.training.report import training_report, training_report_text

        if not self.records.runs:
            return training_report_text(training_report(self.records))
        return terminal_text(self._view)

    def _repr_html_(self) -> str:
        """For notebooks: light and dark, without a script, without a style that reaches beyond it."""
        from pamprof.render.formats.html import render_notebook, render_training
        from pamprof.render.training.report import training_report

        if not self.records.runs:
            return render_training(training_report(self.records).loops)
        return render_notebook(self._view)
