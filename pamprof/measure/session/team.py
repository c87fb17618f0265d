"""Who takes a sample: one process, or the ranks that share a step, of whom the slowest counts.

Ranks decide by times how many steps to run, and a step of theirs waits for all; so they must decide alike. Every time
that decides anything goes through ``slowest``.
"""

from __future__ import annotations

from typing import Protocol


class Team(Protocol):
    """The processes that run the same step together."""

    def line_up(self) -> None:
        """Wait until all are here."""
        ...

    def slowest(self, *seconds: float) -> tuple[float, ...]:
        """The largest that any of them has of each, the same for all."""
        ...


class _Alone:
    def line_up(self) -> None:
        """Nobody else is there."""

    def slowest(self, *seconds: float) -> tuple[float, ...]:
        """One's own."""
        return seconds


ALONE: Team = _Alone()
