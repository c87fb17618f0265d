"""PAM with the structure of the published code, so that its measured speed is the published one.

Real and imaginary parts lie interleaved on the last axis, [..., D, 2]. Every complex product is four real ones on
strided slices, stacked again afterwards; a Python loop walks over chunks of ``spec.chunk_size``; one token costs a
recurrence of outer products. The many small kernels are what is being measured. As in the published code, norm,
activation and gate are one Triton kernel each without gradients on a GPU, and separate operators everywhere else.
Differences from the published code (github.com/gowrav-vishwakarma/qllm2, v7): no epsilon inside the logarithm of the
decay, the decay in float32 at all times, no reverse association (it is in no form of the paper), and a chunk loop that
can start from a memory.

Axes: B batch, T time, D model_dim, H heads, d head_dim, C chunk.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.complex_ops import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON
from pamprof.workloads.layers.pam_parameters import (
    ComplexLinearParameters,
    GateUnitParameters,
    MemoryParameters,
    PamBlockParameters,
)
from pamprof.workloads.layers.plane_ops import precise

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

if torch.cuda.is_available() and find_spec("triton") is not None:
    from pamprof.workloads.kernels.published_elementwise import fused_activation, fused_gate, fused_norm

    HAS_KERNELS = True
else:
    HAS_KERNELS = False

PUBLISHED_CHUNK_SIZE = 256


def _runs_kernels(z: Tensor) -> bool:
    return HAS_KERNELS and z.is_cuda and not torch.is_grad_enabled()


def product(a: Tensor, b: Tensor) -> Tensor:
    """Complex product of interleaved pairs [..., 2]."""
    a_real, a_imag = a.unbind(-1)
    b_real, b_imag = b.unbind(-1)
    real = a_real * b_real - a_imag * b_imag
    imag = a_real * b_imag + a_imag * b_real
    return torch.stack((real, imag), dim=-1)


def modulus(z: Tensor) -> Tensor:
    """sqrt(re² + im² + 1e-8) of pairs [..., 2], real [...]."""
    return torch.sqrt(z[..., 0].square() + z[..., 1].square() + MAGNITUDE_EPSILON)


def direction(z: Tensor, size: Tensor) -> Tensor:
    """Z / (|z| + 1e-8)."""
    return z / (size.unsqueeze(-1) + DIRECTION_EPSILON)


def norm(z: Tensor, scale: Tensor) -> Tensor:
    """Complex norm of pairs [..., D, 2]; statistics in float32."""
    if _runs_kernels(z):
        return fused_norm(z, scale)
    wide = precise(z)
    size = modulus(wide)
    root_mean_square = torch.sqrt(size.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)
    scaled = size / root_mean_square * scale
    return (direction(wide, size) * scaled.unsqueeze(-1)).to(z.dtype)


def linear(x: Tensor, maps: ComplexLinearParameters) -> Tensor:
    """W x + b as four real linear maps and a stack; pairs [..., in, 2] to [..., out, 2]."""
    real, imag = x[..., 0], x[..., 1]
    out_real = functional.linear(real, maps.weight_real) - functional.linear(imag, maps.weight_imag)
    out_imag = functional.linear(real, maps.weight_imag) + functional.linear(imag, maps.weight_real)
    if maps.bias_real is not None and maps.bias_imag is not None:
        out_real = out_real + maps.bias_real
        out_imag = out_imag + maps.bias_imag
    return torch.stack((out_real, out_imag), dim=-1)


def gate_unit(x: Tensor, maps: GateUnitParameters) -> Tensor:
    """Gate, activation and product as separate passes; pairs [..., D, 2]."""
    opened = linear(x, maps.gate_proj)
    raised = linear(x, maps.up_proj)
    if _runs_kernels(raised):
        raised = fused_activation(raised, maps.act.bias, maps.act.beta)
        return linear(fused_gate(opened, raised), maps.down_proj)
    size = modulus(raised)
    if maps.act.beta is None:
        activated = functional.relu(size + maps.act.bias)
    else:
        activated = size * torch.sigmoid(maps.act.beta * size + maps.act.bias)
    raised = direction(raised, size) * activated.unsqueeze(-1)
    size = modulus(opened)
    opened = direction(opened, size) * torch.sigmoid(size).unsqueeze(-1)
    return linear(product(opened, raised).to(x.dtype), maps.down_proj)


class PublishedBlock(PamBlockParameters):
    """One block over interleaved pairs."""

    causal: Tensor

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec)
        size = spec.chunk_size or PUBLISHED_CHUNK_SIZE
        self.register_buffer("causal", torch.ones(size, size).tril(), persistent=False)

    def forward(self, hidden: Tensor, rotation: Tensor, state: Tensor | None = None, begins: bool = True) -> Tensor:
        """The block on ``hidden`` [B, T, D, 2], with ``rotation`` [T, d, 2].

        ``state`` [B, H, d_v, d_k, 2] is replaced in place; what it held is ignored where the sequence ``begins``.
        """
        gated = gate_unit(norm(hidden, self.norm1.scale), self.cgu)
        hidden = hidden + self._drop(gated) * self.cgu_scale
        remembered = self._remember(norm(hidden, self.norm2.scale), rotation, state, begins)
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
        v = v * write.to(v.dtype).unsqueeze(-1).unsqueeze(-1)
        q = q * self.head_dim**-0.5
        if state is not None and length == 1 and not begins:
            y = step(q, k, v, decay, state)
        else:
            y, final = chunk_loop(q, k, v, decay, memory=None if begins else state, causal=self.causal)
            if state is not None:
                state.copy_(final)
        y = y.transpose(1, 2).contiguous().view(batch, length, self.heads * self.head_dim, 2)
        return linear(y.to(x.dtype), self.pam.o_proj)


def decay_and_write(pam: MemoryParameters, x: Tensor) -> tuple[Tensor, Tensor]:
    """Decay exp(-dt)(1 - p) + p and written share 1 - p, both [B, H, T] in float32."""
    row = torch.cat((x[..., 0], x[..., 1]), dim=-1)
    step_logits = functional.linear(row, pam.dt_proj.weight.to(row.dtype))
    dt = functional.softplus(precise(step_logits).transpose(1, 2) + (pam.dt_proj.bias + pam.dt_bias).unsqueeze(-1))
    gate_logits = functional.linear(modulus(x).to(x.dtype), pam.protect_gate.weight.to(row.dtype))
    protected = torch.sigmoid(precise(gate_logits).transpose(1, 2) + pam.protect_gate.bias.unsqueeze(-1))
    return torch.exp(-dt) * (1 - protected) + protected, 1 - protected


def chunk_loop(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, *, memory: Tensor | None, causal: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs [B, H, T, d, 2] and final memory [B, H, d, d, 2], one chunk after another.

    ``q`` is scaled already; ``causal`` [C, C] is 1 on and below the diagonal and sets the chunk size.
    """
    chunk_size = causal.shape[0]
    outputs = []
    for start in range(0, q.shape[2], chunk_size):
        end = min(start + chunk_size, q.shape[2])
        q_chunk, k_chunk, v_chunk = q[:, :, start:end], k[:, :, start:end], v[:, :, start:end]
        length = end - start
        y, written = _one_chunk(q_chunk, k_chunk, v_chunk, decay[:, :, start:end], causal[:length, :length])
        log_decay = _logarithm(decay[:, :, start:end])
        cumulative = torch.exp(torch.cumsum(log_decay, dim=-1))
        if memory is not None:
            y = y + _read_memory(memory.to(q.dtype), q_chunk, cumulative)
            memory = memory * cumulative[:, :, -1, None, None, None] + written
        else:
            memory = written
        outputs.append(y)
    assert memory is not None
    return torch.cat(outputs, dim=2), memory


def _logarithm(decay: Tensor) -> Tensor:
    """log(decay); a zero counts as the smallest normal number, which no product tells from zero."""
    return torch.log(decay.clamp_min(torch.finfo(decay.dtype).tiny))


def _one_chunk(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
    """Output of a chunk from its own tokens, and what it writes, decayed to its end."""
    cumulative = torch.cumsum(_logarithm(decay), dim=-1)
    difference = (cumulative.unsqueeze(-1) - cumulative.unsqueeze(-2)).clamp(max=0.0)
    weights = torch.exp(difference) * causal
    q_real, q_imag, k_real, k_imag = q[..., 0], q[..., 1], k[..., 0], k[..., 1]
    v_real, v_imag = v[..., 0], v[..., 1]
    real = q_real @ k_real.transpose(-1, -2) + q_imag @ k_imag.transpose(-1, -2)
    imag = q_imag @ k_real.transpose(-1, -2) - q_real @ k_imag.transpose(-1, -2)
    real, imag = (real * weights).to(v.dtype), (imag * weights).to(v.dtype)
    y = torch.stack((real @ v_real - imag @ v_imag, real @ v_imag + imag @ v_real), dim=-1)
    last = weights[:, :, -1].unsqueeze(-1)
    v_real, v_imag = (v_real * last).to(v.dtype), (v_imag * last).to(v.dtype)
    written_real = v_real.transpose(-1, -2) @ k_real + v_imag.transpose(-1, -2) @ k_imag
    written_imag = v_imag.transpose(-1, -2) @ k_real - v_real.transpose(-1, -2) @ k_imag
    return y, torch.stack((written_real, written_imag), dim=-1)


def _read_memory(memory: Tensor, q: Tensor, cumulative: Tensor) -> Tensor:
    """What the queries of a chunk read from the memory before it."""
    m_real, m_imag = memory[..., 0], memory[..., 1]
    q_real, q_imag = q[..., 0].transpose(-1, -2), q[..., 1].transpose(-1, -2)
    real = (m_real @ q_real - m_imag @ q_imag).transpose(-1, -2)
    imag = (m_real @ q_imag + m_imag @ q_real).transpose(-1, -2)
    decay = cumulative.unsqueeze(-1)
    return torch.stack((real * decay, imag * decay), dim=-1)


def step(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, state: Tensor) -> Tensor:
    """One token [B, H, 1, d, 2]: decay the memory, write an outer product, read; ``state`` updated in place."""
    q_now, k_now, v_now = (x[:, :, 0].to(state.dtype) for x in (q, k, v))
    conjugate = torch.stack((k_now[..., 0], -k_now[..., 1]), dim=-1)
    written = product(v_now.unsqueeze(-2), conjugate.unsqueeze(-3))
    memory = state * decay[:, :, 0, None, None, None] + written
    state.copy_(memory)
    m_real, m_imag = memory.flatten(0, 1).unbind(-1)
    q_real, q_imag = q_now.flatten(0, 1).unsqueeze(2).unbind(-1)
    real = torch.bmm(m_real, q_real) - torch.bmm(m_imag, q_imag)
    imag = torch.bmm(m_real, q_imag) + torch.bmm(m_imag, q_real)
    return torch.stack((real, imag), dim=-1).view(q.shape).to(q.dtype)
