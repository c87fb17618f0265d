"""The transformer's block and its cache: pre-norm, fused query-key-value product, preallocated keys and values.

Attention goes through the kernel that was the fastest for the workload's shape (see ``workloads.attention``); on a CPU,
and before one was chosen, through ``scaled_dot_product_attention`` in torch's own order. On an H200 with torch
2.11.0+cu130 cuDNN's flash kernel is the fastest of torch's three in bfloat16: forward at 12 heads of 56, B = 18,
T = 2048, causal takes 0.33 ms, against 0.61 ms (flash) and 1.08 ms (memory-efficient). Queries, keys and values come
from one product and reach it as strided views. The cache keeps each head's keys contiguous in time (a decode step
over 2,049 positions, B = 64, reads it in 105 us; laid out token by token, 120 us), and attention reads a slice of it
without a copy.

Axes: B batch, T time, D model_dim, H heads, d head_dim, M cached positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.attention.backends import attention, by_torch
from pamprof.workloads.attention.own_positions import attend_each
from pamprof.workloads.parallel.sums import entering, summed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from pamprof.records import LayerSpec
    from pamprof.workloads.attention.backends import Attend


class KeyValueCache:
    """Keys and values of every block, allocated once for ``maximum_length`` positions.

    One tensor [2, B, H, M, d] per block, keys before values: one storage each, so that a compiled block may update its
    own in place, and one copy writes both.
    """

    kind = "kv-cache"

    def __init__(
        self, *, depth: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.blocks = tuple(torch.zeros((2, *shape), dtype=dtype, device=device) for _ in range(depth))

    @classmethod
    def of(cls, blocks: tuple[Tensor, ...]) -> KeyValueCache:
        """The cache that these tensors [2, B, H, M, d] are."""
        made = cls.__new__(cls)
        made.blocks = blocks
        return made

    def byte_count(self) -> int:
        """Bytes of all keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.blocks)

    def randomise(self, generator: torch.Generator) -> None:
        """Standard normal keys and values; ``generator`` must live on the cache's device."""
        for tensor in self.blocks:
            tensor.normal_(generator=generator)


def shared_linear(linear: nn.Linear, x: Tensor, group: ProcessGroup | None) -> Tensor:
    """``linear`` of ``x``, whose columns the ranks of ``group`` share; the bias, which each has, is added once."""
    if group is None:
        output: Tensor = linear(x)
        return output
    output = summed(functional.linear(x, linear.weight), group)
    return output if linear.bias is None else output + linear.bias.to(output.dtype)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); every linear map and norm has a bias, as in GPT-2.

    ``group`` are the ranks that share its heads and channels; None for one device that has all.
    """

    group: ProcessGroup | None = None

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        width = spec.model_dim
        self.heads, self.head_dim = spec.heads, spec.head_dim
        self.dropout = spec.dropout
        self.attend: Attend = by_torch
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, spec.hidden_dim)
        self.down = nn.Linear(spec.hidden_dim, width)

    def forward(self, hidden: Tensor, cache: Tensor | None = None, position: int | Tensor = 0) -> Tensor:
        """The block on ``hidden`` [B, T, D]; a cache [2, B, H, M, d] is written at ``position`` and attended to.

        Single tokens may each have a position of their own [B].
        """
        hidden = hidden + self._drop(self._attend(entering(self.attention_norm(hidden), self.group), cache, position))
        activation = functional.gelu(self.up(entering(self.feed_forward_norm(hidden), self.group)))
        return hidden + self._drop(shared_linear(self.down, activation, self.group))

    def _attend(self, hidden: Tensor, cache: Tensor | None, position: int | Tensor) -> Tensor:
        batch, time, _ = hidden.shape
        projected: Tensor = self.query_key_value(hidden)
        parts = projected.view(batch, time, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        if cache is not None and isinstance(position, Tensor):
            attended = attend_each(query, parts[1:], cache, position)
            return shared_linear(self.attention_output, attended.transpose(1, 2).reshape(batch, time, -1), self.group)
        assert isinstance(position, int)
        if cache is not None:
            end = position + time
            cache[:, :, :, position:end] = parts[1:]
            if position > 0:
                key, value = cache[:, :, :, :end]
        dropout = self.dropout if self.training else 0.0
        attended = attention(query, key, value, dropout=dropout, attend=self.attend)
        return shared_linear(self.attention_output, attended.transpose(1, 2).reshape(batch, time, -1), self.group)

    def _drop(self, hidden: Tensor) -> Tensor:
        return functional.dropout(hidden, self.dropout, self.training) if self.dropout > 0 else hidden
