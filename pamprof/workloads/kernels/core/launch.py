"""Launch the core's kernels: forward and backward as plain functions of tensors and a configuration.

No host wait, no launch that depends on data, and the same allocations for the same shapes, so that a CUDA graph can
hold them.

Axes: B batch, T time, H heads, K states, d head_dim, R = B · H rows, N chunks.
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
from pamprof.workloads.kernels.core.mixed_gradient import mixed_gradient_kernel
from pamprof.workloads.kernels.core.mixed_output import mixed_output_kernel
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
        dtype or None. Of several states [B, H, K, d, 2 d] and [R K, N, d, 2 d].
    """
    batch_size, length, heads, head_dim = inputs.sizes
    rows, chunk, block = batch_size * heads, configuration.chunk, configuration.value_block
    chunks = triton.cdiv(length, chunk)
    segments = configuration.forward_segments(length)
    decay = decay_in_chunks(inputs, chunk)
    output = inputs.queries.new_empty(inputs.queries.shape)
    entering = inputs.initial_state
    if segments > 1:
        entering = enter_segments(
            inputs, configuration, decay, (inputs.keys, inputs.values), inputs.initial_state, segments, reverse=False
        )
    if inputs.states > 1:
        final, kept = _launch_mixed(inputs, configuration, decay, entering, output, wants_final=wants_final)
        return output, final, kept if keeps else None
    final = inputs.state() if wants_final else None
    kept = inputs.state(chunks, dtype=inputs.queries.dtype) if keeps and keeps_states(inputs, configuration) else None
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


def _launch_mixed(
    inputs: CoreInputs,
    configuration: Configuration,
    decay: Tensor,
    entering: Tensor | None,
    output: Tensor,
    *,
    wants_final: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Writes the outputs of several states; returns their final states and those each chunk begins with."""
    _, length, heads, head_dim = inputs.sizes
    chunks = triton.cdiv(length, configuration.chunk)
    segments = configuration.forward_segments(length)
    kept = ending = None
    if keeps_states(inputs, configuration):
        kept = inputs.state(chunks, dtype=inputs.queries.dtype)
    if wants_final:
        ending = inputs.state(segments)
    if kept is not None or ending is not None:
        launch_state(
            inputs,
            configuration,
            decay,
            (inputs.keys, inputs.values),
            segments,
            reverse=False,
            entering=entering,
            kept=kept,
            ending=ending,
            through=None if ending is None else inputs.log_decay.new_empty((inputs.state_rows, segments)),
        )
    block = configuration.value_block
    mixed_output_kernel[inputs.queries.shape[0] * heads * chunks * triton.cdiv(head_dim, block),](
        inputs.queries,
        inputs.keys,
        inputs.values,
        *decay[:3],
        *inputs.turns,
        kept,
        output,
        inputs.scale,
        length,
        *inputs.queries.stride()[:4],
        heads,
        STATES=inputs.states,
        HEAD_DIM=head_dim,
        HEAD_STEP=head_step(inputs.queries),
        BLOCK_D=padded(head_dim),
        BLOCK_V=block,
        CHUNK=configuration.chunk,
        HAS_KEPT=kept is not None,
        PRECISION=PRECISION,
        num_warps=configuration.output_warps,
        num_stages=configuration.output_stages,
    )
    final = None if ending is None else torch.unflatten(ending[:, -1].contiguous(), 0, inputs.log_decay.shape[:-1])
    return final, kept


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
        [B, T, 2, 3, H, d] in the queries' dtype, float32 [B, H, T], float32 [B, H, d, 2 d] or None. Of several states
        the second is [2, B, H, K, T], gradients of log decays and of the phases of their coefficients, the third
        [B, H, K, d, 2 d].

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
    state_rows = inputs.state_rows
    passing = inputs.log_decay.new_empty((state_rows, chunks))
    several = inputs.states > 1
    block = min(padded(head_dim), gradient_block(inputs.queries.dtype))
    blocks = triton.cdiv(head_dim, block) if several else 0
    # Of several states nothing is written of what is outside the only chunk.
    new = inputs.log_decay.new_zeros if several and chunks == 1 else inputs.log_decay.new_empty
    changes = new((3 + 3 * blocks, state_rows, chunks * chunk))
    both = inputs.log_decay.new_empty((2, *inputs.log_decay.shape)) if several else None
    segments = configuration.gradient_segments(length)
    walks = bool(configuration.gradient_walks) and chunks > 1 and not several
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
            through=None if ending is None else inputs.log_decay.new_empty((state_rows, segments)),
        )
    read = (inputs.queries, inputs.keys, inputs.values, output_gradient, *decay)
    branches = {"HAS_KEPT": kept is not None, "HAS_AFTER": after is not None}
    tile = {
        "HEAD_DIM": head_dim,
        "HEAD_STEP": head_step(inputs.queries),
        "BLOCK": block,
        "CHUNK": chunk,
    }
    launch = {"num_warps": configuration.gradient_warps, "num_stages": configuration.gradient_stages}
    strides = inputs.queries.stride()[:4]
    if both is not None:
        mixed_gradient_kernel[rows * chunks,](
            *read, *inputs.turns, kept, after, gradient, changes, passing, inputs.scale, length, *strides,
            heads, STATES=inputs.states, **tile, **branches, PRECISION=PRECISION, **launch,
        )  # fmt: skip
    else:
        gradient_kernel[rows * (segments if walks else chunks),](
            *read, kept, after, gradient, changes, passing, inputs.scale, length,
            configuration.gradient_segment_chunks or chunks, *strides, heads,
            **tile, **branches, WALKS=walks, PRECISION=PRECISION, **launch,
        )  # fmt: skip
    decay_gradient = torch.empty_like(inputs.log_decay) if both is None else both[0]
    decay_gradient_kernel[state_rows * triton.cdiv(chunks, DECAY_GROUP),](
        inputs.log_decay, changes, passing, decay_gradient, None if both is None else both[1], length, chunks,
        BLOCKS=blocks, CHUNK=chunk, GROUP=DECAY_GROUP, num_warps=DECAY_WARPS,
    )  # fmt: skip
    # Backward, a sequence ends where its first segment begins.
    axes = inputs.log_decay.shape[:-1]
    initial_gradient = None if ending is None else torch.unflatten(ending[:, 0].contiguous(), 0, axes)
    return gradient, decay_gradient if both is None else both, initial_gradient
