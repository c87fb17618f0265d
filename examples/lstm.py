"""An LSTM that decodes: a subclass that says how its state looks and what one step is.

pamprof compare --layer transformer,lstm=examples/lstm.py:LSTM --preset tiny
"""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """[B, T, width] to [B, T, width], and one position at a time with the pair of its hidden and cell state."""

    def __init__(self, width: int, num_layers: int = 1) -> None:
        super().__init__(width, width, num_layers, batch_first=True)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Zeros, in the dtype and on the device of the weights."""
        zeros = self.weight_hh_l0.new_zeros(self.num_layers, batch_size, self.hidden_size)
        return zeros, torch.zeros_like(zeros)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One position [B, 1, width]."""
        return self(x, state)
