"""What the recurrence's kernels execute, from shapes alone: their formulas at the configuration they would choose.

Chunk, blocks of value channels and segments depend on the batch, the dtype and the device's multiprocessors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.records import Dtype
from pamprof.workloads.kernels.core.configuration import CoreShape
from pamprof.workloads.kernels.core.selection import configuration_for
from pamprof.workloads.kernels.core.work import backward_work, forward_work

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


def fused_multiply_adds(
    spec: LayerSpec, *, batch_size: int, sequence_length: int, dtype: Dtype | None, differentiates: bool
) -> tuple[int, int]:
    """Real multiply-adds of one head over one sequence, forward and what backward adds.

    Args:
        spec: The layer's sizes.
        batch_size: Sequences of the step; more of them are cut into fewer segments.
        sequence_length: Tokens of each.
        dtype: Precision policy; None for bfloat16.
        differentiates: Whether a backward follows, for which sequences may be cut otherwise.
    """
    shape = CoreShape(
        batch_size=batch_size,
        length=sequence_length,
        heads=spec.heads,
        head_dim=spec.head_dim,
        dtype=torch.float32 if dtype is Dtype.FLOAT32 else torch.bfloat16,
        differentiates=differentiates,
        states=spec.state_count,
    )
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    configuration = configuration_for(shape, device)
    forward = forward_work(shape, configuration).matrix_flop_count
    backward = backward_work(shape, configuration, has_initial=False, wants_initial=False, has_final=False)
    flop_per_multiply_add = 2 * batch_size * spec.heads
    return forward // flop_per_multiply_add, backward.matrix_flop_count // flop_per_multiply_add
