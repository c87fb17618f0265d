"""LRU (arXiv:2303.06349): a linear recurrence with complex diagonal, input and output maps, by a scan over T.

pamprof compare --layer transformer,lru=examples/lru.py:LRU --preset tiny
"""

import math

import torch
from torch import Tensor, nn


class LRU(nn.Module):
    """[B, T, width] to [B, T, width] through ``state_size`` complex numbers (``width`` where it is 0)."""

    def __init__(self, width: int, state_size: int = 0) -> None:
        super().__init__()
        size = state_size or width
        radius = torch.empty(size).uniform_(0.9**2, 0.999**2).sqrt()
        self.decay = nn.Parameter(torch.log(-torch.log(radius)))  # poles inside the unit circle, however it trains
        self.phase = nn.Parameter(torch.empty(size).uniform_(0.0, math.pi / 10))
        self.gain = nn.Parameter(torch.sqrt(1 - radius**2))
        self.read = nn.Parameter(torch.randn(size, width, dtype=torch.complex64) / math.sqrt(width))
        self.write = nn.Parameter(torch.randn(width, size, dtype=torch.complex64) / math.sqrt(size))
        self.skip = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        """h_t = λ h_(t-1) + B x_t and y_t = Re(C h_t) + D x_t, log2(T) passes over the whole sequence."""
        poles = self._poles()
        states = x.to(poles.dtype) @ (self.gain[:, None] * self.read).mT
        reach = 1
        while reach < x.shape[1]:
            behind = nn.functional.pad(states[:, :-reach], (0, 0, reach, 0))
            states = states + poles**reach * behind
            reach *= 2
        return ((states @ self.write.mT).real + self.skip * x).to(x.dtype)

    def _poles(self) -> Tensor:
        return torch.exp(torch.complex(-torch.exp(self.decay), self.phase))

    def initial_state(self, batch_size: int) -> Tensor:
        """[B, 1, state_size], complex."""
        return self.read.new_zeros(batch_size, 1, self.read.shape[0])

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One position [B, 1, width]."""
        poles = self._poles()
        state = poles * state + x.to(poles.dtype) @ (self.gain[:, None] * self.read).mT
        return ((state @ self.write.mT).real + self.skip * x).to(x.dtype), state
