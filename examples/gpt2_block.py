"""The block of GPT-2 as ``transformers`` has it: a whole block, which decodes through its cache without code for it.

pamprof compare --layer transformer,gpt2=examples/gpt2_block.py:gpt2_block --preset tiny
"""

from torch import nn
from transformers import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Block


def gpt2_block(width: int, head_dim: int = 64) -> nn.Module:
    """[B, T, width] to [B, T, width] with heads of about ``head_dim`` channels, without dropout."""
    if width % 8:  # rows of 16 bytes, without which attention falls back to slower kernels
        raise ValueError(f"width {width} is no multiple of 8 channels")
    heads = next(count for count in range(width // head_dim or 1, 0, -1) if width % (8 * count) == 0)
    config = GPT2Config(hidden_size=width, num_attention_heads=heads, attn_pdrop=0.0, resid_pdrop=0.0)
    return GPT2Block(config, layer_idx=0)
