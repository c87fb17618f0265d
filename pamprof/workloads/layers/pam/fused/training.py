"""One block over planes, forward and backward, as a single autograd function around kernels and matrix products.

As one function a block decides itself what is kept (what the products read, and the sums that were normed), writes the
gradients of queries, keys and values where the joint product's backward wants them, and hands the gradient of a
residual sum to the product before it in the product's own dtype.

A block ends in a pair: the residual stream and the branch still to be added to it. The next norm adds them on its way.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim, h hidden_dim, N = B T rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pamprof.workloads.autograd import Function
from pamprof.workloads.kernels.block.gate import gate_unit, gate_unit_backward
from pamprof.workloads.kernels.block.norm import add_norm, norm
from pamprof.workloads.kernels.block.norm_backward import gated_norm_backward, norm_backward
from pamprof.workloads.kernels.block.norm_gates import add_norm_gates
from pamprof.workloads.kernels.block.prepare import prepare, prepare_backward
from pamprof.workloads.kernels.block.weights import block_weight, fold_gradient
from pamprof.workloads.kernels.core.interface import coefficients_of, packed_backward, packed_forward
from pamprof.workloads.parallel.sums import all_summed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from pamprof.workloads.layers.pam.parameters import PamBlockParameters


def rows(planes: Tensor) -> Tensor:
    """Planes [B, T, ...] as rows [N, everything else], a view."""
    return planes.flatten(0, 1).flatten(1)


def block_parameters(block: PamBlockParameters) -> tuple[Tensor | None, ...]:
    """A block's parameters in the order ``FusedBlockFunction`` takes them."""
    gate_unit_of, recurrence = block.cgu, block.pam
    return (
        block.norm1.scale,
        gate_unit_of.gate_proj.weight_real,
        gate_unit_of.gate_proj.weight_imag,
        gate_unit_of.up_proj.weight_real,
        gate_unit_of.up_proj.weight_imag,
        gate_unit_of.act.bias,
        gate_unit_of.act.beta,
        gate_unit_of.down_proj.weight_real,
        gate_unit_of.down_proj.weight_imag,
        block.cgu_scale,
        block.norm2.scale,
        recurrence.qkv_proj.weight_real,
        recurrence.qkv_proj.weight_imag,
        recurrence.dt_proj.weight,
        recurrence.dt_proj.bias,
        recurrence.dt_bias,
        recurrence.protect_gate.weight,
        recurrence.protect_gate.bias,
        recurrence.state_dt_offset,
        None if recurrence.phase_proj is None else recurrence.phase_proj.weight,
        None if recurrence.phase_proj is None else recurrence.phase_proj.bias,
        recurrence.o_proj.weight_real,
        recurrence.o_proj.weight_imag,
        block.pam_scale,
    )


class FusedBlockFunction(Function):
    """Residual stream and branch of the next block from those of the last."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd functions take their arguments by position
        ctx: Any,
        hidden: Tensor,
        branch: Tensor | None,
        cosine: Tensor,
        sine: Tensor,
        heads: int,
        dropout: float,
        dtype: torch.dtype,
        group: ProcessGroup | None,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor]:
        """Both [B, T, 2, D], the residual stream as precise as ``hidden``, the branch in ``dtype``.

        Args:
            ctx: Autograd's.
            hidden: Residual stream [B, T, 2, D].
            branch: What is still to be added to it, in ``dtype``; None for nothing.
            cosine: Of the positions' angles, float32 [T, d].
            sine: Likewise.
            heads: H.
            dropout: Probability that an element of a branch is dropped; 0 outside training.
            dtype: Of the products.
            group: Ranks that share heads and channels, so that products are parts of sums; None for one device. The
                returned branch is a part, too.
            parameters: As ``block_parameters`` orders them.
        """
        (scale1, gate_real, gate_imag, up_real, up_imag, bias, beta, down_real, down_imag, gate_unit_scale, scale2,
         qkv_real, qkv_imag, step_weight, step_bias, dt_bias, protect_weight, protect_bias, offsets, phase_weight,
         phase_bias, output_real, output_imag, pam_scale) = parameters  # fmt: skip
        batch, length, _, _ = hidden.shape
        if branch is None:
            total, normed = hidden, norm(hidden, scale1, dtype)
        else:
            total, normed = add_norm(hidden, branch, None, scale1, dtype)
        to_gate_up = block_weight([gate_real, up_real], [gate_imag, up_imag], None, dtype)
        gate_up = (rows(normed) @ to_gate_up.mT).view(batch, length, 2, 2, -1)
        gated = gate_unit(gate_up, bias, beta)
        to_hidden = block_weight([down_real], [down_imag], gate_unit_scale, dtype)
        added = (rows(gated) @ to_hidden.mT).view(hidden.shape)
        added, gate_mask = _drop(added if group is None else all_summed(added, group), dropout)
        gates = [step_weight, step_bias, dt_bias, protect_weight, protect_bias]
        gates += [] if offsets is None else [phase_weight, phase_bias]
        second_total, second_normed, logits = add_norm_gates(total, added, None, scale2, gates, dtype)
        to_qkv = block_weight([qkv_real], [qkv_imag], None, dtype)
        qkv = (rows(second_normed) @ to_qkv.mT).view(batch, length, 2, 3, heads, -1)
        log_decay = prepare(qkv, cosine, sine, logits[:2], offsets)
        coefficients = None if offsets is None else coefficients_of(logits[2:].movedim(0, 2))
        retrieved, kept = packed_forward(qkv, log_decay, coefficients)
        to_output = block_weight([output_real], [output_imag], pam_scale, dtype)
        remembered, pam_mask = _drop((rows(retrieved) @ to_output.mT).view(hidden.shape), dropout)
        ctx.save_for_backward(
            total, normed, to_gate_up, gate_up, gated, to_hidden, gate_mask, second_total, second_normed, logits,
            log_decay, coefficients, to_qkv, qkv, retrieved, kept, to_output, pam_mask, cosine, sine, *parameters
        )  # fmt: skip
        ctx.dropout, ctx.group = dropout, group
        ctx.has_branch = branch is not None
        return second_total, remembered

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of everything, from those of both results."""
        (total, normed, to_gate_up, gate_up, gated, to_hidden, gate_mask, second_total, second_normed, logits,
         log_decay, coefficients, to_qkv, qkv, retrieved, kept, to_output, pam_mask, cosine, sine,
         *parameters) = ctx.saved_tensors  # fmt: skip
        (scale1, gate_real, gate_imag, up_real, up_imag, bias, beta, down_real, down_imag, gate_unit_scale, scale2,
         qkv_real, qkv_imag, step_weight, _, _, protect_weight, _, offsets, phase_weight, _, output_real, output_imag,
         pam_scale) = parameters  # fmt: skip
        total_gradient, remembered_gradient = gradients
        dtype = normed.dtype

        along = rows(_undrop(remembered_gradient, pam_mask, ctx.dropout))
        output_gradient = along.mT @ rows(retrieved)
        retrieved_gradient = (along @ to_output).view(retrieved.shape)
        qkv_gradient, decay_gradient = packed_backward(qkv, log_decay, kept, retrieved_gradient, coefficients)
        logits_gradient = prepare_backward(qkv_gradient, qkv, cosine, sine, logits[:2], decay_gradient, offsets)
        states = 0 if offsets is None else len(offsets)
        logits_gradient, state_gradient = logits_gradient[: 2 + states], logits_gradient[2 + states :]
        along = rows(qkv_gradient)
        joint_gradient = along.mT @ rows(second_normed)
        if ctx.group is not None:  # each rank has a part of the normed row's gradient, and takes its share of the sum's
            total_gradient = total_gradient / ctx.group.size()
        total_gradient, added_gradient, scale2_gradient, sizes = gated_norm_backward(
            second_total, scale2, (along @ to_qkv).view(second_normed.shape), total_gradient, logits_gradient,
            step_weight, protect_weight, phase_weight, dtype
        )  # fmt: skip
        if ctx.group is not None:
            total_gradient = all_summed(total_gradient, ctx.group)
            added_gradient, scale2_gradient = total_gradient.to(dtype), all_summed(scale2_gradient, ctx.group)
        step_logits, gate_logits = logits_gradient[:2].to(dtype).unbind(0)
        step_gradient = (step_logits @ rows(second_normed)).to(step_weight.dtype)
        gate_input = rows(second_normed) if protect_weight.shape[1] > sizes.shape[1] else sizes
        protect_gradient = (gate_logits @ gate_input).to(protect_weight.dtype)
        step_bias_gradient, protect_bias_gradient = logits_gradient[:2].sum(-1).unbind(0)
        of_states: tuple[Tensor | None, ...] = (None, None, None)
        if offsets is not None:
            phase_logits = logits_gradient[2:].transpose(0, 1).flatten(0, 1)  # K runs fastest
            phase_gradient = (phase_logits.to(dtype) @ sizes).to(phase_weight.dtype)
            of_states = state_gradient.sum((1, 2)), phase_gradient, phase_logits.sum(-1)

        along = rows(_undrop(added_gradient, gate_mask, ctx.dropout))
        down_gradient = along.mT @ rows(gated)
        gate_up_gradient, bias_gradient, beta_gradient = gate_unit_backward(
            gate_up, (along @ to_hidden).view(gated.shape), bias, beta
        )
        along = rows(gate_up_gradient)
        gate_up_weight_gradient = along.mT @ rows(normed)
        normed_gradient = (along @ to_gate_up).view(normed.shape)
        if ctx.group is not None:
            normed_gradient = all_summed(normed_gradient, ctx.group)
        hidden_gradient, branch_gradient, scale1_gradient = norm_backward(
            total, scale1, normed_gradient, total_gradient, dtype if ctx.has_branch else None
        )

        gate_parts = fold_gradient(gate_up_weight_gradient, gate_real, gate_imag, None, 0)
        up_parts = fold_gradient(gate_up_weight_gradient, up_real, up_imag, None, gate_real.shape[0])
        down_parts = fold_gradient(down_gradient, down_real, down_imag, gate_unit_scale, 0)
        qkv_parts = fold_gradient(joint_gradient, qkv_real, qkv_imag, None, 0)
        output_parts = fold_gradient(output_gradient, output_real, output_imag, pam_scale, 0)
        return (
            hidden_gradient, branch_gradient if ctx.has_branch else None, None, None, None, None, None, None,
            scale1_gradient, *gate_parts[:2], *up_parts[:2], bias_gradient, None if beta is None else beta_gradient,
            *down_parts, scale2_gradient, *qkv_parts[:2], step_gradient, step_bias_gradient, step_bias_gradient.clone(),
            protect_gradient, protect_bias_gradient, *of_states, *output_parts
        )  # fmt: skip


class FusedNormFunction(Function):
    """The norm of a residual stream and the branch still to be added to it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, branch: Tensor | None, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Planes [B, T, 2, D] in ``dtype``; ``branch`` may be None."""
        if branch is None:
            total, normed = hidden, norm(hidden, scale, dtype)
        else:
            total, normed = add_norm(hidden, branch, None, scale, dtype)
        ctx.save_for_backward(total, scale)
        ctx.branch_dtype = None if branch is None else branch.dtype
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of stream, branch and scale."""
        total, scale = ctx.saved_tensors
        hidden, branch, scale_gradient = norm_backward(total, scale, gradients[0], None, ctx.branch_dtype)
        return hidden, None if ctx.branch_dtype is None else branch, scale_gradient, None


def _drop(branch: Tensor, probability: float) -> tuple[Tensor, Tensor | None]:
    """The branch with elements dropped, and which were kept; None where nothing is dropped."""
    if probability == 0:
        return branch, None
    dropped, mask = torch.native_dropout(branch, probability, True)
    return dropped, mask


def _undrop(gradient: Tensor, mask: Tensor | None, probability: float) -> Tensor:
    if mask is None:
        return gradient
    result: Tensor = torch.ops.aten.native_dropout_backward(gradient, mask, 1 / (1 - probability))
    return result
