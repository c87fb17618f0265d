"""The decay and the share of the value that is written, from the normed sequence; in float32 under every policy.

In bfloat16 one decay in nine would come out above 1, and the state would grow without bound.

Axes: B batch, T time, D model_dim, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from pamprof.workloads.layers.recurrent.precision import precise

if TYPE_CHECKING:
    from torch import Tensor

    from pamprof.workloads.layers.recurrent.parameters import DecayParameters


def log_decay_and_write(pam: DecayParameters, row: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the decay and share of the value that is written, both [B, T, H] in float32.

    log(exp(-dt)(1 - p) + p), with dt the softplus of a linear map of ``row``, [B, T, 2 D] for complex sequences and
    [B, T, D] for real ones, and p the sigmoid of one of the magnitudes ``size`` [B, T, D]; the share written is 1 - p.
    Both sides of the sum enter as logarithms, so the result is finite however strong the decay is.
    """
    step = precise(functional.linear(row, pam.dt_proj.weight)) + (pam.dt_proj.bias + pam.dt_bias)
    gate = precise(functional.linear(size, pam.protect_gate.weight)) + pam.protect_gate.bias
    forgotten = functional.logsigmoid(-gate) - functional.softplus(step)
    return torch.logaddexp(forgotten, functional.logsigmoid(gate)), torch.sigmoid(-gate)
