"""PAM in hand-written kernels: stages that the other implementations leave to a compiler take one pass each.

Parameters, sequences in planes, the layout of the state and the results are those of ``planar.block``. Linear maps are
the same real block products, except in a decode step of up to some tens of sequences, where kernels read each weight
once. There is no float64 here: a kernel computes in float32 whatever it is given.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim, h hidden_dim, N = B T rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.kernels.block.gate import gate_unit
from pamprof.workloads.kernels.block.norm import add_norm, norm
from pamprof.workloads.kernels.block.norm_gates import add_norm_gates
from pamprof.workloads.kernels.block.prepare import prepare
from pamprof.workloads.kernels.block.product import add_product_
from pamprof.workloads.kernels.block.weights import block_weight
from pamprof.workloads.kernels.core.interface import fused_core
from pamprof.workloads.kernels.decode.gate_unit import norm_gate_unit
from pamprof.workloads.kernels.decode.products import gate_product, partial_products, product
from pamprof.workloads.kernels.decode.projection import norm_memory_inputs, project
from pamprof.workloads.kernels.decode.recurrence import memory_step
from pamprof.workloads.layers.pam.fused.decode import few_sequences, some_sequences
from pamprof.workloads.layers.pam.fused.training import FusedBlockFunction, FusedNormFunction, block_parameters, rows
from pamprof.workloads.layers.pam.planar.block import PlanarBlock
from pamprof.workloads.layers.pam.planar.products import fuse_once
from pamprof.workloads.layers.recurrent.precision import compute_dtype
from pamprof.workloads.parallel.sums import summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters

Hidden = Tensor | tuple[Tensor, Tensor]
"""A residual stream [B, T, 2, D], or with it a branch that the next norm is to add: of the same shape, or
[S, B, T, 2, D] in parts that are still to be added up."""


class FusedBlock(PlanarBlock):
    """One block; it may end in a pair, for the next block or head to add: whole sequences do, and single tokens may."""

    def fuse_weights(self) -> None:
        """Make the block matrices once, for inference; the output map's includes the recurrence's residual scale.

        That one is a copy of its own: parameters stay what they are.
        """
        dtype = self.cgu.up_proj.weight_real.dtype
        self.fused_gate_up = fuse_once(self.product, (self.cgu.gate_proj, self.cgu.up_proj), dtype)
        self.fused_down = fuse_once(self.product, (self.cgu.down_proj,), dtype)
        self.fused_qkv = fuse_once(self.product, (self.pam.qkv_proj,), dtype)
        with torch.no_grad():
            scaled = self.pam_scale * self.pam.o_proj.weight_real, self.pam_scale * self.pam.o_proj.weight_imag
            self.fused_output = self.product.fuse(*(weight.to(dtype) for weight in scaled))

    def forward(  # type: ignore[override]  # a pair goes to a fused block or head alone
        self, hidden: Hidden, rotation: Tensor, state: Tensor | None = None, begins: bool = True
    ) -> Hidden:
        """The block on a residual stream [B, T, 2, D], or on a pair.

        Args:
            hidden: Planes of the residual stream, or a pair.
            rotation: Cosines and sines [2, T, d] of the positions' angles, float32.
            state: [B, H, d, 2 d] or [B, H, K, d, 2 d] before the first token; replaced in place by the state after the
                last. None keeps nothing, the differentiable case.
            begins: Whether the sequence begins here, so that what ``state`` held is ignored.
        """
        stream, branch = hidden if isinstance(hidden, tuple) else (hidden, None)
        cosine, sine = rotation.unbind(0)
        dtype = compute_dtype(stream)
        if state is None:
            dropout = self.dropout if self.training else 0.0
            parameters = block_parameters(self)
            total, remembered = FusedBlockFunction.apply(
                stream.contiguous(), branch, cosine, sine, self.heads, dropout, dtype, self.group, *parameters
            )
            return total, summed(remembered, self.group)
        if stream.shape[1] > 1 or begins:
            return self._consume(joined(hidden), rotation, state, begins)
        few = self.group is None and few_sequences(stream.shape[0], stream.shape[-1])  # these add up to the sum at once
        if self.fused_qkv is not None and few:
            return self._step(joined(hidden), rotation, state)
        return self._wide_step(stream, branch, rotation, state)

    def _consume(self, hidden: Tensor, rotation: Tensor, state: Tensor, begins: bool) -> Tensor:
        """A piece of a prompt."""
        batch, length = hidden.shape[:2]
        dtype = compute_dtype(hidden)
        normed = norm(hidden, self.norm1.scale, dtype)
        gate_up = rows(normed) @ self._gate_up(dtype).mT
        gated = gate_unit(gate_up.view(batch, length, 2, 2, -1), self.cgu.act.bias, self.cgu.act.beta)
        added = summed((rows(gated) @ self._down(dtype).mT).view(hidden.shape), self.group)
        total, normed, logits = add_norm_gates(hidden, added, self.cgu_scale, self.norm2.scale, self._gates(), dtype)
        qkv = (rows(normed) @ self._qkv(dtype).mT).view(batch, length, 2, 3, self.heads, self.head_dim)
        cosine, sine = rotation.unbind(0)
        log_decay = prepare(qkv, cosine, sine, logits[:2], self.pam.state_dt_offset)
        queries, keys, values = qkv.unbind(3)
        retrieved, after = fused_core(
            queries,
            keys,
            values,
            log_decay,
            scale=self.head_dim**-0.5,
            initial_state=None if begins else state.float(),
            phases=None if self.pam.phase_proj is None else logits[2:].movedim(0, 2),
            want_final_state=True,
        )
        assert after is not None
        state.copy_(after)
        if self.group is not None:
            part = (rows(retrieved) @ self._output(dtype).mT).view(total.shape)
            return total + summed(part, self.group).to(total.dtype)
        add_product_(total, retrieved, self._output(dtype))  # nobody else holds the sum
        return total

    def _step(self, hidden: Tensor, rotation: Tensor, state: Tensor) -> Tensor:
        """One token of a few sequences, five kernels.

        They load weights before the kernel before has ended, so these must be those made for inference.
        """
        dtype = compute_dtype(hidden)
        weights = self._gate_up(dtype), self._down(dtype), self._qkv(dtype), self._output(dtype)
        gated = norm_gate_unit(hidden, self.norm1.scale, weights[0], self.cgu.act.bias, self.cgu.act.beta)
        total = project(gated, weights[1], hidden, self.cgu_scale, None, None)
        qkv, logits = norm_memory_inputs(total, self.norm2.scale, weights[2], self._gates())
        retrieved = self._memory_step(qkv, logits, rotation, state, ahead=True)
        return project(retrieved, weights[3], total, None, None, None)

    def _wide_step(self, stream: Tensor, branch: Tensor | None, rotation: Tensor, state: Tensor) -> Hidden:
        """One token of many sequences, by matrix products: hand-written kernels for some tens, cuBLAS beyond."""
        dtype = compute_dtype(stream)
        if branch is None:
            total, normed = stream, norm(stream, self.norm1.scale, dtype)
        else:
            total, normed = add_norm(stream, branch, None, self.norm1.scale, dtype)
        activation = self.cgu.act
        some = some_sequences(stream.shape[0], stream.shape[-1], dtype)
        if some:
            gated = gate_product(normed, self._gate_up(dtype), activation.bias, activation.beta)
            added = self._whole(partial_products(gated, self._down(dtype)))
        else:
            gate_up = (rows(normed) @ self._gate_up(dtype).mT).view(*stream.shape[:2], 2, 2, -1)
            gated = gate_unit(gate_up, activation.bias, activation.beta)
            added = self._whole((rows(gated) @ self._down(dtype).mT).view(stream.shape))
        total, normed, logits = add_norm_gates(total, added, self.cgu_scale, self.norm2.scale, self._gates(), dtype)
        if some:
            qkv = product(normed, self._qkv(dtype))
            retrieved = self._memory_step(qkv, logits, rotation, state, ahead=True)
            return total, self._whole(partial_products(retrieved, self._output(dtype)))
        qkv = (rows(normed) @ self._qkv(dtype).mT).view(*stream.shape[:2], 2, -1)
        retrieved = self._memory_step(qkv, logits, rotation, state, ahead=False)
        return total, self._whole((rows(retrieved) @ self._output(dtype).mT).view(stream.shape))

    def _whole(self, product: Tensor) -> Tensor:
        """The sum over ranks of a product, [B, 1, 2, D], or of its parts [n, B, 1, 2, D]."""
        if self.group is None:
            return product
        parts = product.ndim > 4
        total = summed(product.sum(0) if parts else product, self.group)
        return total.unsqueeze(0) if parts else total

    def _memory_step(self, qkv: Tensor, logits: Tensor, rotation: Tensor, state: Tensor, *, ahead: bool) -> Tensor:
        return memory_step(qkv, logits, rotation[0], rotation[1], state, ahead, self.pam.state_dt_offset)

    def _gates(self) -> list[Tensor]:
        step, protect, phase = self.pam.dt_proj, self.pam.protect_gate, self.pam.phase_proj
        of_phases = [] if phase is None else [phase.weight, phase.bias]
        return [step.weight, step.bias, self.pam.dt_bias, protect.weight, protect.bias, *of_phases]

    def _gate_up(self, dtype: torch.dtype) -> Tensor:
        return _block(self.fused_gate_up, (self.cgu.gate_proj, self.cgu.up_proj), None, dtype)

    def _down(self, dtype: torch.dtype) -> Tensor:
        return _block(self.fused_down, (self.cgu.down_proj,), None, dtype)

    def _qkv(self, dtype: torch.dtype) -> Tensor:
        return _block(self.fused_qkv, (self.pam.qkv_proj,), None, dtype)

    def _output(self, dtype: torch.dtype) -> Tensor:
        return _block(self.fused_output, (self.pam.o_proj,), self.pam_scale, dtype)


def _block(
    fused: Tensor | None, maps: Sequence[ComplexLinearParameters], scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The block matrix made for inference, or one made now."""
    if fused is not None:
        return fused
    return block_weight([linear.weight_real for linear in maps], [linear.weight_imag for linear in maps], scale, dtype)


def joined(hidden: Hidden) -> Tensor:
    """The residual stream [B, T, 2, D] with what was still to be added, in its own dtype."""
    if isinstance(hidden, Tensor):
        return hidden
    stream, branch = hidden
    return stream + (branch.sum(0) if branch.ndim > stream.ndim else branch).to(stream.dtype)


def fused_norm(hidden: Hidden, scale: Tensor) -> Tensor:
    """Complex norm [B, T, 2, D] of a residual stream or a pair, differentiable, in the dtype of products."""
    stream, branch = hidden if isinstance(hidden, tuple) else (hidden, None)
    dtype = compute_dtype(stream)
    if torch.is_grad_enabled():
        normed: Tensor = FusedNormFunction.apply(stream, branch, scale, dtype)
        return normed
    return norm(stream, scale, dtype) if branch is None else add_norm(stream, branch, None, scale, dtype)[1]


def project_token(hidden: Tensor, weight: Tensor, bias_real: Tensor, bias_imag: Tensor) -> Tensor:
    """W x + b of planes [B, 1, 2, K] by a block matrix [2 N, 2 K]: planes [B, 1, 2, N]."""
    if few_sequences(hidden.shape[0], hidden.shape[-1]):
        return project(hidden, weight, None, None, bias_real, bias_imag)
    product = functional.linear(rows(hidden), weight, torch.cat((bias_real, bias_imag)))
    return product.view(*hidden.shape[:-1], -1)
