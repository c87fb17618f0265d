"""A recurrent layer of torch in ten lines: the whole file is what a layer of your own takes.

pamprof compare --layer transformer,gru=examples/gru.py:gru --preset tiny
"""

from torch import nn


def gru(width: int, **options: int) -> nn.Module:
    """[B, T, width] to [B, T, width]; the carrier adds norms, residual and feed-forward."""
    return nn.GRU(width, width, batch_first=True, **options)
