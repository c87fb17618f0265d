"""What vector-state memory computes beside PAM's linear maps and head, by formula.

Letters: T time, H heads, d head_dim, C chunk, N chunks. Counts are real multiply-adds unless they say FLOP; one of them
is 2 FLOP. What works entry by entry on spectra (binding and reading) is elementwise work, and so is ``torch.fft``:
5 d log2(d) FLOP for d complex points, as the counter's convention has it. Closed forms leave elementwise work out; only
a decoded token of the architecture, which is nothing else, has its own (``decode_state_flop_count``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE
from pamprof.workloads.layers.recurrent.formulas import Work

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

_TRANSFORMS = 4  # of query, key and value, and back of what was read
_TRANSFORM_PRODUCTS = 4  # two planes times cosines and sines


def loop_work(spec: LayerSpec, length: int, chunk_size: int) -> Work:
    """The recurrence of one head as defined, with fast transforms, in chunks of ``chunk_size``.

    In a chunk of c tokens the decays times the bound vectors, 2 c² d; between chunks entry by entry. Backward
    multiplies twice.
    """
    complete, rest = divmod(length, chunk_size)
    forward = 2 * spec.head_dim * (complete * chunk_size**2 + rest**2)
    return Work(forward=forward, backward=2 * forward)


def decode_state_flop_count(spec: LayerSpec) -> int:
    """FLOP of one block's recurrence for one token, for each of its H d complex entries 16.

    Decay 2; binding a complex product, 6, and adding it 2; reading a complex product, 6, which nothing is added to.
    """
    return 16 * spec.heads * spec.head_dim


def transform_multiply_adds(spec: LayerSpec) -> int:
    """Of one head and token, transforms by product: 4 d² each, four of them."""
    return _TRANSFORMS * _TRANSFORM_PRODUCTS * spec.head_dim**2


def executed_work(spec: LayerSpec, length: int, *, transforms: int) -> Work:
    """What the blocks execute of one head in matrix products, ``transforms`` of them a token.

    Chunks of min(64, T), the last one filled up: running sums of the logarithms N C², decays times bound vectors
    2 N C² d; with more than one chunk the sums N² and the product over chunks 2 N² d. Backward multiplies twice for
    each product with decays and once for the sums, and once for the transforms, because their matrix has no gradient.
    """
    chunk = min(CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    sums = chunks * chunk**2 + (chunks**2 if chunks > 1 else 0)
    products = 2 * spec.head_dim * sums
    return Work(
        forward=sums + products + length * transforms,
        backward=sums + 2 * products + length * transforms,
    )
