"""The real twin of PAM: the same block over real tensors, which isolates complex arithmetic from the architecture.

Every complex element has its real counterpart: a root-mean-square norm; a gate unit sigmoid(g) · act(u), with act the
swish u sigmoid(beta u + b) or relu(u + b); rotary positions on pairs of channels (j, j + d/2) at 10000^(-2j/d); the
same dt, protect gate and decay; a real d x d state S_t = decay_t S_{t-1} + v_t k_t^T read by q_t / sqrt(d). What is
read from each of several states is multiplied by 1 + phi, which at phi = 0, where training starts, is 1 and moves with
phi as exp(i phi) does, along the one axis real numbers have. It runs
to the same standard as planar PAM: fused products, the same chunk-parallel core, the same precision policy.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim, N chunks, C chunk.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.autograd import Function
from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE, ChunkCore, core_forward, final_state
from pamprof.workloads.layers.recurrent.chunks.decay import states_in_chunks
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write, read_phases
from pamprof.workloads.layers.recurrent.epsilons import NORM_EPSILON
from pamprof.workloads.layers.recurrent.parameters import (
    ActivationParameters,
    DecayParameters,
    MatrixParameters,
    NormParameters,
)
from pamprof.workloads.layers.recurrent.precision import compute_dtype, in_float32, keep
from pamprof.workloads.parallel.sums import entering, summed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from pamprof.records import LayerSpec


class RealGateUnitParameters(nn.Module):
    """gate_proj and up_proj D -> h, act, down_proj h -> D."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.gate_proj = MatrixParameters(spec.model_dim, spec.hidden_dim)
        self.up_proj = MatrixParameters(spec.model_dim, spec.hidden_dim)
        self.down_proj = MatrixParameters(spec.hidden_dim, spec.model_dim)
        self.act = ActivationParameters(spec.hidden_dim, swish=spec.activation == "swish")


class RealMemoryParameters(DecayParameters):
    """qkv_proj D -> 3 H d and o_proj H d -> D beside the decay's parameters."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, row_width=spec.model_dim)
        inner = spec.heads * spec.head_dim
        self.qkv_proj = MatrixParameters(spec.model_dim, 3 * inner)
        self.o_proj = MatrixParameters(inner, spec.model_dim)


def real_norm(hidden: Tensor, scale: Tensor) -> Tensor:
    """Scale · x / sqrt(mean x² + 1e-6), in the dtype the products after it want."""
    normed = functional.rms_norm(hidden, (hidden.shape[-1],), scale.to(hidden.dtype), NORM_EPSILON)
    return normed.to(compute_dtype(hidden))


class RealBlock(nn.Module):
    """One block: norm1 and gate_unit with cgu_scale, norm2 and memory with pam_scale.

    ``group`` are the ranks that share its heads and channels; None for one device that has all.
    """

    group: ProcessGroup | None = None
    partial_gradients = ("cgu_scale", "pam_scale")  # which training multiplies into weights

    fused_gate_up: Tensor | None

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.heads, self.head_dim, self.dropout = spec.heads, spec.head_dim, spec.dropout
        self.norm1 = NormParameters(spec.model_dim)
        self.gate_unit = RealGateUnitParameters(spec)
        self.cgu_scale = nn.Parameter(torch.empty(()))
        self.norm2 = NormParameters(spec.model_dim)
        self.memory = RealMemoryParameters(spec)
        self.pam_scale = nn.Parameter(torch.empty(()))
        self.register_buffer("fused_gate_up", None, persistent=False)

    def fuse_weights(self) -> None:
        """Stack gate and upward weight once, for inference; the parameters become views of the stack."""
        gate, up = self.gate_unit.gate_proj.weight, self.gate_unit.up_proj.weight
        with torch.no_grad():
            self.fused_gate_up = torch.cat((gate, up))
            gate.data, up.data = self.fused_gate_up.chunk(2)

    def forward(self, hidden: Tensor, rotation: Tensor, state: Tensor | None = None, begins: bool = True) -> Tensor:
        """The block on ``hidden`` [B, T, D].

        Args:
            hidden: Residual stream.
            rotation: Cosines and sines [2, T, d / 2] of the positions' angles.
            state: S^T, [B, H, d_k, d_v], replaced in place by the state after the last token; None keeps nothing.
            begins: Whether the sequence begins here, so that what ``state`` held is ignored.
        """
        normed = entering(real_norm(hidden, self.norm1.scale), self.group)
        weight = self.fused_gate_up
        if weight is None:
            dtype = compute_dtype(normed)
            weight = torch.cat((self.gate_unit.gate_proj.weight.to(dtype), self.gate_unit.up_proj.weight.to(dtype)))
        gated = real_gate(functional.linear(normed, weight), self.gate_unit.act.bias, self.gate_unit.act.beta)
        hidden = self._add(hidden, gated, self.gate_unit.down_proj.weight, self.cgu_scale)
        normed = entering(real_norm(hidden, self.norm2.scale), self.group)
        retrieved = self._remember(normed, rotation, state, begins)
        return self._add(hidden, retrieved, self.memory.o_proj.weight, self.pam_scale)

    def _add(self, hidden: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """Hidden + scale · W x; in training the scale goes into the weight, as in planar PAM."""
        if not torch.is_grad_enabled():
            return hidden + scale * summed(functional.linear(x, weight.to(x.dtype)), self.group)
        output = summed(functional.linear(x, (scale * weight).to(x.dtype)), self.group)
        if self.dropout > 0:
            output = functional.dropout(output, self.dropout, self.training)
        return hidden + output

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        projected = functional.linear(x, self.memory.qkv_proj.weight.to(x.dtype))
        query, key, value = torch.unflatten(projected, -1, (3, self.heads, self.head_dim)).unbind(2)  # [B, T, H, d]
        size = x.abs()
        log_decay, write = log_decay_and_write(self.memory, x, size)
        phases = read_phases(self.memory, size)
        coefficients = None if phases is None else 1 + phases
        query, key = rotate_pairs(query, rotation), rotate_pairs(key, rotation)
        value = value * write.to(x.dtype).unsqueeze(-1)
        if state is not None and x.shape[1] == 1 and not begins:
            return _step(query, key, value, log_decay, coefficients=coefficients, state=state)
        return _all_chunks(query, key, value, log_decay, coefficients, state=state, begins=begins)


def rotate_pairs(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate channels (j, j + d/2) of ``x`` [B, T, H, d] by the angles in ``rotation`` [2, T, d / 2]."""
    first, second = x.chunk(2, -1)
    cosine, sine = rotation[:, :, None].unbind(0)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)


def real_gate(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """sigmoid(g) · act(u) for g and u beside each other in ``gate_up`` [..., 2 h]; ``bias`` and ``beta`` [h]."""
    if torch.is_grad_enabled():
        gated: Tensor = _RealGate.apply(gate_up, bias, beta)
        return gated
    return _gate_forward(gate_up, bias, beta)


def _gate_forward(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    gate, up = gate_up.chunk(2, -1)
    bias = bias.to(up.dtype)
    raised = torch.relu(up + bias) if beta is None else up * torch.sigmoid(torch.addcmul(bias, up, beta.to(up.dtype)))
    return torch.sigmoid(gate) * raised


class _RealGate(Function):
    """Keeps its inputs alone and recomputes, as planar PAM's gate does."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
        ctx.save_for_backward(gate_up, bias, beta)
        return _gate_forward(gate_up, bias, beta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        gate_up, bias, beta = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        opening = torch.sigmoid(gate)
        along = gradient * opening
        precise = torch.float64 if up.dtype == torch.float64 else torch.float32
        if beta is None:
            raised = torch.relu(up + bias.to(up.dtype))
            up_gradient = bias_terms = along * (raised > 0)
            beta_gradient = None
        else:
            slope = beta.to(up.dtype)
            weight = torch.sigmoid(torch.addcmul(bias.to(up.dtype), up, slope))
            raised = up * weight
            bias_terms = along * raised * (1 - weight)
            up_gradient = along * weight + bias_terms * slope
            beta_gradient = (bias_terms * up).flatten(0, -2).sum(0, dtype=precise).to(beta.dtype)
        gate_gradient = gradient * raised * opening * (1 - opening)
        bias_gradient = bias_terms.flatten(0, -2).sum(0, dtype=precise).to(bias.dtype)
        return torch.cat((gate_gradient, up_gradient), -1), bias_gradient, beta_gradient


def _all_chunks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    coefficients: Tensor | None,
    *,
    state: Tensor | None,
    begins: bool,
) -> Tensor:
    """[B, T, H d] read by the queries; all given as [B, T, H, d]; updates ``state``.

    Log decays are [B, T, H], or [B, T, H, K] as the coefficients of the reads.
    """
    length = log_decay.shape[1]
    chunk = min(CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    padding = chunks * chunk - length

    def in_chunks(x: Tensor) -> Tensor:
        """[B, T, H, ...] to contiguous [B, H, N, C, ...]."""
        padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, padding)) if padding else x
        return torch.unflatten(padded, 1, (chunks, chunk)).movedim(3, 1).contiguous()

    by_chunk = None if coefficients is None else states_in_chunks(coefficients.unsqueeze(-1), chunk, trailing=1)
    core = in_chunks(query), in_chunks(key), in_chunks(value), states_in_chunks(log_decay, chunk)
    if state is None:
        output: Tensor = ChunkCore.apply(*core, 1, by_chunk)
    else:
        before = None if begins else state
        output, _, written, _ = core_forward(*core, planes=1, initial_state=before, coefficients=by_chunk)
        state.copy_(final_state(written, *core[1:], planes=1, initial_state=before))
    return output.movedim(1, 3).flatten(1, 2)[:, :length].flatten(2)


def _step(
    query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, *, coefficients: Tensor | None, state: Tensor
) -> Tensor:
    """One token of the recurrence: [B, 1, H d] from [B, 1, H, d]; updates ``state`` [B, H, (K,) d_k, d_v] in place.

    A bfloat16 state is rounded once.
    """
    if coefficients is not None:
        key, value = key.unsqueeze(-2), value.unsqueeze(-2)
    held = in_float32(state)
    held.mul_(log_decay.squeeze(1).exp()[..., None, None])
    held.addcmul_(key.squeeze(1).to(held.dtype).unsqueeze(-1), value.squeeze(1).to(held.dtype).unsqueeze(-2))
    keep(state, held)
    row = query.transpose(1, 2)  # [B, H, 1, d]
    if coefficients is not None:
        row = (coefficients.squeeze(1).unsqueeze(-1) * row).flatten(2).unsqueeze(2)  # [B, H, 1, K d]
    row = row.to(held.dtype) / sqrt(held.shape[-2])
    with torch.autocast(held.device.type, enabled=False):
        read = row @ (held if coefficients is None else held.flatten(2, 3))
    return read.transpose(1, 2).flatten(2).to(query.dtype)
