"""A decoder layer of Llama as ``transformers`` has it; its rotary embedding is found in the same file of that package.

pamprof compare --layer transformer,llama_layer=examples/llama_decoder_layer.py:llama_decoder_layer --preset tiny
"""

from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer


def llama_decoder_layer(width: int, head_dim: int = 64, query_heads_each: int = 1) -> nn.Module:
    """[B, T, width] to [B, T, width]; ``query_heads_each`` heads share one of keys and values."""
    if width % 8:  # rows of 16 bytes, without which attention falls back to slower kernels
        raise ValueError(f"width {width} is no multiple of 8 channels")
    heads = next(count for count in range(width // head_dim or 1, 0, -1) if width % (8 * count) == 0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_attention_heads=heads,
        num_key_value_heads=heads // query_heads_each,
        num_hidden_layers=1,
    )
    return LlamaDecoderLayer(config, layer_idx=0)
