"""Requests that are served alike: of equal lengths, one after the other, admitted at one step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.analysis.simulation.requests import Requests


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Sequences of one fate, until the last ones lose their places or a chunk ends between them.

    Attributes:
        first: Request of the first one; the others follow it.
        count: How many; 0 once they have left.
        turn: Of the last one when it was admitted; as many requests were admitted before it or with it.
        tokens: Of each prompt, with what it had generated before it lost its place.
        done: How many of them are read.
        shared: How many of them lie in a kept prefix.
        prefix: Which prefix a prompt begins with; -1 for none.
        generated: Tokens that each has.
        held_bytes: Of each while its prompt is read; under RESERVE until it leaves.
        end: The step that ends them; 0 before they run.
        offset: Their context less the steps taken, which stays as it is while they run.
    """

    first: int
    count: int
    turn: int
    tokens: int
    done: int
    shared: int
    prefix: int
    generated: int
    held_bytes: float
    end: int = 0
    offset: int = 0

    def split(self, count: int) -> Group:
        """The first ``count`` as a group of their own; the others stay."""
        head = replace(self, count=count, turn=self.turn - self.count + count)
        self.first += count
        self.count -= count
        return head

    def drop_last(self) -> int:
        """Take the last one out; its request."""
        self.count -= 1
        self.turn -= 1
        return self.first + self.count

    def tell(self, times: list[float], now: float) -> None:
        """Set the time of each, unless one that lost its place has had it before."""
        if self.count == 1:
            times[self.first] = min(times[self.first], now)
        else:
            times[self.first : self.first + self.count] = [now] * self.count


class PromptQueue:
    """Prompts that are read in the order of their admission; ``count`` of them."""

    def __init__(self) -> None:
        self.count = 0
        self._groups: deque[Group] = deque()

    @property
    def last(self) -> Group | None:
        """The group that was admitted last."""
        return self._groups[-1] if self._groups else None

    def append(self, group: Group) -> None:
        """Read them after all others."""
        self._groups.append(group)
        self.count += group.count

    def drop_last(self) -> int:
        """Take out the one admitted last; its request."""
        self.count -= 1
        group = self._groups[-1]
        if group.count == 1:
            self._groups.pop()
        return group.drop_last()

    def read(self, chunk_tokens: int, read: Callable[[Group, int, int], float]) -> tuple[float, int, list[Group]]:
        """Read a chunk: seconds, tokens, and those that are read to their ends, which are taken out.

        Args:
            chunk_tokens: At most.
            read: Reads the prompts of the first so many of a group up to a token; seconds.
        """
        left, seconds, done = chunk_tokens, 0.0, []
        while left and self._groups:
            group = self._groups[0]
            rest = group.tokens - group.done
            whole = min(group.count, left // rest)
            if whole:
                seconds += read(group, whole, group.tokens)
                left -= whole * rest
                done.append(self._groups.popleft() if whole == group.count else group.split(whole))
                self.count -= whole
                continue
            if group.count > 1:
                group = group.split(1)
                self._groups.appendleft(group)
            seconds += read(group, 1, group.done + left)
            group.done += left
            left = 0
        return seconds, chunk_tokens - left, done


def ends_of_equal_runs(requests: Requests) -> list[int]:
    """For each request the one after the last that follows it with the same lengths and prefix."""
    import numpy as np

    columns = [requests.input_tokens, requests.output_tokens]
    columns += [] if requests.prefixes is None else [requests.prefixes]
    changes = np.zeros(len(requests) - 1, dtype=bool)
    for column in columns:
        changes |= np.diff(column) != 0
    borders = np.append(np.flatnonzero(changes) + 1, len(requests))
    found: list[int] = np.repeat(borders, np.diff(borders, prepend=0)).tolist()
    return found
