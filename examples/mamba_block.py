"""The block of Mamba as ``transformers`` has it: norm, mixer and residual, with a state that does not grow.

pamprof compare --layer transformer,mamba=examples/mamba_block.py:mamba_block --preset tiny
"""

from torch import nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaBlock


def mamba_block(width: int, state_size: int = 16) -> nn.Module:
    """[B, T, width] to [B, T, width]; without the kernels of ``mamba_ssm`` it runs as a loop over T."""
    block = MambaBlock(MambaConfig(hidden_size=width, state_size=state_size, num_hidden_layers=1), layer_idx=0)
    block.mixer.init_mamba_weights()  # a model does this when it is made
    return block
