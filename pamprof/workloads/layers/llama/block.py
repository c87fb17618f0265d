"""The Llama-style block: RMS norms, rotary positions, grouped-query attention, a SwiGLU gate unit, no biases.

Queries, keys and values come from one product, gate and upward map from another. Attention goes through the kernel that
was chosen for the workload, as the transformer's does; the kernels group queries themselves, so that each shared key is
read once and nothing is repeated in memory. The cache is the transformer's, with fewer heads.

Sources: Touvron et al., arXiv:2302.13971 (architecture); Su et al., arXiv:2104.09864 (rotary positions); Shazeer,
arXiv:2002.05202 (SwiGLU); Ainslie et al., arXiv:2305.13245 (grouped queries). Base of the rotary frequencies and
epsilon of the norms: configuration of meta-llama/Llama-3.2-1B on huggingface.co (rope_theta, rms_norm_eps); its
stretching of the frequencies for contexts beyond training changes no operation and is left out.

Axes: B batch, T time, D model_dim, H heads, K key and value heads, d head_dim, M cached positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.attention.backends import attention, by_torch
from pamprof.workloads.attention.own_positions import attend_each
from pamprof.workloads.layers.llama.formulas import key_value_heads
from pamprof.workloads.layers.transformer.block import shared_linear
from pamprof.workloads.parallel.sums import entering

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from pamprof.records import LayerSpec
    from pamprof.workloads.attention.backends import Attend

ROTARY_BASE = 500_000.0
NORM_EPSILON = 1e-5


def rotary_table(length: int, head_dim: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosines and sines [2, T, d/2] of positions 0 to ``length``, from angles computed in float64."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    angles = torch.arange(length, dtype=torch.float64, device=device).outer(ROTARY_BASE**-exponents)
    return torch.stack((angles.cos(), angles.sin())).to(dtype)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """``heads`` [B, T, n, d] turned by ``rotation`` [2, T, d/2] or [2, B, T, d/2]; channel i pairs with i + d/2."""
    cosine, sine = rotation.unsqueeze(-2).unbind(0)
    first, second = heads.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + down(silu(gate(norm(x))) * up(norm(x))).

    ``group`` are the ranks that share its heads and channels; None for one device that has all.
    """

    group: ProcessGroup | None = None

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        width = spec.model_dim
        inner = spec.heads * spec.head_dim
        self.heads, self.head_dim, self.key_value_heads = spec.heads, spec.head_dim, key_value_heads(spec)
        self.dropout = spec.dropout
        self.attend: Attend = by_torch
        self.attention_norm = nn.RMSNorm(width, eps=NORM_EPSILON)
        self.query_key_value = nn.Linear(width, inner + 2 * self.key_value_heads * spec.head_dim, bias=False)
        self.attention_output = nn.Linear(inner, width, bias=False)
        self.feed_forward_norm = nn.RMSNorm(width, eps=NORM_EPSILON)
        self.gate_up = nn.Linear(width, 2 * spec.hidden_dim, bias=False)
        self.down = nn.Linear(spec.hidden_dim, width, bias=False)

    def forward(
        self, hidden: Tensor, rotation: Tensor, cache: Tensor | None = None, position: int | Tensor = 0
    ) -> Tensor:
        """The block on ``hidden`` [B, T, D].

        Args:
            hidden: Residual stream.
            rotation: Cosines and sines [2, T, d/2] of the positions; cast to the dtype of the products under autocast.
            cache: Keys and values [2, B, K, M, d], written at ``position`` and attended to; None keeps nothing.
            position: Where ``hidden`` starts; of single tokens, where each is [B].
        """
        normed = entering(self.attention_norm(hidden), self.group)
        hidden = hidden + self._drop(self._attend(normed, rotation, cache, position))
        gate, up = self.gate_up(entering(self.feed_forward_norm(hidden), self.group)).chunk(2, -1)
        return hidden + self._drop(shared_linear(self.down, functional.silu(gate) * up, self.group))

    def _attend(self, hidden: Tensor, rotation: Tensor, cache: Tensor | None, position: int | Tensor) -> Tensor:
        batch, time, _ = hidden.shape
        projected: Tensor = self.query_key_value(hidden)
        heads = projected.view(batch, time, -1, self.head_dim)
        turned, value = torch.split(heads, [self.heads + self.key_value_heads, self.key_value_heads], 2)
        turned = rotate(turned, rotation.to(turned.dtype))
        query, key = torch.split(turned, [self.heads, self.key_value_heads], 2)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        if cache is not None and isinstance(position, Tensor):
            attended = attend_each(query, torch.stack((key, value)), cache, position)
            return shared_linear(self.attention_output, attended.transpose(1, 2).reshape(batch, time, -1), self.group)
        assert isinstance(position, int)
        if cache is not None:
            end = position + time
            # In one assignment: for two, the compiler copies the whole cache at every token.
            cache[:, :, :, position:end] = torch.stack((key, value))
            if position > 0:
                key, value = cache[:, :, :, :end]
        dropout = self.dropout if self.training else 0.0
        attended = attention(query, key, value, dropout=dropout, attend=self.attend)
        return shared_linear(self.attention_output, attended.transpose(1, 2).reshape(batch, time, -1), self.group)

    def _drop(self, hidden: Tensor) -> Tensor:
        return functional.dropout(hidden, self.dropout, self.training) if self.dropout > 0 else hidden
