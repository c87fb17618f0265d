"""How vector-state memory keeps sequences and states: planes, as planar PAM does, around another block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.workloads.layers.pam.planar.arithmetic import Planar
from pamprof.workloads.layers.pam.planar.products import FourProducts
from pamprof.workloads.layers.vector_pam.block import FastVectorBlock, VectorBlock

if TYPE_CHECKING:
    from torch import Tensor

    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class VectorPlanar(Planar):
    """Planes around a vector state."""

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The spectrum of s as planes [B, H, 2, d]."""
        return torch.zeros(*axes, 2, head_dim, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The vector itself, complex [B, H, d]."""
        vector: Tensor = torch.fft.ifft(torch.complex(state[..., 0, :], state[..., 1, :]), norm="ortho")
        return vector


ARITHMETICS: dict[str, Arithmetic] = {
    "planar": VectorPlanar("planar", VectorBlock, FourProducts()),
    "fft": VectorPlanar("fft", FastVectorBlock, FourProducts()),
}
