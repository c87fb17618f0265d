"""Attention and a mixture of experts whose products are one ``grouped_mm``, with as many operations as one expert.

pamprof compare --layer transformer,moe=examples/mixture_of_experts.py:mixture_of_experts --preset tiny
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Experts(nn.Module):
    """Every token goes to the expert that its router likes best; [N, width] to [N, width]."""

    def __init__(self, width: int, experts: int, hidden: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(0.02 * torch.randn(experts, width, hidden))
        self.down = nn.Parameter(0.004 * torch.randn(experts, hidden, width))  # GPT-2's, before a residual of 12 blocks

    def forward(self, x: Tensor) -> Tensor:
        """Tokens sorted by expert, two grouped products, and back into their order."""
        weight, chosen = functional.softmax(self.router(x), dim=-1, dtype=torch.float32).max(-1)
        order = chosen.argsort(stable=True)
        experts = torch.arange(self.up.shape[0], device=x.device)
        ends = (chosen[:, None] == experts).sum(0).cumsum(0).to(torch.int32)
        dtype = x.dtype if x.device.type == "cpu" else torch.bfloat16  # what its kernel on a GPU multiplies
        hidden = functional.grouped_mm(x[order].to(dtype), self.up.to(dtype), offs=ends)
        found = functional.grouped_mm(functional.gelu(hidden), self.down.to(dtype), offs=ends)
        return torch.empty_like(x).index_copy(0, order, found.to(x.dtype)) * weight[:, None].to(x.dtype)


class Block(nn.Module):
    """[B, T, width] to [B, T, width]."""

    carrier = "block"  # it has norms, residuals and feed-forward of its own

    def __init__(self, width: int, experts: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        if width % 8 or width % heads:  # rows of 16 bytes are what grouped_mm takes
            raise ValueError(f"width {width} is no multiple of 8 channels and of {heads} heads")
        self.attention_norm, self.experts_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.experts = Experts(width, experts, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Causal attention, then each token's expert."""
        parts = self.query_key_value(self.attention_norm(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).flatten(-2))
        return x + self.experts(self.experts_norm(x).flatten(0, 1)).view_as(x)


def mixture_of_experts(width: int, experts: int = 4, heads: int = 4) -> nn.Module:
    """The block; its parameters grow with ``experts``, its operations do not."""
    return Block(width, experts, heads)
