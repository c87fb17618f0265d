"""S4D (arXiv:2206.11893): a diagonal state space with complex parameters, applied as a convolution by FFT.

pamprof compare --layer transformer,s4d=examples/s4d.py:S4D --preset tiny
"""

import math

import torch
from torch import Tensor, nn


class S4D(nn.Module):
    """[B, T, width] to [B, T, width]; every channel has ``modes`` complex poles, and two more layers mix channels."""

    def __init__(self, width: int, modes: int = 32) -> None:
        super().__init__()
        steps = torch.exp(torch.empty(width, 1).uniform_(math.log(1e-3), math.log(1e-1)))
        poles = torch.complex(torch.full((width, modes), -0.5), math.pi * torch.arange(modes).expand(width, modes))
        self.log_poles = nn.Parameter(steps * poles)  # exp of it is the pole: one step's decay and rotation
        self.readout = nn.Parameter(torch.randn(width, modes, dtype=torch.complex64) / math.sqrt(modes))
        self.skip = nn.Parameter(torch.ones(width))
        self.mix = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of every channel with its own kernel, in the precision of the poles, then a gated mix."""
        time = x.shape[1]
        rates = torch.complex(self.log_poles.real.clamp(max=-1e-4), self.log_poles.imag)
        powers = torch.exp(rates[..., None] * torch.arange(time, device=x.device))
        kernel = torch.einsum("dn,dnt->dt", self.readout, powers).real
        wide = x.mT.to(kernel.dtype)
        spectrum = torch.fft.rfft(wide, n=2 * time) * torch.fft.rfft(kernel, n=2 * time)
        mixed = torch.fft.irfft(spectrum, n=2 * time)[..., :time].mT + self.skip * wide.mT
        return nn.functional.glu(self.mix(mixed), dim=-1).to(x.dtype)

    def initial_state(self, batch_size: int) -> Tensor:
        """[B, width, modes], complex."""
        return self.readout.new_zeros(batch_size, *self.readout.shape)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One position [B, 1, width]: the same recurrence without the convolution."""
        rates = torch.complex(self.log_poles.real.clamp(max=-1e-4), self.log_poles.imag)
        wide = x[:, 0].to(self.skip.dtype)
        state = torch.exp(rates) * state + wide[..., None]
        mixed = (self.readout * state).sum(-1).real + self.skip * wide
        return nn.functional.glu(self.mix(mixed), dim=-1)[:, None].to(x.dtype), state
