"""Which configurations of the core are worth trying, group of fields by group of fields.

Fields of one kernel are independent of the others' except through the chunk, which all share; so a search needs not
the product of all choices but their sum, once for every chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from pamprof.workloads.kernels.core.configuration import (
    WHOLE,
    Configuration,
    CoreShape,
    choose_configuration,
    filling_gradient_segment,
    filling_segment,
    gradient_block,
    padded,
)

Group = Callable[[Configuration], Iterator[Configuration]]

# Warps and pipeline stages. Four warps own the 64 rows that a matrix unit takes at once; eight share them, or own 128.
# Loops have two stages at least: with one, Triton 3.6 lets kernels reach outside shared memory (seen on an H200).
_OUTPUT_LAUNCHES = ((4, 2), (4, 3), (8, 2))
_TALL_OUTPUT_LAUNCHES = ((8, 2), (8, 3))
_STATE_LAUNCHES = ((4, 2), (4, 3), (4, 4), (8, 3))
_GRADIENT_LAUNCHES = ((4, 1), (8, 1))
_LOOPING_GRADIENT_LAUNCHES = ((4, 2), (4, 3), (8, 2))
_TALL_CHUNK = 128


def starting_points(shape: CoreShape, multiprocessors: int, *, hopper: bool = False) -> tuple[Configuration, ...]:
    """The rule's choice, and others with every chunk and block of value channels that may be faster.

    Both decide how many programs there are and what one holds, and so which segments and launches are good.
    """
    chosen = choose_configuration(shape, multiprocessors, hopper=hopper)
    chunks = (16, 32) if shape.dtype == torch.float32 else (64, 32, 128)
    width = padded(shape.head_dim)
    blocks = [block for block in (16, 32, 64, 128) if width // 4 <= block <= width]
    others = (_filling(chosen, shape, chunk, block, multiprocessors) for chunk in chunks for block in blocks)
    return chosen, *(other for other in others if other != chosen)


def candidate_groups(shape: CoreShape, multiprocessors: int) -> tuple[Group, ...]:
    """For each group of fields, a function from the best configuration so far to others worth a trial."""
    width = padded(shape.head_dim)

    def output(best: Configuration) -> Iterator[Configuration]:
        for warps, stages in _TALL_OUTPUT_LAUNCHES if best.chunk >= _TALL_CHUNK else _OUTPUT_LAUNCHES:
            yield replace(best, output_warps=warps, output_stages=stages, output_hopper=0)

    def segments(best: Configuration) -> Iterator[Configuration]:
        for size in _sizes(shape, best, multiprocessors):
            yield replace(best, segment_chunks=size)

    def states(best: Configuration) -> Iterator[Configuration]:
        if shape.differentiates or best.segment_chunks != WHOLE:
            for warps, stages in _STATE_LAUNCHES:
                yield replace(best, state_warps=warps, state_stages=stages)

    def gradients(best: Configuration) -> Iterator[Configuration]:
        narrow = width <= gradient_block(shape.dtype)
        for walks in (0, 1) if narrow and shape.states == 1 else (0,):
            # A pipeline needs a loop: over chunks where the kernel walks, over blocks of channels in a wide head.
            for warps, stages in _LOOPING_GRADIENT_LAUNCHES if walks or not narrow else _GRADIENT_LAUNCHES:
                yield replace(best, gradient_walks=walks, gradient_warps=warps, gradient_stages=stages)

    def gradient_segments(best: Configuration) -> Iterator[Configuration]:
        for size in _sizes(shape, best, multiprocessors):
            yield replace(best, gradient_segment_chunks=size)

    forward = (output, segments, states)
    return (*forward, gradients, gradient_segments) if shape.differentiates else forward


def _filling(
    configuration: Configuration, shape: CoreShape, chunk: int, value_block: int, multiprocessors: int
) -> Configuration:
    """Another chunk and block, with as many segments as fill the multiprocessors."""
    programs = shape.batch_size * shape.heads * (padded(shape.head_dim) // value_block)
    chunks = -(-shape.length // chunk)
    return replace(
        configuration,
        chunk=chunk,
        value_block=value_block,
        output_hopper=0,
        segment_chunks=filling_segment(programs, chunks, multiprocessors),
        gradient_segment_chunks=filling_gradient_segment(programs, chunks, multiprocessors),
    )


def _sizes(shape: CoreShape, configuration: Configuration, multiprocessors: int) -> Iterator[int]:
    """Chunks in a segment: the whole sequence, or so many that the programs fill the device one to four times."""
    programs = shape.batch_size * shape.heads * (padded(shape.head_dim) // configuration.value_block)
    chunks = -(-shape.length // configuration.chunk)
    sizes = {filling_segment(programs, chunks, multiprocessors, turns=turns) for turns in range(1, 5)}
    yield from sorted({WHOLE, *sizes})
