"""The complex parameters of PAM, apart from any arithmetic: names and shapes.

Every implementation subclasses ``PamBlockParameters`` and computes with the same tensors under the same names, those of
the published checkpoints (github.com/gowrav-vishwakarma/qllm2, v7, v11), so that weights move freely between them.

Letters: D model_dim, H heads, d head_dim, I = H d, h hidden_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pamprof.workloads.layers.recurrent.parameters import ActivationParameters, DecayParameters, NormParameters

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from pamprof.records import LayerSpec


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


class GateUnitParameters(nn.Module):
    """The complex gate unit: gate_proj and up_proj D -> h, act, down_proj h -> D."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.gate_proj = ComplexLinearParameters(spec.model_dim, spec.hidden_dim)
        self.up_proj = ComplexLinearParameters(spec.model_dim, spec.hidden_dim)
        self.down_proj = ComplexLinearParameters(spec.hidden_dim, spec.model_dim)
        self.act = ActivationParameters(spec.hidden_dim, swish=spec.activation == "modswish")


class RecurrentParameters(DecayParameters):
    """The recurrence: qkv_proj D -> 3 I and o_proj I -> D beside the decay's parameters."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, row_width=2 * spec.model_dim)
        inner = spec.heads * spec.head_dim
        self.qkv_proj = ComplexLinearParameters(spec.model_dim, 3 * inner)
        self.o_proj = ComplexLinearParameters(inner, spec.model_dim)


class PamBlockParameters(nn.Module):
    """One block: norm1 and cgu with cgu_scale, norm2 and pam with pam_scale.

    ``group`` are the ranks that share its heads and channels; None for one device that has all.
    """

    group: ProcessGroup | None = None

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
