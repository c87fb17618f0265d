"""How a command ended before its time: its status, and the sentence that it said."""

from __future__ import annotations

import typer


class Ended(typer.Exit):
    """Leaves the program with ``exit_code``.

    Attributes:
        sentence: What was said on standard error; empty where nothing was.
        is_stopped: Whether the user ended it, so that nothing else is to begin.
    """

    def __init__(self, exit_code: int, sentence: str = "", *, is_stopped: bool = False) -> None:
        super().__init__(exit_code)
        self.sentence = sentence
        self.is_stopped = is_stopped
