"""What each implementation of PAM executes, by formula.

Letters: T time, d head_dim, C chunk, N chunks. Counts are real multiply-adds unless they say FLOP; a complex
multiply-add is 4 real ones, and one real multiply-add is 2 FLOP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.layers.pam.fused.formulas import fused_multiply_adds
from pamprof.workloads.layers.pam.recurrence import DEFAULT_CHUNK_SIZE
from pamprof.workloads.layers.recurrent.formulas import PUBLISHED_CHUNK_SIZE, Work, executed_flop_count, loop_work

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.base import ClosedForm


def complex_work(spec: LayerSpec, length: int) -> Work:
    """What ``log_chunked_pam`` executes in complex products: as the core, but always with states.

    Per chunk scores and output 2 C² d, state C d², read C d²; once a sequence (N + 1) N d² for the states across
    chunks, the one after the last included; all times 4. Of K states each has its own d² products. Backward multiplies
    twice for each product.
    """
    chunk = min(DEFAULT_CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    head_dim = spec.head_dim
    states = spec.state_count * head_dim**2
    inside = chunks * (2 * chunk**2 * head_dim + 2 * chunk * states)
    forward = 4 * (inside + (chunks + 1) * chunks * states)
    return Work(forward=forward, backward=2 * forward)


def implementation_flop_count(
    spec: LayerSpec,
    *,
    implementation: str,
    phase: Phase,
    scope: Scope,
    batch_size: int,
    sequence_length: int,
    dtype: Dtype | None,
) -> ClosedForm:
    """FLOP in matrix products that ``implementation`` executes in one step, to the unit.

    ``gauss`` makes three products instead of four; ``published``, ``complex`` and ``fused`` have chunks of their own;
    ``published`` reads the state in decode by elementwise work. ``dtype`` matters to ``fused`` alone.
    """
    work = None
    if phase is not Phase.DECODE:
        if implementation == "published":
            work = loop_work(spec, sequence_length, min(spec.chunk_size or PUBLISHED_CHUNK_SIZE, sequence_length))
        elif implementation == "complex":
            work = complex_work(spec, sequence_length)
        elif implementation == "fused":
            forward, backward = fused_multiply_adds(
                spec,
                batch_size=batch_size,
                sequence_length=sequence_length,
                dtype=dtype,
                differentiates=phase is Phase.TRAIN,
            )
            work = Work(forward=forward, backward=backward)
    return executed_flop_count(
        spec,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        work=work,
        products=3 if implementation == "gauss" else None,
        decode_products=0 if implementation == "published" else None,
    )
