"""What the steps of a served model take, timed as they will be run: decode and prompts in turn, waiting for each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, median
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.records import SampledSteps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.hardware.device import Device
    from pamprof.measure.serving.served_model import ServedModel

_LEAST_ROUNDS = 3
_MOST_ROUNDS = 25
_LARGEST_RATIO = 2.0
_READER = -1  # a request of no trace
_SHORTEST_PIECE = 8
_MOST_WARM_PIECES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAxes:
    """What is sampled.

    Attributes:
        batches: Of decode steps, rising; all that a server captured, or some of those that it may run.
        contexts: Tokens held, rising; one for a fixed state.
        pieces: Of prompts, tokens, rising.
        starts: Where a further piece of each length begins; 0 where it would be longer than any request.
    """

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    pieces: tuple[int, ...]
    starts: tuple[int, ...]


def sample_axes(
    model: ServedModel, *, longest_prompt: int, longest_tokens: int, chunk_tokens: int, shortest_prompt: int
) -> SampleAxes:
    """What a server of such requests needs: pieces of powers of two and the longest, contexts from end to end."""
    largest = model.batches[-1]
    padded = len(model.batches) < largest or largest <= 4
    batches = model.batches if padded else tuple(sorted({*(1 << n for n in range(largest.bit_length())), largest}))
    longest_piece = min(longest_prompt, chunk_tokens)
    pieces = {longest_piece, min(longest_piece, max(1, shortest_prompt))}
    piece = _SHORTEST_PIECE
    while piece < longest_piece:
        pieces |= {piece, min(longest_piece, piece * 3 // 2)}
        piece *= 2
    contexts = (longest_tokens // 2,) if model.definition.fixed_state else (1, longest_tokens // 2, longest_tokens)
    return SampleAxes(
        batches=batches,
        contexts=tuple(sorted(set(contexts))),
        pieces=tuple(sorted(pieces)),
        starts=tuple(max(0, min(piece, longest_tokens - piece)) for piece in sorted(pieces)),
    )


def warm_pieces(model: ServedModel, lengths: Iterable[int], budget_seconds: float) -> None:
    """Decode once and read pieces of these lengths once: nothing is compiled or looked up while requests wait."""
    begun = perf_counter()
    model.hold(model.batches[-1], 1)
    model.decode()
    for length in list(dict.fromkeys(lengths))[:_MOST_WARM_PIECES]:
        model.hold(1, 1)
        model.read(_READER, 0, length, last=True)
        if perf_counter() - begun > budget_seconds:
            return


def sample_steps(model: ServedModel, device: Device, axes: SampleAxes, *, budget_seconds: float) -> SampledSteps:
    """Times of every step, each sampled once a round, as many rounds as the budget lasts for, 3 to 25.

    A decode step is timed after a prompt and after another decode step. A prompt is timed with the seat that it gets
    and the one that is given up for it, for each request takes both. What is told is the mean: it, not the median, says
    how busy a server is. Times of more than twice the median are left out of it, for one of them would rule it.
    """
    decodes: dict[tuple[int, int], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    reads: dict[int, list[float]] = defaultdict(list)
    further: dict[int, list[float]] = defaultdict(list)
    for batch in axes.batches:  # kernels are compiled at their first use
        model.hold(batch, axes.contexts[0])
        model.decode()
    for piece, start in zip(axes.pieces, axes.starts, strict=True):
        _read(model, device, 1, piece, 0)
        _read(model, device, 1, piece, start)
    begun = perf_counter()
    rounds = 0
    while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and perf_counter() - begun < budget_seconds):
        turn = rounds
        for context in axes.contexts:
            for batch in axes.batches:
                piece = axes.pieces[turn % len(axes.pieces)]
                turn += 1
                reads[piece].append(_read(model, device, batch, piece, 0))
                model.hold(batch, context)
                after_prompt, after_decode = decodes[context, batch]
                after_prompt.append(_timed(model, device))
                after_decode.append(_timed(model, device))
        for piece, start in zip(axes.pieces, axes.starts, strict=True):
            reads[piece].append(_read(model, device, axes.batches[-1], piece, 0))
            further[piece].append(_read(model, device, axes.batches[-1], piece, start))
        rounds += 1
    return SampledSteps(
        batches=axes.batches,
        contexts=axes.contexts,
        decode_seconds=tuple(
            tuple(
                fmean(_ordinary(times) for times in decodes[context, batch])  # of both orders
                for batch in axes.batches
            )
            for context in axes.contexts
        ),
        padded=axes.batches == model.batches,
        pieces=axes.pieces,
        read_seconds=tuple(_ordinary(reads[piece]) for piece in axes.pieces),
        continued_seconds=tuple(_ordinary(further[piece]) for piece in axes.pieces),
        host_seconds=0.0,
        sample_count=sum(len(times) for pair in decodes.values() for times in pair)
        + sum(map(len, (*reads.values(), *further.values()))),
    )


def _ordinary(times: Sequence[float]) -> float:
    most = _LARGEST_RATIO * median(times)
    return fmean(time for time in times if time <= most)


def _timed(model: ServedModel, device: Device) -> float:
    begun = perf_counter()
    model.decode()
    device.synchronise()
    return perf_counter() - begun


def _read(model: ServedModel, device: Device, batch: int, piece: int, start: int) -> float:
    """Seconds of a piece that ends a prompt, its sequence taking a seat and another leaving; rests among ``batch``."""
    model.hold(batch, 1)
    if start:
        model.read(_READER, 0, start, last=False)
    device.synchronise()
    begun = perf_counter()
    model.read(_READER, start, start + piece, last=True)
    model.join(_READER)
    model.leave(0)
    device.synchronise()
    return perf_counter() - begun
