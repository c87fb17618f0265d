"""The block of GPT-2 as ``transformers`` has it: a whole block, which decodes through its cache without code for it.

pamprof compare --layer transformer,gpt2=examples/gpt2_block.py:gpt2_block --preset tiny
"""

from torch import nn
from transformers import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Block


def gpt2_block(width: int, head_dim: int = 64) -> nn.Module:
    """[B, T, width] to [B, T, width] with heads of ``head_dim`` channels, without dropout."""
    heads = max(1, width // head_dim)
    config = GPT2Config(hidden_size=width, num_attention_heads=heads, attn_pdrop=0.0, resid_pdrop=0.0)
    return GPT2Block(config, layer_idx=0)
