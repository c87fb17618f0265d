"""Which kernels a fused decode step takes at a batch size, and batch sizes at which an oracle sees all of them.

A step takes its sequences one by one while their complex channels are few, then multiplies matrices in kernels of its
own, then in the library's. On an H200 the first two meet between 3 and 4 sequences of 384 channels and between 1 and 2
of 1152, the others between 192 and 256 of 384 and between 64 and 96 of 1152.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.workloads.kernels.block.norm_gates import heads_per_program
from pamprof.workloads.kernels.decode.products import map_tiles
from pamprof.workloads.kernels.decode.recurrence import memory_tiles
from pamprof.workloads.kernels.decode.tiles import tile_sizes

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

MANY_SEQUENCES = 16  # from here on, no sequence by itself however narrow
_FEW_CHANNELS = 1152
_SOME_CHANNELS = 73728


def few_sequences(batch_size: int, width: int) -> bool:
    """Whether a step of ``width`` complex channels takes its sequences one by one."""
    return batch_size == 1 or (batch_size * width <= _FEW_CHANNELS and batch_size < MANY_SEQUENCES)


def some_sequences(batch_size: int, width: int, dtype: torch.dtype) -> bool:
    """Whether more of them are multiplied by hand-written kernels; float32, without matrix units, is the library's."""
    return batch_size * width <= _SOME_CHANNELS and dtype != torch.float32


def step_batch_sizes(spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> tuple[int, ...]:
    """Batch sizes that between them launch every kernel of a step in every form it takes: the largest of each form.

    Args:
        spec: Sizes of the layer.
        dtype: Of the weights.
        device: Where it runs, which decides how much shared memory a form may use.
    """
    largest = {_form(size, spec, dtype, device): size for size in range(1, _SOME_CHANNELS // spec.model_dim + 2)}
    return tuple(sorted(largest.values()))


def _form(batch_size: int, spec: LayerSpec, dtype: torch.dtype, device: torch.device) -> tuple[object, ...]:
    """How the kernels of a step are cut, which is equal where the same ones are launched."""
    width, hidden, inner = spec.model_dim, spec.hidden_dim, spec.heads * spec.head_dim
    maps = (width, hidden), (hidden, width), (width, 3 * inner), (inner, width)  # inputs and outputs
    few = few_sequences(batch_size, width)
    some = some_sequences(batch_size, width, dtype)
    memory = memory_tiles(batch_size, spec.heads, spec.head_dim, ahead=few or some)
    if few:
        return memory, *(tile_sizes(batch_size, outputs, inputs) for inputs, outputs in maps)
    group = heads_per_program(batch_size, spec.heads)
    if not some:
        return memory, group, "library"
    gate, down, joint, out = (
        map_tiles(batch_size, outputs, inputs, dtype=dtype, device=device, parts=parts, gates=gates)
        for (inputs, outputs), parts, gates in zip(
            maps, (False, True, False, True), (True, False, False, False), strict=True
        )
    )
    return memory, group, gate, down, joint, out
