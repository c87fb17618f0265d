"""Step times of a server that timed its own steps: what it runs is exactly what was sampled, padding included."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import SampledSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTimes:
    """The ``StepTimes`` of what was sampled; straight between samples, and beyond them as the last one says."""

    steps: SampledSteps

    def decode(self, batch_size: int, context: float) -> tuple[float, float, float]:
        """As ``StepTimes.decode``."""
        contexts, rows = self.steps.contexts, self.steps.decode_seconds
        cell = bisect_right(contexts, context) - 1
        if cell < 0 or cell == len(contexts) - 1:
            seconds = self._of_batch(batch_size, rows[max(cell, 0)])
            return seconds, 0.0, inf if cell >= 0 else contexts[0] - context
        before, after = (self._of_batch(batch_size, rows[at]) for at in (cell, cell + 1))
        growth = max(0.0, (after - before) / (contexts[cell + 1] - contexts[cell]))
        return before + growth * (context - contexts[cell]), growth, contexts[cell + 1] - context

    def _of_batch(self, batch_size: int, row: Sequence[float]) -> float:
        batches = self.steps.batches
        if self.steps.padded:
            return row[min(bisect_left(batches, batch_size), len(row) - 1)] + self.steps.host_seconds
        return _between(batches, row, batch_size) + self.steps.host_seconds

    def prompt(self, start: int, end: int) -> float:
        """As ``StepTimes.prompt``."""
        times = self.steps.continued_seconds if start else self.steps.read_seconds
        return _between(self.steps.pieces, times, end - start) + self.steps.host_seconds


def _between(places: Sequence[int], values: Sequence[float], place: float) -> float:
    """The value at ``place``, straight between two, that of the first or last outside of them."""
    above = bisect_left(places, place)
    if above == len(places) or above == 0:
        return values[min(above, len(places) - 1)]
    low, high = places[above - 1], places[above]
    return values[above - 1] + (values[above] - values[above - 1]) * (place - low) / (high - low)
