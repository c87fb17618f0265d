"""The parameters of PAM, apart from any arithmetic: names, shapes, initial values, and sizes read back from them.

Every implementation subclasses ``PamBlockParameters`` and computes with the same tensors under the same names, those of
the published checkpoints (github.com/gowrav-vishwakarma/qllm2, v7), so that weights move freely between them.

Letters: D model_dim, H heads, d head_dim, I = H d, h hidden_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pamprof.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.records import LayerSpec

INITIAL_EMBEDDING_DEVIATION = 0.02
INITIAL_THRESHOLD = -0.1
INITIAL_DT_BIAS = -4.0
INITIAL_PROTECT_BIAS = -3.0
INITIAL_GATE_UNIT_SCALE = 1.0
INITIAL_MEMORY_SCALE = 0.1


class ComplexLinearParameters(nn.Module):
    """weight_real and weight_imag [out, in], with bias_real and bias_imag [out] where asked for."""

    bias_real: Tensor | None
    bias_imag: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight_real = nn.Parameter(torch.empty(outputs, inputs))
        self.weight_imag = nn.Parameter(torch.empty(outputs, inputs))
        self.bias_real = nn.Parameter(torch.empty(outputs)) if bias else None
        self.bias_imag = nn.Parameter(torch.empty(outputs)) if bias else None


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
    """dt_proj [H, row width] with dt_bias [H], and protect_gate [H, D]: what the decay is computed from."""

    def __init__(self, spec: LayerSpec, *, row_width: int) -> None:
        super().__init__()
        self.dt_proj = RealLinearParameters(row_width, spec.heads)
        self.dt_bias = nn.Parameter(torch.empty(spec.heads))
        self.protect_gate = RealLinearParameters(spec.model_dim, spec.heads)


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


class GateUnitParameters(nn.Module):
    """The complex gate unit: gate_proj and up_proj D -> h, act, down_proj h -> D."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.gate_proj = ComplexLinearParameters(spec.model_dim, spec.hidden_dim)
        self.up_proj = ComplexLinearParameters(spec.model_dim, spec.hidden_dim)
        self.down_proj = ComplexLinearParameters(spec.hidden_dim, spec.model_dim)
        self.act = ActivationParameters(spec.hidden_dim, swish=spec.activation == "modswish")


class RecurrentParameters(DecayParameters):
    """The memory: qkv_proj D -> 3 I and o_proj I -> D beside the decay's parameters."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, row_width=2 * spec.model_dim)
        inner = spec.heads * spec.head_dim
        self.qkv_proj = ComplexLinearParameters(spec.model_dim, 3 * inner)
        self.o_proj = ComplexLinearParameters(inner, spec.model_dim)


class PamBlockParameters(nn.Module):
    """One block: norm1 and cgu with cgu_scale, norm2 and pam with pam_scale."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.head_dim = spec.head_dim
        self.dropout = spec.dropout
        self.norm1 = NormParameters(spec.model_dim)
        self.cgu = GateUnitParameters(spec)
        self.cgu_scale = nn.Parameter(torch.empty(()))
        self.norm2 = NormParameters(spec.model_dim)
        self.pam = RecurrentParameters(spec)
        self.pam_scale = nn.Parameter(torch.empty(()))


_CONSTANTS = {
    "scale": 1.0,
    "beta": 1.0,
    "dt_bias": INITIAL_DT_BIAS,
    "protect_gate.bias": INITIAL_PROTECT_BIAS,
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
        elif name.endswith("act.bias"):
            parameter.fill_(0.0 if name.replace("act.bias", "act.beta") in parameters else INITIAL_THRESHOLD)
        elif parameter.ndim == 1:
            parameter.zero_()
        elif "embed" in name:
            parameter.normal_(0.0, INITIAL_EMBEDDING_DEVIATION, generator=generator)
        else:
            outputs, inputs = parameter.shape
            parameter.normal_(0.0, (2 / ((inputs + outputs) * max(inputs, outputs))) ** 0.5, generator=generator)


def tensor_of(state_dict: Mapping[str, Tensor], key: str, dimensions: int) -> Tensor:
    """``state_dict[key]`` with the expected number of axes, or a ``SpecError`` that names the key."""
    if key not in state_dict:
        raise SpecError(f"the state dict has no {key!r}; give a checkpoint in the qllm2 v7 layout")
    tensor = state_dict[key]
    if tensor.ndim != dimensions:
        raise SpecError(f"{key!r} has shape {tuple(tensor.shape)}; the qllm2 v7 layout has {dimensions} axes there")
    return tensor


def load_exactly(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy ``state_dict`` into ``module``; a ``SpecError`` names the keys that are missing, odd or of another shape."""
    own = module.state_dict()
    missing, odd = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
    if missing or odd:
        raise SpecError(
            f"the state dict does not fit: missing {', '.join(missing[:5]) or 'nothing'}; "
            f"unexpected {', '.join(odd[:5]) or 'nothing'}; give a checkpoint in the qllm2 v7 layout"
        )
    for name, tensor in own.items():
        if state_dict[name].shape != tensor.shape:
            raise SpecError(
                f"{name!r} has shape {tuple(state_dict[name].shape)} where the other sizes ask for "
                f"{tuple(tensor.shape)}; give a checkpoint whose sizes agree"
            )
    module.load_state_dict(dict(state_dict))
