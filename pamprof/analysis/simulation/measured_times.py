"""Step times of a simulated server, read off the serving curve that ``pamprof cost`` reads its own from.

A curve is asked at nodes (each measured batch, and 32 to each doubling; eight contexts to each doubling) and once for
each; between them times run straight, within 0.1 % of what the curve itself says. Sequences of one step hold different
contexts: it takes what one does in which each holds their mean, which is exact where caches are read at one rate.

Each further chunk of a prompt takes what the curve's prompts differ by, and once more the time that a prompt takes
whatever its length: what the line through the two shortest measured prompts has at none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, exp, inf, log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis, least_sure
from pamprof.analysis.simulation.server import SequenceMemory
from pamprof.errors import UnsupportedError
from pamprof.units import si

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.terms import Answer

_BATCHES_PER_DOUBLING = 32
_CONTEXTS_PER_DOUBLING = 8
_PROMPTS_PER_DOUBLING = 32
# How far a step's time is carried where the next node lies outside of what is known.
_CARRIED_TOKENS = 4.0


class End(StrEnum):
    """Which end of the measured intervals a simulation runs on; all times are at the same one."""

    FAST = "fast"
    MEDIAN = "median"
    SLOW = "slow"


@dataclass(slots=True, kw_only=True)
class CurveTable:
    """A curve's answers at nodes, each asked once and shared by the simulations at both ends and the median.

    Attributes:
        curve: What is asked.
        longest_context: Tokens that the longest request holds.
        bases: Where the answers came from so far.
        batches, contexts, prompts: Nodes; no prompts where none was measured.
        shortest_prompts: The two shortest that were measured; twice the same where there is one.
    """

    curve: ServingCurve
    longest_context: int
    bases: set[Basis] = field(default_factory=set)
    batches: tuple[int, ...] = ()
    contexts: tuple[int, ...] = ()
    prompts: tuple[int, ...] = ()
    shortest_prompts: tuple[int, int] = (1, 1)
    _decoded: dict[tuple[int, int], tuple[float, float, float]] = field(default_factory=dict)
    _read: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        curve = self.curve
        measured = {batch for line in curve.decode_lines for batch, _ in line.points}
        self.batches = _nodes(1, max(measured), measured, _BATCHES_PER_DOUBLING)
        first, last = curve.context_range
        if self.constant:
            self.contexts = (first,)
        else:
            places = {line.context for line in curve.decode_lines}
            self.contexts = _nodes(first, max(last, self.longest_context), places, _CONTEXTS_PER_DOUBLING)
        if curve.prompts is not None:
            lengths = [length for length, _ in curve.prompts.points]
            self.prompts = _nodes(lengths[0], max(lengths[-1], self.longest_context), lengths, _PROMPTS_PER_DOUBLING)
            self.shortest_prompts = (lengths[0], lengths[min(1, len(lengths) - 1)])

    @property
    def constant(self) -> bool:
        """Whether steps take the same time at every context."""
        return self.curve.fixed_state and len(self.curve.decode_lines) == 1

    @property
    def basis(self) -> Basis:
        """That of the least sure answer so far."""
        return least_sure(*self.bases) if self.bases else Basis.MEASURED

    def decode(self, batch_size: int, context: int) -> tuple[float, float, float]:
        """Low, median and high of a step. Raises ``UnsupportedError`` like the curve."""
        found = self._decoded.get((batch_size, context))
        if found is None:
            found = self._decoded[batch_size, context] = self._told(self.curve.decode_seconds(batch_size, context))
        return found

    def prompt(self, length: int) -> tuple[float, float, float]:
        """Low, median and high of a prompt. Raises ``UnsupportedError`` like the curve."""
        found = self._read.get(length)
        if found is None:
            found = self._read[length] = self._told(self.curve.prefill_seconds(length))
        return found

    def _told(self, answer: Answer) -> tuple[float, float, float]:
        self.bases.add(answer.basis)
        interval = answer.interval
        return (answer.value,) * 3 if interval is None else (interval.low, answer.value, interval.high)


class MeasuredTimes:
    """The ``StepTimes`` of a curve at one end of its intervals."""

    def __init__(self, table: CurveTable, end: End) -> None:
        self._table = table
        self._end = list(End).index(end)
        self._cells: dict[tuple[int, int], tuple[float, float]] = {}
        self._prompts: dict[int, float] = {}
        self._fixed, self._shortest = 0.0, (1, 0.0)
        if table.prompts:
            first, second = table.shortest_prompts
            at_first, at_second = (table.prompt(length)[self._end] for length in (first, second))
            growth = (at_second - at_first) / (second - first) if second > first else 0.0
            self._fixed = min(at_first, max(0.0, at_first - growth * first))
            self._shortest = first, at_first

    def decode(self, batch_size: int, context: float) -> tuple[float, float, float]:
        """As ``StepTimes.decode``."""
        nodes = self._table.contexts
        cell = bisect_right(nodes, context) - 1
        if cell < 0 or cell == len(nodes) - 1:
            # Before the first context a step takes at most what it does there; the last one of a cache is never passed.
            first, last = self._table.curve.context_range
            if not first <= context <= last:
                self._table.bases.add(Basis.MODELLED)
            seconds, _ = self._at(batch_size, max(cell, 0), slope=False)
            return seconds, 0.0, inf if cell >= 0 else nodes[0] - context
        try:
            seconds, growth = self._at(batch_size, cell, slope=True)
        except UnsupportedError:
            return self._exact(batch_size, max(1, ceil(context))), 0.0, _CARRIED_TOKENS
        return seconds + growth * (context - nodes[cell]), growth, nodes[cell + 1] - context

    def _at(self, batch_size: int, cell: int, *, slope: bool) -> tuple[float, float]:
        """Seconds at a context node, and what each token more adds up to the next."""
        found = self._cells.get((batch_size, cell))
        if found is None:
            nodes = self._table.contexts
            seconds = self._between_batches(batch_size, nodes[cell])
            growth = 0.0
            if slope:
                later = self._between_batches(batch_size, nodes[cell + 1])
                growth = max(0.0, (later - seconds) / (nodes[cell + 1] - nodes[cell]))
            found = self._cells[batch_size, cell] = (seconds, growth)
        return found

    def _between_batches(self, batch_size: int, context: int) -> float:
        nodes = self._table.batches
        above = bisect_left(nodes, batch_size)
        if above == len(nodes) or nodes[above] == batch_size:
            return self._exact(batch_size, context)
        low, high = nodes[above - 1], nodes[above]
        try:
            before, after = self._exact(low, context), self._exact(high, context)
        except UnsupportedError:
            return self._exact(batch_size, context)
        return before + (after - before) * (batch_size - low) / (high - low)

    def _exact(self, batch_size: int, context: int) -> float:
        return self._table.decode(batch_size, context)[self._end]

    def prompt(self, start: int, end: int) -> float:
        """As ``StepTimes.prompt``."""
        if start == 0:
            return self._prompt(end)
        return max(0.0, self._prompt(end) - self._prompt(start)) + self._fixed

    def _prompt(self, length: int) -> float:
        found = self._prompts.get(length)
        if found is None:
            nodes = self._table.prompts
            if not nodes:
                arm = self._table.curve.title
                raise UnsupportedError(f"no prompt was measured of {arm}; measure prefill with pamprof serve-sweep")
            above = bisect_left(nodes, length)
            if length <= self._shortest[0]:
                shortest, seconds = self._shortest
                found = self._fixed + (seconds - self._fixed) * length / shortest
            elif nodes[above] == length:
                found = self._table.prompt(length)[self._end]
            else:
                low, high = nodes[above - 1], nodes[above]
                before, after = (self._table.prompt(node)[self._end] for node in (low, high))
                found = before + (after - before) * (length - low) / (high - low)
            self._prompts[length] = found
        return found


def sequence_memory(curve: ServingCurve, set_aside_bytes: float = 0.0) -> SequenceMemory:
    """What the curve's device has for sequences, and what each takes.

    Raises:
        UnsupportedError: The weights, or what is set aside for prefixes, leave no room.
    """
    memory = curve.memory
    room = memory.capacity_bytes - memory.constant_bytes - set_aside_bytes
    if room <= 0:
        taken = f" and {si(set_aside_bytes)}B of kept prefixes" if set_aside_bytes else ""
        raise UnsupportedError(f"the weights{taken} of {curve.title} leave no memory for a sequence")
    return SequenceMemory(
        room_bytes=room,
        bytes_per_sequence=memory.state.fixed_bytes + memory.step_bytes_per_sequence,
        bytes_per_token=memory.state.bytes_per_token,
    )


def _nodes(first: int, last: int, places: Iterable[int], per_doubling: int) -> tuple[int, ...]:
    """``places`` and whole numbers from ``first`` to ``last`` in equal ratios, each once, sorted."""
    steps = ceil(per_doubling * log(max(2, last / first)) / log(2))
    between = {round(first * exp(log(last / first) * step / steps)) for step in range(steps + 1)}
    return tuple(sorted({first, last, *between, *places}))
