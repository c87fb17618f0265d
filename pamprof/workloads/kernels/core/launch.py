"""Launch the core's kernels: forward and backward as plain functions of tensors and a configuration.

No host wait, no launch that depends on data, and the same allocations for the same shapes, so that a CUDA graph can
hold them.

Axes: B batch, T time, H heads, d head_dim, R = B · H rows, N chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton

from pamprof.errors import UsageError
from pamprof.workloads.kernels.core.configuration import Configuration, gradient_block, padded
from pamprof.workloads.kernels.core.decay import decay_gradient_kernel
from pamprof.workloads.kernels.core.gradient import gradient_kernel
from pamprof.workloads.kernels.core.inputs import CoreInputs, head_step, keeps_states
from pamprof.workloads.kernels.core.output import output_kernel
from pamprof.workloads.kernels.core.segments import (
    DECAY_GROUP,
    DECAY_WARPS,
    PRECISION,
    decay_in_chunks,
    enter_segments,
    launch_state,
)

if TYPE_CHECKING:
    from torch import Tensor


def launch_forward(
    inputs: CoreInputs, configuration: Configuration, *, wants_final: bool, keeps: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Outputs, final state, and each chunk's entering state.

    Args:
        inputs: Tensors of one device.
        configuration: How to cut and launch.
        wants_final: Whether to return the state after the last token.
        keeps: Whether to keep what the backward kernel reads.

    Returns:
        Outputs [B, T, 2, H, d] in the queries' dtype; float32 [B, H, d, 2 d] or None; [R, N, d, 2 d] in the queries'
        dtype or None.
    """
    batch_size, length, heads, head_dim = inputs.sizes
    rows, chunk, block = batch_size * heads, configuration.chunk, configuration.value_block
    chunks = triton.cdiv(length, chunk)
    segments = configuration.forward_segments(length)
    decay = decay_in_chunks(inputs, chunk)
    output = inputs.queries.new_empty(inputs.queries.shape)
    final = inputs.state() if wants_final else None
    kept = inputs.state(chunks, dtype=inputs.queries.dtype) if keeps and keeps_states(inputs, configuration) else None
    entering = inputs.initial_state
    if segments > 1:
        entering = enter_segments(
            inputs, configuration, decay, (inputs.keys, inputs.values), inputs.initial_state, segments, reverse=False
        )
    tensors = (inputs.queries, inputs.keys, inputs.values, *decay, entering, output, kept, final)
    sizes = (inputs.scale, length, configuration.segment_chunks or chunks, *inputs.queries.stride()[:4], heads)
    branches = {"ENTERS": entering is not None, "KEEPS": kept is not None, "HAS_FINAL": wants_final}
    grid = (rows * segments * triton.cdiv(head_dim, block),)
    if configuration.output_hopper and _is_aligned(inputs):
        # Only here, because not every Triton has the language it is written in.
        from pamprof.workloads.kernels.core.output_hopper import WARPS, hopper_output_kernel

        hopper_output_kernel[grid](*tensors, *sizes, **branches, num_warps=WARPS)
    else:
        output_kernel[grid](
            *tensors,
            *sizes,
            HEAD_DIM=head_dim,
            HEAD_STEP=head_step(inputs.queries),
            BLOCK_D=padded(head_dim),
            BLOCK_V=block,
            CHUNK=chunk,
            **branches,
            PRECISION=PRECISION,
            num_warps=configuration.output_warps,
            num_stages=configuration.output_stages,
        )
    return output, None if final is None else torch.unflatten(final, 0, (batch_size, heads)), kept


def _is_aligned(inputs: CoreInputs) -> bool:
    """Whether queries, keys and values can be copied 16 bytes at a time."""
    parts = (inputs.queries, inputs.keys, inputs.values)
    return all(
        part.data_ptr() % 16 == 0 and not any(step * part.element_size() % 16 for step in part.stride()[:4])
        for part in parts
    )


def launch_backward(
    inputs: CoreInputs,
    configuration: Configuration,
    kept: Tensor | None,
    output_gradient: Tensor,
    final_gradient: Tensor | None,
    *,
    wants_initial: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of queries, keys and values in one tensor, of log decay, and of the initial state.

    Args:
        inputs: As given to ``launch_forward``.
        configuration: With the same chunk.
        kept: What ``launch_forward`` kept.
        output_gradient: [B, T, 2, H, d] in the queries' dtype, contiguous.
        final_gradient: float32 [B, H, d, 2 d], contiguous, or None for zeros.
        wants_initial: Whether to return the initial state's gradient.

    Returns:
        [B, T, 2, 3, H, d] in the queries' dtype, float32 [B, H, T], float32 [B, H, d, 2 d] or None.

    Raises:
        UsageError: Another configuration was selected since the forward call, with another chunk.
    """
    batch_size, length, heads, head_dim = inputs.sizes
    rows, chunk = batch_size * heads, configuration.chunk
    chunks = triton.cdiv(length, chunk)
    if kept is not None and kept.shape[1] != chunks:
        raise UsageError(
            f"the forward call kept {kept.shape[1]} chunks, the backward call has {chunks}; select a configuration "
            "before a step, not inside it"
        )
    decay = decay_in_chunks(inputs, chunk)
    gradient = inputs.queries.new_empty((batch_size, length, 2, 3, heads, head_dim))
    changes = inputs.log_decay.new_empty((3, rows, chunks * chunk))
    passing = inputs.log_decay.new_empty((rows, chunks))
    segments = configuration.gradient_segments(length)
    walks = bool(configuration.gradient_walks) and chunks > 1
    sources = (inputs.queries, output_gradient)
    after = final_gradient
    if segments > 1:
        after = enter_segments(inputs, configuration, decay, sources, final_gradient, segments, reverse=True)
    entering, ending = after, inputs.state(segments) if wants_initial else None
    if not walks and chunks > 1:
        after = inputs.state(chunks, dtype=inputs.queries.dtype)
    if after is not entering or ending is not None:
        launch_state(
            inputs,
            configuration,
            decay,
            sources,
            segments,
            reverse=True,
            entering=entering,
            kept=None if after is entering else after,
            ending=ending,
            through=None if ending is None else inputs.log_decay.new_empty((rows, segments)),
        )
    gradient_kernel[rows * (segments if walks else chunks),](
        inputs.queries,
        inputs.keys,
        inputs.values,
        output_gradient,
        *decay,
        kept,
        after,
        gradient,
        changes,
        passing,
        inputs.scale,
        length,
        configuration.gradient_segment_chunks or chunks,
        *inputs.queries.stride()[:4],
        heads,
        HEAD_DIM=head_dim,
        HEAD_STEP=head_step(inputs.queries),
        BLOCK=min(padded(head_dim), gradient_block(inputs.queries.dtype)),
        CHUNK=chunk,
        HAS_KEPT=kept is not None,
        HAS_AFTER=after is not None,
        WALKS=walks,
        PRECISION=PRECISION,
        num_warps=configuration.gradient_warps,
        num_stages=configuration.gradient_stages,
    )
    decay_gradient = torch.empty_like(inputs.log_decay)
    decay_gradient_kernel[rows * triton.cdiv(chunks, DECAY_GROUP),](
        inputs.log_decay, changes, passing, decay_gradient, length, chunks,
        CHUNK=chunk, GROUP=DECAY_GROUP, num_warps=DECAY_WARPS,
    )  # fmt: skip
    # Backward, a sequence ends where its first segment begins.
    initial_gradient = None if ending is None else torch.unflatten(ending[:, 0].contiguous(), 0, (batch_size, heads))
    return gradient, decay_gradient, initial_gradient
