"""PAM with the structure of the published code, so that its measured speed is the published one.

Real and imaginary parts lie interleaved on the last axis, [..., D, 2]. Every complex product is four real ones on
strided slices, stacked again afterwards; a Python loop walks over chunks of ``spec.chunk_size``; one token costs a
recurrence of outer products and elementwise reads. The many small kernels are what is being measured; the elementwise
stages are in ``published_stages``. Differences from the published code (github.com/gowrav-vishwakarma/qllm2, v7): no
epsilon inside the logarithm of the decay, the decay in float32 at all times, no reverse association (it is in no form
of the paper), and a chunk loop that can start from a state. Several states a head are those of v11 in its fused form:
one matrix of mixed decays inside a chunk, and the states side by side.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim, C chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.pam.parameters import (
    ComplexLinearParameters,
    GateUnitParameters,
    PamBlockParameters,
    RecurrentParameters,
)
from pamprof.workloads.layers.pam.published.stages import activation, decay_matrix, gate, modulus, norm, product
from pamprof.workloads.layers.recurrent.decay_gates import read_phases
from pamprof.workloads.layers.recurrent.formulas import PUBLISHED_CHUNK_SIZE
from pamprof.workloads.layers.recurrent.precision import in_float32, precise
from pamprof.workloads.parallel.sums import entering, summed

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


def linear(x: Tensor, maps: ComplexLinearParameters) -> Tensor:
    """W x + b as four real linear maps and a stack; pairs [..., in, 2] to [..., out, 2]."""
    real, imag = real_rows(x), imag_rows(x)
    out_real = functional.linear(real, maps.weight_real) - functional.linear(imag, maps.weight_imag)
    out_imag = functional.linear(real, maps.weight_imag) + functional.linear(imag, maps.weight_real)
    if maps.bias_real is not None and maps.bias_imag is not None:
        out_real = out_real + maps.bias_real
        out_imag = out_imag + maps.bias_imag
    return torch.stack((out_real, out_imag), dim=-1).view(*x.shape[:-2], -1, 2)


def real_rows(x: Tensor) -> Tensor:
    """Real parts of pairs [..., n, 2] as rows [tokens, n], strided.

    Rows, because torch multiplies a strided tensor of more axes as a batch of products, which at a few tokens takes a
    kernel twice as slow; the published code escapes it by the cast autocast puts before each product.
    """
    return x.reshape(-1, *x.shape[-2:])[..., 0]


def imag_rows(x: Tensor) -> Tensor:
    """Imaginary parts of pairs [..., n, 2] as rows [tokens, n], strided."""
    return x.reshape(-1, *x.shape[-2:])[..., 1]


def gate_unit(x: Tensor, maps: GateUnitParameters) -> Tensor:
    """Gate, activation and product as separate stages; pairs [..., D, 2]."""
    opened = linear(x, maps.gate_proj)
    raised = activation(linear(x, maps.up_proj), maps.act.bias, maps.act.beta)
    return linear(gate(opened, raised), maps.down_proj)


class PublishedBlock(PamBlockParameters):
    """One block over interleaved pairs."""

    causal: Tensor

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec)
        size = spec.chunk_size or PUBLISHED_CHUNK_SIZE
        self.register_buffer("causal", torch.ones(size, size).tril(), persistent=False)

    def forward(self, hidden: Tensor, rotation: Tensor, state: Tensor | None = None, begins: bool = True) -> Tensor:
        """The block on ``hidden`` [B, T, D, 2], with ``rotation`` [T, d, 2].

        ``state`` [B, H, (K,) d_v, d_k, 2] is replaced in place; what it held is ignored where the sequence ``begins``.
        """
        gated = summed(gate_unit(entering(norm(hidden, self.norm1.scale), self.group), self.cgu), self.group)
        hidden = hidden + self._drop(gated) * self.cgu_scale
        normed = entering(norm(hidden, self.norm2.scale), self.group)
        remembered = summed(self._remember(normed, rotation, state, begins), self.group)
        return hidden + self._drop(remembered) * self.pam_scale

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout > 0 else x

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        batch, length = x.shape[:2]
        projected = linear(x, self.pam.qkv_proj).view(batch, length, 3, self.heads, self.head_dim, 2)
        q, k, v = (projected[:, :, i].transpose(1, 2).contiguous() for i in range(3))
        q = product(q, rotation)
        k = product(k, rotation)
        decay, write = decay_and_write(self.pam, x)
        coefficients = read_coefficients(self.pam, x)
        v = v * write.to(v.dtype).unsqueeze(-1).unsqueeze(-1)
        q = q * self.head_dim**-0.5
        if state is not None and length == 1 and not begins:
            y = step(q, k, v, decay, coefficients=coefficients, state=state)
        else:
            before = None if begins else state
            y, final = chunk_loop(q, k, v, decay, coefficients, state=before, causal=self.causal)
            if state is not None:
                state.copy_(final)
        y = y.transpose(1, 2).contiguous().view(batch, length, self.heads * self.head_dim, 2)
        return linear(y.to(x.dtype), self.pam.o_proj)


def decay_and_write(pam: RecurrentParameters, x: Tensor) -> tuple[Tensor, Tensor]:
    """Decay exp(-dt)(1 - p) + p and written share 1 - p, both [B, H, T] in float32; K decays [B, H, K, T]."""
    row = torch.cat((x[..., 0], x[..., 1]), dim=-1)
    step_logits = functional.linear(row, pam.dt_proj.weight.to(row.dtype))
    shifted = precise(step_logits).transpose(1, 2) + (pam.dt_proj.bias + pam.dt_bias).unsqueeze(-1)
    read = row if pam.gate_reads_parts else modulus(x).to(x.dtype)
    gate_logits = functional.linear(read, pam.protect_gate.weight.to(row.dtype))
    protected = torch.sigmoid(precise(gate_logits).transpose(1, 2) + pam.protect_gate.bias.unsqueeze(-1))
    write = 1 - protected
    if pam.state_dt_offset is not None:
        shifted = shifted.unsqueeze(2) + pam.state_dt_offset.unsqueeze(-1)
        protected = protected.unsqueeze(2)
    dt = functional.softplus(shifted)
    return torch.exp(-dt) * (1 - protected) + protected, write


def read_coefficients(pam: RecurrentParameters, x: Tensor) -> Tensor | None:
    """exp(i phi) of the reads of K states, pairs [B, H, K, T, 2] in float32; None for one state."""
    if pam.phase_proj is None:
        return None
    phases = read_phases(pam, modulus(x).to(x.dtype))
    assert phases is not None
    phases = phases.movedim(1, -1)
    return torch.stack((torch.cos(phases), torch.sin(phases)), dim=-1)


def chunk_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    coefficients: Tensor | None = None,
    *,
    state: Tensor | None,
    causal: Tensor,
) -> tuple[Tensor, Tensor]:
    """Outputs [B, H, T, d, 2] and final state [B, H, (K,) d, d, 2], one chunk after another.

    ``q`` is scaled already; ``causal`` [C, C] is 1 on and below the diagonal and sets the chunk size.
    """
    chunk_size = causal.shape[0]
    outputs = []
    for start in range(0, q.shape[2], chunk_size):
        end = min(start + chunk_size, q.shape[2])
        q_chunk, k_chunk, v_chunk = q[:, :, start:end], k[:, :, start:end], v[:, :, start:end]
        length = end - start
        own = None if coefficients is None else coefficients[..., start:end, :]
        y, written = _one_chunk(
            q_chunk, k_chunk, v_chunk, decay[..., start:end], coefficients=own, causal=causal[:length, :length]
        )
        log_decay = _logarithm(decay[..., start:end])
        cumulative = torch.exp(torch.cumsum(log_decay, dim=-1))
        if state is not None:
            y = y + _read_state(state, q_chunk, cumulative, own)
            state = state * cumulative[..., -1, None, None, None] + written
        else:
            state = written
        outputs.append(y)
    assert state is not None
    return torch.cat(outputs, dim=2), state


def _logarithm(decay: Tensor) -> Tensor:
    """log(decay); a zero counts as the smallest normal number, which no product tells from zero."""
    return torch.log(decay.clamp_min(torch.finfo(decay.dtype).tiny))


def _one_chunk(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, *, coefficients: Tensor | None, causal: Tensor
) -> tuple[Tensor, Tensor]:
    """Output of a chunk from its own tokens, and what it writes, decayed to its end."""
    weights = decay_matrix(torch.cumsum(_logarithm(decay), dim=-1), causal)
    q_real, q_imag, k_real, k_imag = q[..., 0], q[..., 1], k[..., 0], k[..., 1]
    v_real, v_imag = v[..., 0], v[..., 1]
    real = q_real @ k_real.transpose(-1, -2) + q_imag @ k_imag.transpose(-1, -2)
    imag = q_imag @ k_real.transpose(-1, -2) - q_real @ k_imag.transpose(-1, -2)
    if coefficients is None:
        real, imag = real * weights, imag * weights
    else:
        mixed_real = (coefficients[..., 0].unsqueeze(-1) * weights).sum(dim=2)
        mixed_imag = (coefficients[..., 1].unsqueeze(-1) * weights).sum(dim=2)
        real, imag = real * mixed_real - imag * mixed_imag, real * mixed_imag + imag * mixed_real
    y_real = _rounded_product(real, v_real) - _rounded_product(imag, v_imag)
    y_imag = _rounded_product(real, v_imag) + _rounded_product(imag, v_real)
    last = weights[..., -1, :].unsqueeze(-1)
    if coefficients is not None:
        k_real, k_imag, v_real, v_imag = (part.unsqueeze(2) for part in (k_real, k_imag, v_real, v_imag))
    v_real, v_imag = (v_real * last).transpose(-1, -2), (v_imag * last).transpose(-1, -2)
    written_real = _rounded_product(v_real, k_real) + _rounded_product(v_imag, k_imag)
    written_imag = _rounded_product(v_imag, k_real) - _rounded_product(v_real, k_imag)
    return torch.stack((y_real, y_imag), dim=-1), torch.stack((written_real, written_imag), dim=-1)


def _rounded_product(a: Tensor, b: Tensor) -> Tensor:
    """A b in the dtype of ``b``; ``a``, in float32, is rounded anew for each product, as autocast does there."""
    return a.to(b.dtype) @ b


def _read_state(state: Tensor, q: Tensor, cumulative: Tensor, coefficients: Tensor | None) -> Tensor:
    """What the queries of a chunk read from the state before it."""
    s_real, s_imag = state[..., 0], state[..., 1]
    if coefficients is not None:
        q = q.unsqueeze(2)
    q_real, q_imag = q[..., 0].transpose(-1, -2), q[..., 1].transpose(-1, -2)
    real = (_rounded_product(s_real, q_real) - _rounded_product(s_imag, q_imag)).transpose(-1, -2)
    imag = (_rounded_product(s_real, q_imag) + _rounded_product(s_imag, q_real)).transpose(-1, -2)
    decay = cumulative.unsqueeze(-1)
    read = torch.stack((real * decay, imag * decay), dim=-1)
    return read if coefficients is None else product(read, coefficients.unsqueeze(-2)).sum(dim=2)


def step(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, *, state: Tensor, coefficients: Tensor | None = None
) -> Tensor:
    """One token [B, H, 1, d, 2]: decay the state, write an outer product, read; ``state`` updated in place."""
    held = in_float32(state)  # rounded once, where it is stored
    q_now, k_now, v_now = (x[:, :, 0].to(held.dtype) for x in (q, k, v))
    conjugate = torch.stack((k_now[..., 0], -k_now[..., 1]), dim=-1)
    written = product(v_now.unsqueeze(-2), conjugate.unsqueeze(-3))
    if coefficients is not None:
        written, q_now = written.unsqueeze(2), q_now.unsqueeze(2)
    updated = held * decay[..., 0, None, None, None] + written
    state.copy_(updated)
    read = product(updated, q_now.unsqueeze(-3)).sum(dim=-2)
    if coefficients is not None:
        read = product(read, coefficients[..., 0, None, :]).sum(dim=2)
    return read.unsqueeze(2).to(q.dtype)
