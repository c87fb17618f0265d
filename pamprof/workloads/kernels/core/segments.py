"""Launch what comes before outputs and gradients: the decay in chunks, what segments write, and what each begins with.

Axes: B batch, T time, H heads, d head_dim, R = B · H rows, N chunks, M segments; of K states R = B · H · K.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
from torch import Tensor

from pamprof.workloads.kernels.core.configuration import SCAN_GROUP, Configuration, padded
from pamprof.workloads.kernels.core.decay import decay_kernel
from pamprof.workloads.kernels.core.inputs import head_step
from pamprof.workloads.kernels.core.states import scan_kernel, state_kernel

if TYPE_CHECKING:
    from pamprof.workloads.kernels.core.inputs import CoreInputs

PRECISION = "tf32x3"
"""Of products of float32 tiles: three of tf32, which together keep what float32 holds; one alone keeps ten bits."""

_SCAN_BLOCK = 256
_SCAN_WARPS = 2  # four elements, 16 bytes, a thread
DECAY_GROUP = 8
DECAY_WARPS = 4


def decay_in_chunks(inputs: CoreInputs, chunk: int) -> Tensor:
    """What ``decay_kernel`` writes, in its order: float32 [4, R, N C]."""
    length, rows = inputs.sizes[1], inputs.state_rows
    chunks = triton.cdiv(length, chunk)
    decay = inputs.log_decay.new_empty((4, rows, chunks * chunk))
    decay_kernel[rows * triton.cdiv(chunks, DECAY_GROUP),](
        inputs.log_decay, *decay, length, chunks, CHUNK=chunk, GROUP=DECAY_GROUP, num_warps=DECAY_WARPS
    )
    return decay


def enter_segments(
    inputs: CoreInputs,
    configuration: Configuration,
    decay: Tensor,
    sources: tuple[Tensor, Tensor],
    before: Tensor | None,
    segments: int,
    *,
    reverse: bool,
) -> Tensor:
    """What each segment begins with, float32 [R, segments, d, 2 d], given what is held before the first one."""
    head_dim = inputs.sizes[3]
    written = inputs.state(segments)
    through = inputs.log_decay.new_empty((len(written), segments))
    launch_state(inputs, configuration, decay, sources, segments, reverse=reverse, ending=written, through=through)
    entering = torch.empty_like(written)
    size = 2 * head_dim * head_dim
    scan_kernel[len(written) * triton.cdiv(size, _SCAN_BLOCK),](
        written,
        through,
        before,
        entering,
        segments,
        SIZE=size,
        REVERSED=reverse,
        HAS_INITIAL=before is not None,
        GROUP=SCAN_GROUP,
        BLOCK=_SCAN_BLOCK,
        num_warps=_SCAN_WARPS,
    )
    return entering


def launch_state(
    inputs: CoreInputs,
    configuration: Configuration,
    decay: Tensor,
    sources: tuple[Tensor, Tensor],
    segments: int,
    *,
    reverse: bool,
    entering: Tensor | None = None,
    kept: Tensor | None = None,
    ending: Tensor | None = None,
    through: Tensor | None = None,
) -> None:
    _, length, heads, head_dim = inputs.sizes
    chunks = triton.cdiv(length, configuration.chunk)
    keys, values = sources
    segment_chunks = configuration.gradient_segment_chunks if reverse else configuration.segment_chunks
    block = configuration.value_block
    state_kernel[inputs.state_rows * segments * triton.cdiv(head_dim, block),](
        keys,
        values,
        *decay[2:],
        *inputs.turns,
        entering,
        kept,
        ending,
        through,
        inputs.scale,
        length,
        segment_chunks or chunks,
        *keys.stride()[:4],
        *values.stride()[:4],
        heads,
        STATES=inputs.states,
        HEAD_DIM=head_dim,
        HEAD_STEP=head_step(keys, values),
        BLOCK_D=padded(head_dim),
        BLOCK_V=block,
        CHUNK=configuration.chunk,
        REVERSED=reverse,
        ENTERS=entering is not None,
        KEEPS=kept is not None,
        ENDS=ending is not None,
        PRECISION=PRECISION,
        num_warps=configuration.state_warps,
        num_stages=configuration.state_stages,
    )
