"""A block whose feed-forward is computed again in the backward pass: less memory for more operations.

pamprof compare --layer transformer,checkpointed=examples/checkpointed_block.py:checkpointed_block --preset tiny
"""

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """[B, T, width] to [B, T, width]."""

    carrier = "block"  # it has norms, residuals and feed-forward of its own

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Causal attention, then the feed-forward, which keeps its input alone for the backward pass."""
        parts = self.query_key_value(self.attention_norm(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).flatten(-2))
        if self.training:
            return x + checkpoint(self.feed_forward, x, use_reentrant=False, preserve_rng_state=False)
        return x + self.feed_forward(x)


def checkpointed_block(width: int, heads: int = 4) -> nn.Module:
    """The block; a width that ``heads`` do not divide fails in its first forward pass, and a match steps over it."""
    return Block(width, heads)
