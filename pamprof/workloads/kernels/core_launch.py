"""Launch the core's kernels: forward and backward as plain functions of tensors and a configuration.

No host wait, no launch that depends on data, and the same allocations for the same shapes, so that a CUDA graph can
hold them.

Axes: B batch, T time, H heads, d head_dim, R = B · H rows, N chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from pamprof.errors import UsageError
from pamprof.workloads.kernels.core_configuration import SCAN_GROUP, Configuration, gradient_block, padded
from pamprof.workloads.kernels.core_decay import decay_sums_kernel
from pamprof.workloads.kernels.core_gradient import gradient_kernel
from pamprof.workloads.kernels.core_output import output_kernel
from pamprof.workloads.kernels.core_states import scan_kernel, state_kernel

_SCAN_BLOCK = 256
_SCAN_WARPS = 4
_DECAY_GROUP = 8
_DECAY_WARPS = 4
_PRECISION = "ieee"  # of products of float32 tiles; tf32 would keep ten bits


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreInputs:
    """What both directions read.

    Attributes:
        queries: [B, T, 2, H, d], last axis contiguous, in bfloat16, float16 or float32.
        keys: The same, with the same strides.
        values: The same, with the same strides.
        log_decay: float32 [B, H, T], contiguous.
        initial_state: float32 [B, H, d, 2 d], contiguous, or None for zeros.
        scale: Factor of the outputs.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    log_decay: Tensor
    initial_state: Tensor | None
    scale: float

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, H and d."""
        batch_size, length, _, heads, head_dim = self.queries.shape
        return batch_size, length, heads, head_dim

    def state(self, *between: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Room for states [R, *between, d, 2 d]."""
        batch_size, _, heads, head_dim = self.sizes
        return self.queries.new_empty((batch_size * heads, *between, head_dim, 2 * head_dim), dtype=dtype)


def keeps_states(inputs: CoreInputs, configuration: Configuration) -> bool:
    """Whether any chunk begins with more than zeros."""
    return inputs.initial_state is not None or inputs.sizes[1] > configuration.chunk


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
    sums = _decay_sums(inputs, chunk)
    output = inputs.queries.new_empty(inputs.queries.shape)
    final = inputs.state() if wants_final else None
    kept = inputs.state(chunks, dtype=inputs.queries.dtype) if keeps and keeps_states(inputs, configuration) else None
    entering = inputs.initial_state
    if segments > 1:
        entering = _enter_segments(
            inputs, configuration, sums, (inputs.keys, inputs.values), inputs.initial_state, segments, reverse=False
        )
    output_kernel[rows * segments * triton.cdiv(head_dim, block),](
        inputs.queries,
        inputs.keys,
        inputs.values,
        *sums,
        entering,
        output,
        kept,
        final,
        inputs.scale,
        length,
        configuration.segment_chunks or chunks,
        *inputs.queries.stride()[:4],
        heads,
        HEAD_DIM=head_dim,
        BLOCK_D=padded(head_dim),
        BLOCK_V=block,
        CHUNK=chunk,
        ENTERS=entering is not None,
        KEEPS=kept is not None,
        HAS_FINAL=wants_final,
        PRECISION=_PRECISION,
        num_warps=configuration.output_warps,
        num_stages=configuration.output_stages,
    )
    return output, None if final is None else torch.unflatten(final, 0, (batch_size, heads)), kept


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
    sums = _decay_sums(inputs, chunk)
    gradient = inputs.queries.new_empty((batch_size, length, 2, 3, heads, head_dim))
    decay_gradient = torch.empty_like(inputs.log_decay)
    segments = configuration.gradient_segments(length)
    walks = bool(configuration.gradient_walks) and chunks > 1
    sources = (inputs.queries, output_gradient)
    after = final_gradient
    if segments > 1:
        after = _enter_segments(inputs, configuration, sums, sources, final_gradient, segments, reverse=True)
    entering, ending = after, inputs.state(segments) if wants_initial else None
    if not walks and chunks > 1:
        after = inputs.state(chunks, dtype=inputs.queries.dtype)
    if after is not entering or ending is not None:
        _launch_state(
            inputs,
            configuration,
            sums,
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
        inputs.log_decay,
        *sums,
        kept,
        after,
        gradient,
        decay_gradient,
        inputs.scale,
        length,
        configuration.gradient_segment_chunks or chunks,
        *inputs.queries.stride()[:4],
        heads,
        HEAD_DIM=head_dim,
        BLOCK=min(padded(head_dim), gradient_block(inputs.queries.dtype)),
        CHUNK=chunk,
        HAS_KEPT=kept is not None,
        HAS_AFTER=after is not None,
        WALKS=walks,
        PRECISION=_PRECISION,
        num_warps=configuration.gradient_warps,
        num_stages=configuration.gradient_stages,
    )
    # Backward, a sequence ends where its first segment begins.
    initial_gradient = None if ending is None else torch.unflatten(ending[:, 0].contiguous(), 0, (batch_size, heads))
    return gradient, decay_gradient, initial_gradient


def _decay_sums(inputs: CoreInputs, chunk: int) -> Tensor:
    """Sums of log decays and of cuts inside chunks, float32 [2, R, N C]."""
    batch_size, length, heads, _ = inputs.sizes
    rows, chunks = batch_size * heads, triton.cdiv(length, chunk)
    sums = inputs.log_decay.new_empty((2, rows, chunks * chunk))
    decay_sums_kernel[rows * triton.cdiv(chunks, _DECAY_GROUP),](
        inputs.log_decay, sums[0], sums[1], length, chunks, CHUNK=chunk, GROUP=_DECAY_GROUP, num_warps=_DECAY_WARPS
    )
    return sums


def _enter_segments(
    inputs: CoreInputs,
    configuration: Configuration,
    sums: Tensor,
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
    _launch_state(inputs, configuration, sums, sources, segments, reverse=reverse, ending=written, through=through)
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


def _launch_state(
    inputs: CoreInputs,
    configuration: Configuration,
    sums: Tensor,
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
    rows = len(inputs.log_decay) * heads
    state_kernel[rows * segments * triton.cdiv(head_dim, configuration.value_block),](
        keys,
        values,
        *sums,
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
        HEAD_DIM=head_dim,
        BLOCK_D=padded(head_dim),
        BLOCK_V=configuration.value_block,
        CHUNK=configuration.chunk,
        REVERSED=reverse,
        ENTERS=entering is not None,
        KEEPS=kept is not None,
        ENDS=ending is not None,
        PRECISION=_PRECISION,
        num_warps=configuration.state_warps,
        num_stages=configuration.state_stages,
    )
