"""Progress of a session on standard error: a bar on a terminal, one plain line a point elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pamprof.render.text import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


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

    def begin(self, total_points: int) -> None:
        """Start, with the number of points planned."""
        self._total = total_points
        self._finished = 0
        if self._console.is_terminal:
            self._progress = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("starting", total=total_points)
            self._progress.start()

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
        self._say(f"{number} {label}: {text}")

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
