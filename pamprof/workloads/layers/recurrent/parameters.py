"""The parameters that PAM and its real twin share, apart from any arithmetic: names, shapes and initial values.

Letters: D model_dim, H heads, K states, h hidden_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

INITIAL_EMBEDDING_DEVIATION = 0.02
INITIAL_THRESHOLD = -0.1
INITIAL_DT_BIAS = -4.0
INITIAL_PROTECT_BIAS = -3.0
INITIAL_STATE_OFFSET = 2.0  # of the state that forgets fastest; that of the slowest is its negative
INITIAL_GATE_UNIT_SCALE = 1.0
INITIAL_MEMORY_SCALE = 0.1


class MatrixParameters(nn.Module):
    """weight [out, in]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))


class RealLinearParameters(MatrixParameters):
    """weight [out, in] and bias [out]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bias = nn.Parameter(torch.empty(outputs))


class DecayParameters(nn.Module):
    """What the decay comes from: dt_proj [H, row width] with dt_bias [H], and protect_gate [H, D] or [H, row width].

    Several states have state_dt_offset [K], which sets their decays apart, and phase_proj [H K, D], whose phases turn
    what is read from each; K runs fastest.
    """

    state_dt_offset: Tensor | None
    phase_proj: RealLinearParameters | None

    def __init__(self, spec: LayerSpec, *, row_width: int) -> None:
        super().__init__()
        # A real sequence has no parts; its gate reads magnitudes whatever the spec says.
        self.gate_reads_parts = spec.gate_reads_parts and row_width > spec.model_dim
        self.dt_proj = RealLinearParameters(row_width, spec.heads)
        self.dt_bias = nn.Parameter(torch.empty(spec.heads))
        self.protect_gate = RealLinearParameters(row_width if self.gate_reads_parts else spec.model_dim, spec.heads)
        several = spec.state_count > 1
        self.state_dt_offset = nn.Parameter(torch.empty(spec.state_count)) if several else None
        self.phase_proj = RealLinearParameters(spec.model_dim, spec.heads * spec.state_count) if several else None


class NormParameters(nn.Module):
    """scale [D]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))


class ActivationParameters(nn.Module):
    """bias [h], and beta [h] for the swish kind."""

    beta: Tensor | None

    def __init__(self, channels: int, *, swish: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))
        self.beta = nn.Parameter(torch.empty(channels)) if swish else None


class TableParameters(nn.Module):
    """weight [V, D]."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))


_CONSTANTS = {
    "scale": 1.0,
    "beta": 1.0,
    "dt_bias": INITIAL_DT_BIAS,
    "protect_gate.bias": INITIAL_PROTECT_BIAS,
    "phase_proj.weight": 0.0,
    "cgu_scale": INITIAL_GATE_UNIT_SCALE,
    "pam_scale": INITIAL_MEMORY_SCALE,
}


@torch.no_grad()
def initialise(module: nn.Module, seed: int) -> None:
    """Fill all parameters with their published initial values, drawn on their own device in the order of their names.

    Weights are normal with the deviation of the entries of the published matrices (orthogonal, gain
    sqrt(2 / (in + out))): drawing them entry by entry spares the factorisation that makes a large model slow to build.
    On the meta device nothing is drawn.
    """
    parameters = dict(sorted(module.named_parameters()))
    device = next(iter(parameters.values())).device
    if device.type == "meta":
        return
    generator = torch.Generator(device=device).manual_seed(seed)
    for name, parameter in parameters.items():
        constant = next((value for key, value in _CONSTANTS.items() if f".{name}".endswith(f".{key}")), None)
        if constant is not None:
            parameter.fill_(constant)
        elif name.endswith("state_dt_offset"):
            parameter.copy_(torch.linspace(-INITIAL_STATE_OFFSET, INITIAL_STATE_OFFSET, len(parameter)))
        elif name.endswith("act.bias"):
            parameter.fill_(0.0 if name.replace("act.bias", "act.beta") in parameters else INITIAL_THRESHOLD)
        elif parameter.ndim == 1:
            parameter.zero_()
        elif "embed" in name:
            parameter.normal_(0.0, INITIAL_EMBEDDING_DEVIATION, generator=generator)
        else:
            outputs, inputs = parameter.shape
            parameter.normal_(0.0, (2 / ((inputs + outputs) * max(inputs, outputs))) ** 0.5, generator=generator)
