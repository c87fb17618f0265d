"""FLOPs and state bytes of vector-state memory by formula; parameters, linear maps and head are those of PAM.

Letters: T time, H heads, d head_dim, C chunk, N chunks. Counts are real multiply-adds unless they say FLOP; one of them
is 2 FLOP. What works entry by entry on spectra (binding and reading) is elementwise work, and so is ``torch.fft``:
5 d log2(d) FLOP for d complex points, as the counter's convention has it. Both are left out of closed forms, as
elementwise work always is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.layers.common.vocabulary import padded_vocabulary_size
from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE
from pamprof.workloads.layers.recurrent.formulas import (
    PUBLISHED_CHUNK_SIZE,
    Work,
    head_multiply_adds,
    linear_multiply_adds,
    state_byte_count as matrix_state_byte_count,
    step_flop_count,
)

if TYPE_CHECKING:
    from pamprof.records import LayerSpec, Phase, Scope
    from pamprof.workloads.base import ClosedForm

_TRANSFORMS = 4  # of query, key and value, and back of what was read
_TRANSFORM_PRODUCTS = 4  # two planes times cosines and sines


def architecture_flop_count(
    spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
) -> ClosedForm:
    """FLOP of one step as the architecture defines it, with fast transforms, chunks of ``spec.chunk_size``, no padding.

    Linear maps and head as PAM's. In a chunk of c tokens the decays times the bound vectors, 2 c² d; between chunks
    entry by entry. Backward multiplies twice. Decode: decay 2 FLOP, write and read 8 each, for each of H d numbers.
    """
    chunk = spec.chunk_size or PUBLISHED_CHUNK_SIZE
    complete, rest = divmod(sequence_length, chunk)
    forward = 2 * spec.head_dim * (complete * chunk**2 + rest**2)
    return step_flop_count(
        spec,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        linear=linear_multiply_adds(spec),
        head=head_multiply_adds(spec, spec.vocabulary_size),
        work=Work(forward=forward, backward=2 * forward),
        decode_state_flop=18 * spec.heads * spec.head_dim,
    )


def executed_flop_count(
    spec: LayerSpec, *, transforms_by_product: bool, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
) -> ClosedForm:
    """FLOP in matrix products that an implementation executes in one step, to the unit.

    Per sequence and head, chunks of min(64, T), the last one filled up: running sums of the logarithms N C², decays
    times bound vectors 2 N C² d; with more than one chunk the sums N² and the product over chunks 2 N² d. Backward
    multiplies twice for each product with decays and once for the sums. Transforms by product: 4 d² each, four a
    token; backward once more, because the matrix has no gradient. Decode has these alone.
    """
    chunk = min(CHUNK_SIZE, sequence_length)
    chunks = -(-sequence_length // chunk)
    sums = chunks * chunk**2 + (chunks**2 if chunks > 1 else 0)
    transforms = _TRANSFORMS * _TRANSFORM_PRODUCTS * spec.head_dim**2 if transforms_by_product else 0
    products = 2 * spec.head_dim * sums
    return step_flop_count(
        spec,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        linear=linear_multiply_adds(spec),
        head=head_multiply_adds(spec, padded_vocabulary_size(spec.vocabulary_size)),
        work=Work(
            forward=sums + products + sequence_length * transforms,
            backward=sums + 2 * products + sequence_length * transforms,
        ),
        decode_state_flop=2 * spec.heads * transforms,
    )


def state_byte_count(spec: LayerSpec, *, scope: Scope, batch_size: int) -> int:
    """Bytes of the states: d complex numbers a head, where a matrix state has d²."""
    return matrix_state_byte_count(spec, scope=scope, batch_size=batch_size) // spec.head_dim
