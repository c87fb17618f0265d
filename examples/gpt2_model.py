"""A whole language model of ``transformers``: a factory that takes ``vocabulary_size`` makes one, and has no carrier.

pamprof compare --layer transformer,gpt2_model=examples/gpt2_model.py:gpt2_model --preset tiny
"""

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


def gpt2_model(
    width: int, depth: int, vocabulary_size: int, maximum_sequence_length: int, head_dim: int = 64
) -> nn.Module:
    """Token ids [B, T] to logits [B, T, vocabulary_size]."""
    if width % 8:  # rows of 16 bytes, without which attention falls back to slower kernels
        raise ValueError(f"width {width} is no multiple of 8 channels")
    heads = next(count for count in range(width // head_dim or 1, 0, -1) if width % (8 * count) == 0)
    config = GPT2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        vocab_size=vocabulary_size,
        max_position_embeddings=maximum_sequence_length,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config)
