"""The decay and the share of the value that is written, from the normed sequence; in float32 under every policy.

In bfloat16 one decay in nine would come out above 1, and the state would grow without bound.

Axes: B batch, T time, D model_dim, H heads, K states.
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
    [B, T, D] for real ones, and p the sigmoid of one of the magnitudes ``size`` [B, T, D], or of ``row`` where the gate
    reads parts; the share written is 1 - p. Several states share p and differ by an offset inside the softplus: their
    log decays are [B, T, H, K]. Both sides of the sum enter as logarithms, so the result is finite however strong the
    decay is.
    """
    step = precise(functional.linear(row, pam.dt_proj.weight)) + (pam.dt_proj.bias + pam.dt_bias)
    read = row if pam.gate_reads_parts else size
    gate = precise(functional.linear(read, pam.protect_gate.weight)) + pam.protect_gate.bias
    write = torch.sigmoid(-gate)
    if pam.state_dt_offset is not None:
        step, gate = step.unsqueeze(-1) + pam.state_dt_offset, gate.unsqueeze(-1)
    forgotten = functional.logsigmoid(-gate) - functional.softplus(step)
    return torch.logaddexp(forgotten, functional.logsigmoid(gate)), write


def read_phases(pam: DecayParameters, size: Tensor) -> Tensor | None:
    """Phases phi of the reads of several states, [B, T, H, K] in float32, from magnitudes [B, T, D]; None for one."""
    if pam.phase_proj is None:
        return None
    phases = precise(functional.linear(size, pam.phase_proj.weight)) + pam.phase_proj.bias
    return torch.unflatten(phases, -1, (pam.dt_bias.shape[0], -1))
