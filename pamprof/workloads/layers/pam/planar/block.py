"""PAM over separate real planes: few large products, all chunks side by side, no stacked or transposed copies.

The fastest form found in plain torch. The hidden sequence is [B, T, 2, D], so that a token's row [re | im] feeds one
real block product per linear map without moving anything; gate and upward map share one product, as do queries, keys
and values. The recurrence is ``ChunkCore``. The logarithm of the decay is computed directly, never from the decay, so
that it stays finite and exact where the decay itself would underflow.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim, N chunks, C chunk.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters, PamBlockParameters
from pamprof.workloads.layers.pam.planar.products import (
    ComplexProduct,
    FourProducts,
    ThreeProducts,
    fuse_once,
    joint_weights,
    turned_sum,
)
from pamprof.workloads.layers.pam.planar.stages import plane_gate, plane_magnitude, plane_norm
from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE, ChunkCore, core_forward, final_state
from pamprof.workloads.layers.recurrent.chunks.decay import states_in_chunks
from pamprof.workloads.layers.recurrent.chunks.planes import product
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write, read_phases
from pamprof.workloads.layers.recurrent.precision import compute_dtype, in_float32, keep
from pamprof.workloads.parallel.sums import entering, summed

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


class MemoryInputs(NamedTuple):
    """What the recurrence takes: planes [B, T, H, d], log decays [B, T, H], of several states [B, T, H, K].

    Several states have coefficients of their reads as planes [B, T, H, K, 2], one has none.
    """

    queries: tuple[Tensor, Tensor]
    keys: tuple[Tensor, Tensor]
    values: tuple[Tensor, Tensor]
    log_decay: Tensor
    coefficients: Tensor | None


class PlanarBlock(PamBlockParameters):
    """One block over planes; ``product`` says how its complex linear maps are computed."""

    product: ComplexProduct = FourProducts()
    partial_gradients = ("cgu_scale", "pam_scale")  # which training multiplies into weights
    fused_gate_up: Tensor | None
    fused_down: Tensor | None
    fused_qkv: Tensor | None
    fused_output: Tensor | None

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec)
        for name in ("fused_gate_up", "fused_down", "fused_qkv", "fused_output"):
            self.register_buffer(name, None, persistent=False)

    def fuse_weights(self) -> None:
        """Make the fused weights once, for inference, in the dtype of the weights."""
        dtype = self.cgu.up_proj.weight_real.dtype
        self.fused_gate_up = fuse_once(self.product, (self.cgu.gate_proj, self.cgu.up_proj), dtype)
        self.fused_down = fuse_once(self.product, (self.cgu.down_proj,), dtype)
        self.fused_qkv = fuse_once(self.product, (self.pam.qkv_proj,), dtype)
        self.fused_output = fuse_once(self.product, (self.pam.o_proj,), dtype)

    def forward(self, hidden: Tensor, rotation: Tensor, state: Tensor | None = None, begins: bool = True) -> Tensor:
        """The block on ``hidden`` [B, T, 2, D].

        Args:
            hidden: Planes of the residual stream.
            rotation: Cosines and sines [2, T, d] of the positions' angles.
            state: [B, H, d, 2 d] or [B, H, K, d, 2 d] before the first token; replaced in place by the state after the
                last. None keeps nothing, the differentiable case.
            begins: Whether the sequence begins here, so that what ``state`` held is ignored.
        """
        normed = entering(plane_norm(hidden, self.norm1.scale), self.group)
        gate_up = self._linear(normed, self.fused_gate_up, self.cgu.gate_proj, self.cgu.up_proj)
        gated = plane_gate(torch.unflatten(gate_up, -1, (2, -1)), self.cgu.act.bias, self.cgu.act.beta)
        hidden = self._add(hidden, gated, self.cgu.down_proj, self.fused_down, self.cgu_scale)
        normed = entering(plane_norm(hidden, self.norm2.scale), self.group)
        retrieved = self._remember(normed, rotation, state, begins)
        return self._add(hidden, retrieved, self.pam.o_proj, self.fused_output, self.pam_scale)

    def _linear(self, x: Tensor, fused: Tensor | None, *maps: ComplexLinearParameters) -> Tensor:
        if fused is None:
            fused = self.product.fuse(*joint_weights(maps, compute_dtype(x)))
        return self.product.apply(x, fused)

    def _add(
        self, hidden: Tensor, x: Tensor, linear: ComplexLinearParameters, fused: Tensor | None, scale: Tensor
    ) -> Tensor:
        """Hidden + scale · W x. In training the scale goes into the weight, whose gradient then yields the scale's.

        A scale on the activations would cost another pass over both of them in backward.
        """
        if fused is not None:
            return hidden + scale * summed(self.product.apply(x, fused), self.group)
        output = self.product.apply(x, self.product.fuse(*joint_weights((linear,), compute_dtype(x), scale)))
        output = summed(output, self.group)
        if self.dropout > 0:
            output = functional.dropout(output, self.dropout, self.training)
        return hidden + output

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        """Retrieved planes [B, T, 2, H d] for normed planes ``x``."""
        given = self._memory_inputs(x, rotation)
        if state is not None and x.shape[1] == 1 and not begins:
            return plane_memory_step(given, state)
        return _all_chunks(given, state=state, begins=begins)

    def _memory_inputs(self, x: Tensor, rotation: Tensor) -> MemoryInputs:
        """What the recurrence takes for normed planes ``x`` [B, T, 2, D]."""
        projected = self._linear(x, self.fused_qkv, self.pam.qkv_proj)
        projected = torch.unflatten(projected, -1, (3, self.heads, self.head_dim))  # [B, T, 2, 3, H, d]
        (q_real, k_real, v_real), (q_imag, k_imag, v_imag) = (plane.unbind(-3) for plane in projected.unbind(2))
        cosine, sine = rotation[:, :, None].unbind(0)
        size = plane_magnitude(x)
        log_decay, write = log_decay_and_write(self.pam, x.flatten(-2), size)
        phases = read_phases(self.pam, size)
        write = write.to(x.dtype).unsqueeze(-1)
        return MemoryInputs(
            queries=(q_real * cosine - q_imag * sine, q_real * sine + q_imag * cosine),
            keys=(k_real * cosine - k_imag * sine, k_real * sine + k_imag * cosine),
            values=(v_real * write, v_imag * write),
            log_decay=log_decay,
            coefficients=None if phases is None else torch.stack((phases.cos(), phases.sin()), -1),
        )


class GaussBlock(PlanarBlock):
    """The planar block with three products per complex linear map."""

    product: ComplexProduct = ThreeProducts()


def _all_chunks(given: MemoryInputs, *, state: Tensor | None, begins: bool) -> Tensor:
    """Planes [B, T, 2, H d] read by the queries; updates ``state``."""
    queries, keys, values, log_decay, coefficients = given
    length, head_dim = log_decay.shape[1], queries[0].shape[-1]
    chunk = min(CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    padding = chunks * chunk - length

    def in_chunks(*planes: Tensor) -> Tensor:
        """[B, T, H, d] planes to [B, H, N, C · rows, 2 d], rows of two planes stacked along the chunk."""
        stacked = torch.stack(planes, 3)
        if padding:
            stacked = functional.pad(stacked, (0, 0) * 3 + (0, padding))
        rows = torch.unflatten(torch.unflatten(stacked, 3, (-1, 2)), 1, (chunks, chunk))  # [B, N, C, H, rows, 2, d]
        return rows.permute(0, 3, 1, 4, 2, 5, 6).flatten(5).flatten(3, 4)

    def with_turned(planes: tuple[Tensor, Tensor]) -> Tensor:
        return in_chunks(planes[0], planes[1], -planes[1], planes[0])

    by_chunk = None if coefficients is None else states_in_chunks(coefficients, chunk, trailing=1)
    core = in_chunks(*queries), with_turned(keys), with_turned(values), states_in_chunks(log_decay, chunk)
    if state is None:
        output: Tensor = ChunkCore.apply(*core, 2, by_chunk)
    else:
        before = None if begins else state
        output, _, written, _ = core_forward(*core, planes=2, initial_state=before, coefficients=by_chunk)
        state.copy_(final_state(written, *core[1:], planes=2, initial_state=before))
    planes = torch.unflatten(output, -1, (2, head_dim)).permute(0, 2, 3, 4, 1, 5)  # [B, N, C, 2, H, d]
    return planes.flatten(1, 2)[:, :length].flatten(3)


def plane_memory_step(given: MemoryInputs, state: Tensor) -> Tensor:
    """One token of the recurrence: planes [B, 1, 2, H d] read by its query; updates ``state`` in place.

    The state is S^T as planes [B, H, d_k, 2 d_v]: a query row times it needs no transpose. Several states
    [B, H, K, d_k, 2 d_v] are read by one row too, the query once for each, times its coefficient. A bfloat16 state is
    rounded once a token.
    """
    queries, keys, values, log_decay, coefficients = given
    held = in_float32(state)
    if coefficients is not None:
        keys = keys[0].unsqueeze(-2), keys[1].unsqueeze(-2)
        values = values[0].unsqueeze(-2), values[1].unsqueeze(-2)
    key_real, key_imag = (plane.squeeze(1).to(held.dtype).unsqueeze(-1) for plane in keys)
    value_real, value_imag = (plane.squeeze(1).to(held.dtype) for plane in values)
    value = torch.cat((value_real, value_imag), -1).unsqueeze(-2)
    turned_value = torch.cat((-value_imag, value_real), -1).unsqueeze(-2)
    held.mul_(log_decay.squeeze(1).exp()[..., None, None])
    held.addcmul_(key_real, value).addcmul_(key_imag, turned_value, value=-1)
    keep(state, held)
    query = torch.cat(queries, 1).transpose(1, 2)  # [B, H, 2, d]
    if coefficients is not None:
        turned = product(coefficients.squeeze(1).unsqueeze(-1), query.unsqueeze(2))  # [B, H, K, 2, d]
        query = turned.transpose(2, 3).flatten(3)
    query = query.to(held.dtype) / sqrt(held.shape[-2])
    with torch.autocast(held.device.type, enabled=False):
        rows = query @ (held if coefficients is None else held.flatten(2, 3))
    planes = turned_sum(torch.unflatten(rows, -1, (2, -1)))  # [B, H, 2, d]
    return planes.transpose(1, 2).flatten(2).unsqueeze(1).to(queries[0].dtype)
