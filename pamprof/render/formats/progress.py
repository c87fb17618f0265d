"""Progress of a session on standard error: a bar on a terminal, one plain line a point elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pamprof.records import Session
from pamprof.render.text import clean
from pamprof.units import ratio, rough_seconds, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from pamprof.records import Run


class ProgressReporter:
    """What a session tells while it measures; it is injected, so that measuring knows no terminal.

    ``console`` should write to standard error. Every text is taken literally: markup and control characters do nothing.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._finished = 0
        self._left = ""
        self._headline = ""
        self._sessions: list[Session] = []
        self._runs: list[Run] = []

    def begin(self, total_points: int) -> None:
        """Start, with the number of points planned."""
        self._total = total_points
        self._finished = 0
        if self._console.is_terminal:
            self._progress = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}", markup=False),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("starting", total=total_points, left="")
            self._progress.start()

    def points_added(self, count: int) -> None:
        """So many points more are planned."""
        self._total += count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=self._total)

    def point_started(self, label: str) -> None:
        """A point is being measured."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=clean(label))

    def point_finished(self, label: str, text: str) -> None:
        """A point is done; ``text`` is its number, or why it has none."""
        self._finished += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._finished)
        number = f"[{self._finished}/{self._total}]"
        self._say(f"{number} {label}: {text}" + (f" ({self._left})" if self._left and self._progress is None else ""))

    def recorded(self, record: Run | Session) -> None:
        """Keep it, and say what the numbers so far come to where that has changed."""
        if isinstance(record, Session):
            self._sessions.append(record)
            return
        self._runs.append(record)
        if self._sessions and (found := headline_so_far(self._sessions, self._runs)) != self._headline:
            self._headline = found
            self._say(found)

    def time_left(self, expected_seconds: float) -> None:
        """Show how long it will take from here."""
        self._left = f"{rough_seconds(expected_seconds)} left" if expected_seconds >= 1 else ""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, left=self._left)

    def message(self, text: str) -> None:
        """Anything else worth a line."""
        self._say(text)

    def end(self) -> None:
        """Take the bar away; safe to call twice."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _say(self, text: str) -> None:
        self._console.print(Text(clean(text)), soft_wrap=True)


def headline_so_far(sessions: Sequence[Session], runs: Sequence[Run]) -> str:
    """What the best code costs against the best reference in each phase measured until now; empty without any."""
    from pamprof.analysis.comparison.conclude import analyse
    from pamprof.records.store import RecordFile

    story = analyse(RecordFile(sessions=tuple(sessions), runs=tuple(runs), skips=(), problems=())).story
    parts = []
    for told in story.phases:
        if told.best is not None:
            found = told.best.time_ratio
            interval = f"[{significant(found.low)}, {significant(found.high)}]"
            parts.append(f"{told.phase} {ratio(found.median)} {interval}")
    return f"so far, {story.subject_title} against {story.reference_title}: {', '.join(parts)}" if parts else ""
