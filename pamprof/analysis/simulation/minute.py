"""The busiest minute of a simulation, in equal slots of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.simulation.outcome import Outcome

MINUTE_SECONDS = 60.0
SLOTS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What a server did, slot by slot.

    Attributes:
        start_seconds, seconds: Which part of the simulation; all of it where it is shorter than a minute.
        reading, decoding: Share of each slot in which prompts were read and tokens decoded.
        running, waiting: Sequences that decoded and requests without a first token, means over each slot.
        most_running, most_waiting: The most of them at one moment.
    """

    start_seconds: float
    seconds: float
    reading: tuple[float, ...]
    decoding: tuple[float, ...]
    running: tuple[float, ...]
    waiting: tuple[float, ...]
    most_running: int
    most_waiting: int


def busiest_minute(outcome: Outcome) -> Minute:
    """The minute in which most sequences and requests were there, from an outcome with a timeline.

    In a stretch of steps that read prompts, reading comes first and decoding after it.
    """
    import numpy as np

    moments = outcome.timeline
    starts = np.array([moment.start_seconds for moment in moments])
    lengths = np.array([moment.seconds for moment in moments])
    prompts = np.array([moment.prompt_seconds for moment in moments])
    begin, end = float(starts[0]), float(starts[-1] + lengths[-1])
    span = min(MINUTE_SECONDS, end - begin)

    def integral(rates: np.ndarray, begins: np.ndarray, spans: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Of what flows at ``rates`` during ``spans``, the amount up to each place."""
        ends = np.concatenate(([0.0], np.cumsum(rates * spans)))
        at = np.searchsorted(begins, places, side="right")
        before = np.maximum(at - 1, 0)
        part = np.clip(places - begins[before], 0.0, spans[before])
        return np.where(at > 0, ends[before] + rates[before] * part, 0.0)

    running = np.array([float(moment.running) for moment in moments])
    waiting = np.array([float(moment.waiting + moment.reading) for moment in moments])
    candidates = np.linspace(begin, end - span, 200)
    crowd = integral(running + waiting, starts, lengths, candidates + span)
    crowd -= integral(running + waiting, starts, lengths, candidates)
    start = float(candidates[int(crowd.argmax())])
    edges = np.linspace(start, start + span, SLOTS + 1)
    slot = span / SLOTS
    ones = np.ones(len(moments))

    def slots(rates: np.ndarray, begins: np.ndarray, spans: np.ndarray) -> tuple[float, ...]:
        return tuple(float(value) for value in np.diff(integral(rates, begins, spans, edges)) / slot)

    within = (starts < start + span) & (starts + lengths > start)
    return Minute(
        start_seconds=start,
        seconds=span,
        reading=slots(ones, starts, prompts),
        decoding=slots(ones, starts + prompts, lengths - prompts),
        running=slots(running, starts, lengths),
        waiting=slots(waiting, starts, lengths),
        most_running=int(running[within].max()),
        most_waiting=int(waiting[within].max()),
    )
