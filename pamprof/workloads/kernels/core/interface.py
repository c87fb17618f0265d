"""The recurrence in kernels: what a fused layer calls, what a compiler sees, and what is counted.

Queries, keys and values are planes, read where a projection left them, in one tensor [B, T, 2, 3, H, d]; their
gradients are made in one such tensor. Layers with a hand-written backward call ``packed_forward`` and
``packed_backward`` on it; ``fused_core`` is the same for autograd.

Axes: B batch, T time, H heads, K states, d head_dim, R = B · H rows, N chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pamprof.errors import SpecError, UnsupportedError
from pamprof.workloads.autograd import Function
from pamprof.workloads.kernels.availability import unavailable_reason
from pamprof.workloads.kernels.core.configuration import CoreShape
from pamprof.workloads.kernels.core.operators import core_backward, core_forward
from pamprof.workloads.kernels.core.selection import configuration_for

if TYPE_CHECKING:
    from collections.abc import Sequence

MAXIMUM_HEAD_DIM = 128
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


# A compiler takes the result as a constant instead of tracing how it was found.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch does not annotate it
def _configuration_numbers(
    batch_size: int,
    length: int,
    heads: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device,
    differentiates: bool,
    states: int,
) -> list[int]:
    """``configuration_for`` as plain numbers, for an operator's argument."""
    shape = CoreShape(
        batch_size=batch_size,
        length=length,
        heads=heads,
        head_dim=head_dim,
        dtype=dtype,
        differentiates=differentiates,
        states=states,
    )
    return configuration_for(shape, device).numbers()


def fused_core(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    *,
    scale: float,
    initial_state: Tensor | None = None,
    phases: Tensor | None = None,
    want_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Write and read the state along whole sequences; differentiable in every tensor.

    Args:
        q: Queries, planes [B, T, 2 (re, im), H, d] in bfloat16, float16 or float32.
        k: Keys, the same.
        v: Values, the same. Views of one tensor [B, T, 2, 3, H, d] are read in place, others are packed first.
        log_decay: float32 [B, H, T], natural logarithm of the decay: 0 keeps exactly, minus infinity forgets exactly
            and has gradient zero, as has every decay below the smallest normal float32. Of several states
            [B, H, K, T].
        scale: Factor of the outputs, 1 / sqrt(d) in the model.
        initial_state: float32 [B, H, d_k, 2 d_v], S^T as planes side by side, as the planar layers keep it; zeros
            where None. Of several states [B, H, K, d_k, 2 d_v].
        phases: float32 [B, H, K, T], angles by which the reads of several states are turned; None for one state.
        want_final_state: Whether to return the state after the last token.

    Returns:
        Outputs [B, T, 2, H, d], contiguous, in the dtype of ``q``, and the final state in the layout of
        ``initial_state``, or None.

    Raises:
        SpecError: Shapes or dtypes that do not fit together.
        UnsupportedError: A device the kernels do not run on, or on which no configuration of them is exact.
    """
    _check((q, k, v), log_decay, initial_state, phases)
    if not q.stride() == k.stride() == v.stride() or q.stride(-1) != 1:
        q, k, v = torch.stack((q, k, v), 3).unbind(3)
    log_decay = log_decay.contiguous()
    if initial_state is not None:
        initial_state = initial_state.contiguous()
    tensors = (q, k, v, log_decay, initial_state, phases)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        output, final = _FusedCore.apply(*tensors, scale, want_final_state)
    else:
        numbers = _configuration(q, phases, False)
        coefficients = coefficients_of(phases)
        output, final, _ = core_forward(
            q, k, v, log_decay, initial_state, coefficients, scale, want_final_state, False, numbers
        )
    return output, final if want_final_state else None


def coefficients_of(phases: Tensor | None) -> Tensor | None:
    """Cosines and sines of phases [B, H, K, T], [2, B, H, K, T]."""
    return None if phases is None else torch.stack((phases.cos(), phases.sin()))


def packed_forward(qkv: Tensor, log_decay: Tensor, coefficients: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Outputs from an empty state, scaled by 1 / sqrt(d), and what ``packed_backward`` needs.

    Args:
        qkv: [B, T, 2, 3, H, d], last axis contiguous, in bfloat16, float16 or float32.
        log_decay: float32 [B, H, T], contiguous; of several states [B, H, K, T].
        coefficients: As ``coefficients_of`` makes them of the phases of several states; None for one.

    Returns:
        Outputs [B, T, 2, H, d], contiguous, and each chunk's entering state [R, N, d, 2 d] ([R K, N, d, 2 d]), or an
        empty tensor where there is one chunk, both in the dtype of ``qkv``.

    Raises:
        SpecError: As ``fused_core``.
        UnsupportedError: Likewise.
    """
    q, k, v = qkv.unbind(3)
    _check((q, k, v), log_decay, None, None if coefficients is None else coefficients[0])
    numbers = _configuration(q, None if coefficients is None else coefficients[0], True)
    output, _, kept = core_forward(q, k, v, log_decay, None, coefficients, q.shape[-1] ** -0.5, False, True, numbers)
    return output, kept


def packed_backward(
    qkv: Tensor, log_decay: Tensor, kept: Tensor, output_gradient: Tensor, coefficients: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gradients of both arguments of ``packed_forward``, given what it kept and the gradient of its outputs.

    Returns:
        [B, T, 2, 3, H, d], contiguous, in the dtype of ``qkv``, and float32 [B, H, T]; of several states
        [2, B, H, K, T], the gradients of log decays and of phases.
    """
    q, k, v = qkv.unbind(3)
    scale = q.shape[-1] ** -0.5
    numbers = _configuration(q, None if coefficients is None else coefficients[0], True)
    gradient, decay_gradient, _ = core_backward(
        q, k, v, log_decay, None, coefficients, kept, output_gradient.contiguous(), None, scale, False, numbers
    )
    return gradient, decay_gradient


class _FusedCore(Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        log_decay: Tensor,
        initial_state: Tensor | None,
        phases: Tensor | None,
        scale: float,
        wants_final: bool,
    ) -> tuple[Tensor, Tensor]:
        numbers = _configuration(q, phases, True)
        coefficients = coefficients_of(phases)
        output, final, kept = core_forward(
            q, k, v, log_decay, initial_state, coefficients, scale, wants_final, True, numbers
        )
        ctx.numbers = numbers
        ctx.save_for_backward(q, k, v, log_decay, initial_state, coefficients, kept)
        ctx.scale = scale
        ctx.wants_final = wants_final
        ctx.set_materialize_grads(False)
        return output, final

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, log_decay, initial_state, coefficients, kept = ctx.saved_tensors
        output_gradient, final_gradient = gradients
        if output_gradient is None:
            output_gradient = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
        has_final = ctx.wants_final and final_gradient is not None
        final_gradient = final_gradient.contiguous() if has_final else None
        wants_initial = ctx.needs_input_grad[4]
        gradient, gate_gradient, initial_gradient = core_backward(
            q, k, v, log_decay, initial_state, coefficients, kept, output_gradient.contiguous(), final_gradient,
            ctx.scale, wants_initial, ctx.numbers,
        )  # fmt: skip
        of_gates = (gate_gradient, None) if coefficients is None else gate_gradient.unbind(0)
        of_initial = initial_gradient if wants_initial else None
        return *gradient.unbind(3), of_gates[0], of_initial, of_gates[1], None, None


def _configuration(q: Tensor, phases: Tensor | None, differentiates: bool) -> list[int]:
    batch_size, length, _, heads, head_dim = q.shape
    states = 1 if phases is None else phases.shape[2]
    numbers: list[int] = _configuration_numbers(
        batch_size, length, heads, head_dim, q.dtype, q.device, differentiates, states
    )
    return numbers


def _check(parts: Sequence[Tensor], log_decay: Tensor, initial_state: Tensor | None, phases: Tensor | None) -> None:
    q = parts[0]
    if q.ndim != 5 or q.shape[2] != 2:
        raise SpecError(f"q has shape {tuple(q.shape)}; give planes [batch, time, 2, heads, head_dim]")
    batch_size, length, _, heads, head_dim = q.shape
    if q.dtype not in _DTYPES:
        raise SpecError(f"q is {q.dtype}; give bfloat16, float16 or float32")
    if length < 1:
        raise SpecError("the sequence has 0 tokens; give at least one")
    if head_dim > MAXIMUM_HEAD_DIM:
        raise SpecError(f"head_dim is {head_dim}; the kernels hold at most {MAXIMUM_HEAD_DIM}, use more heads")
    for name, part in zip(("k", "v"), parts[1:], strict=True):
        if part.shape != q.shape or part.dtype != q.dtype:
            raise SpecError(f"{name} is {part.dtype} {tuple(part.shape)}; it must match q, {q.dtype} {tuple(q.shape)}")
    axes = (batch_size, heads) if phases is None else (batch_size, heads, *phases.shape[2:3])
    for name, given in (("log_decay", log_decay), ("phases", log_decay if phases is None else phases)):
        if given.shape != (*axes, length) or given.dtype != torch.float32:
            raise SpecError(f"{name} is {given.dtype} {tuple(given.shape)}; it must be torch.float32 {(*axes, length)}")
    expected = (*axes, head_dim, 2 * head_dim)
    if initial_state is not None and (initial_state.shape != expected or initial_state.dtype != torch.float32):
        raise SpecError(
            f"initial_state is {initial_state.dtype} {tuple(initial_state.shape)}; it must be torch.float32 {expected}"
        )
    if not torch.compiler.is_compiling():
        reason = unavailable_reason(q.device)
        if reason is not None:
            raise UnsupportedError(reason)
