"""How the core's kernels are cut and launched: a configuration as plain numbers, and the choice of one for a shape.

The choice is a pure function, so that a run can be repeated: for a shape that was tuned the tuned configuration, else a
rule that fills the GPU. Chunk and segments decide which products are made at all, the rest only how fast.

Axes: B batch, T time, H heads, d head_dim.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE = 0
"""As a number of chunks in a segment: the sequence is one segment."""

H200_MULTIPROCESSORS = 132
"""Of an H200 and an H100 SXM; stands for any device where there is none to ask, as on meta tensors."""

RESIDENT_PROGRAMS = 2
"""Programs of the output kernel that a multiprocessor's registers hold."""

SCAN_GROUP = 8
"""Segments that the scan loads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Sizes of tiles and launches.

    Attributes:
        chunk: Tokens whose pairs are computed at once; a power of two, at least 16.
        value_block: Value channels that one program of a forward kernel keeps; a power of two, at least 16.
        segment_chunks: Chunks that one forward program walks, ``WHOLE`` for all.
        output_warps: Warps of ``output_kernel``.
        output_stages: Its software pipeline's depth.
        state_warps: Warps of ``state_kernel``.
        state_stages: Its software pipeline's depth.
        gradient_segment_chunks: Chunks that one program carries the state's gradient through, ``WHOLE`` for all.
        gradient_walks: 1 if ``gradient_kernel`` carries it itself, 0 if ``state_kernel`` writes it for every chunk.
        gradient_warps: Warps of ``gradient_kernel``.
        gradient_stages: Its software pipeline's depth.
        output_hopper: 1 if ``hopper_output_kernel`` writes the outputs, which has warps and a pipeline of its own.
    """

    chunk: int
    value_block: int
    segment_chunks: int
    output_warps: int
    output_stages: int
    state_warps: int
    state_stages: int
    gradient_segment_chunks: int
    gradient_walks: int
    gradient_warps: int
    gradient_stages: int
    output_hopper: int

    def numbers(self) -> list[int]:
        """The fields in order, as an operator takes them and a record keeps them."""
        return list(astuple(self))

    def described(self) -> str:
        """The fields by name, for a record."""
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(self).items())

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Configuration:
        """The reverse of ``numbers``."""
        names = cls.__dataclass_fields__
        return cls(**dict(zip(names, numbers, strict=True)))

    def forward_segments(self, length: int) -> int:
        """Segments that the forward kernels cut ``length`` tokens into."""
        return _parts(length, self.chunk, self.segment_chunks)

    def gradient_segments(self, length: int) -> int:
        """Segments that the state's gradient is carried through apart."""
        return _parts(length, self.chunk, self.gradient_segment_chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreShape:
    """What a configuration is chosen for; hashable.

    Attributes:
        batch_size: B.
        length: T.
        heads: H.
        head_dim: d.
        dtype: Of queries, keys and values.
        differentiates: Whether a backward call follows.
        states: K.
    """

    batch_size: int
    length: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    differentiates: bool = False
    states: int = 1


def padded(head_dim: int) -> int:
    """The power of two, at least 16, that covers ``head_dim``: the width of the tiles."""
    return max(16, 1 << (head_dim - 1).bit_length())


def gradient_block(dtype: torch.dtype) -> int:
    """Most channels of a head that the backward kernel takes at once: what its registers hold."""
    return 32 if dtype == torch.float32 else 64


def _parts(length: int, chunk: int, segment_chunks: int) -> int:
    chunks = -(-length // chunk)
    return 1 if segment_chunks == WHOLE else -(-chunks // segment_chunks)


def fits_hopper(shape: CoreShape) -> bool:
    """Whether ``hopper_output_kernel`` is for such heads."""
    return shape.dtype == torch.bfloat16 and shape.head_dim == 64 and shape.states == 1


def choose_configuration(
    shape: CoreShape, multiprocessors: int = H200_MULTIPROCESSORS, *, hopper: bool = False
) -> Configuration:
    """A configuration that fits a Hopper or Ampere GPU's registers and shared memory and fills its multiprocessors.

    Args:
        shape: Of the call.
        multiprocessors: Of the device.
        hopper: Whether it has Hopper's matrix units.
    """
    width = padded(shape.head_dim)
    single = shape.dtype == torch.float32
    # A float32 product is made of three, whose operands all stay in registers.
    chunk = 16 if single else 64
    # Heads wider than a tile of 64 spill what four warps cannot hold.
    warps = 8 if width > 64 and not single else 4
    several = shape.states > 1 and not single
    base = Configuration(
        chunk=chunk,
        # Of several states no program holds one beside the scores, so that a whole head fits and scores are made once.
        value_block=min(width, 16 if single and width > 64 else 64 if several else 32),
        segment_chunks=WHOLE,
        output_warps=8 if several else warps,  # four spill the complex weights of a chunk's pairs
        # With two the loads of a chunk are issued only when the one before is done, and nothing hides them.
        output_stages=2 if single or width > 64 or shape.states > 1 else 3,
        state_warps=warps,
        state_stages=2 if single else 3,
        gradient_segment_chunks=WHOLE,
        gradient_walks=0,
        gradient_warps=warps,
        gradient_stages=1 if width <= gradient_block(shape.dtype) else 2,  # a loop has two stages at least
        output_hopper=int(hopper and fits_hopper(shape)),
    )
    programs = shape.batch_size * shape.heads * (width // base.value_block)
    chunks = -(-shape.length // chunk)
    return replace(
        base,
        segment_chunks=filling_segment(programs, chunks, multiprocessors),
        gradient_segment_chunks=filling_gradient_segment(programs * shape.states, chunks, multiprocessors),
    )


def filling_segment(programs: int, chunks: int, multiprocessors: int, *, turns: int = 1) -> int:
    """Chunks in a segment, so that ``programs`` times the segments fill the device ``turns`` times.

    ``WHOLE`` where that is less than two segments: reading keys and values twice costs more than idle multiprocessors.
    """
    segments = turns * RESIDENT_PROGRAMS * multiprocessors // programs
    size = -(-chunks // max(1, segments))
    return WHOLE if size >= chunks else size


def filling_gradient_segment(programs: int, chunks: int, multiprocessors: int) -> int:
    """Likewise for the state's gradient, whose pass is short beside that of the chunks.

    Cut in two it would be slower than whole: 392 instead of 332 µs backward at 9 sequences of 4,096 tokens on an H200.
    """
    size = filling_segment(programs, chunks, multiprocessors)
    return WHOLE if 2 * size >= chunks else size
