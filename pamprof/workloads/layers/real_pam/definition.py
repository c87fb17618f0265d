"""The real twin of PAM as a layer definition: the same architecture without complex numbers, and its naive oracle."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerRole, LayerSpec, Phase, Scope
from pamprof.workloads.layers.pam.model import RealPamLanguageModel
from pamprof.workloads.layers.pam.oracle import ORACLE_CHUNK_SIZE, block_error
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.real_pam.arithmetic import REAL
from pamprof.workloads.layers.real_pam.twin import twin
from pamprof.workloads.layers.recurrent.definition import MemoryDefinition
from pamprof.workloads.layers.recurrent.model import MemoryLayer
from pamprof.workloads.layers.recurrent.parameters import initialise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.workloads.base import LayerDefinition, SequenceModel

ORACLE_NAME = "naive float64 recurrence over tokens"


class RealPamDefinition(MemoryDefinition):
    """Real gate unit and associative memory; its presets have as many parameters as PAM's of the same name."""

    name = "real_pam"
    title = "real twin"
    implementations: tuple[str, ...] = ("planar",)
    activations = ("swish", "relu")
    complex_valued = False
    role = LayerRole.TWIN
    twin_of = "pam"

    def preset(self, name: str) -> LayerSpec:
        """The twin of PAM's preset ``name`` by parameter count; raises ``UsageError`` naming the presets there are."""
        return twin(preset(self.twin_of, name))

    def check(self, spec: LayerSpec) -> None:
        """As every memory layer; rotary positions also need channels in pairs."""
        super().check(spec)
        if spec.head_dim % 2:
            raise SpecError(f"real_pam head_dim is {spec.head_dim}; positions rotate pairs of channels, make it even")

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """A block or language model with float32 parameters drawn from ``seed``."""
        self.check_implementation(implementation)
        self.check(spec)
        with device:
            if scope is Scope.MODEL:
                return RealPamLanguageModel(spec, seed=seed)
            layer = MemoryLayer(spec, REAL)
        initialise(layer, seed)
        return layer

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block without dropout against the naive recurrence, and the oracle's name."""
        quiet = replace(spec, dropout=0.0, chunk_size=ORACLE_CHUNK_SIZE)
        layer = self.build(quiet, implementation=implementation, scope=Scope.LAYER, device=device, seed=seed)
        assert isinstance(layer, MemoryLayer)
        error = block_error(
            layer,
            quiet,
            naive_real_block,
            phase=phase,
            device=device,
            dtype=dtype,
            seed=seed,
            shape=self.position_shape(spec),
        )
        return error, ORACLE_NAME


def naive_real_block(weights: Mapping[str, Tensor], z: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output [B, T, D] and final memory [B, H, d_v, d_k] of one block on ``z`` [B, T, D], all in float64."""

    def sigmoid(x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-x))

    def norm(x: Tensor, name: str) -> Tensor:
        return weights[f"{name}.scale"] * x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt()

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("oi,bti->bto", weights[f"{name}.weight"], x)

    def activation(x: Tensor) -> Tensor:
        bias = weights["gate_unit.act.bias"]
        if "gate_unit.act.beta" in weights:
            return x * sigmoid(weights["gate_unit.act.beta"] * x + bias)
        return (x + bias).clamp_min(0)

    x = norm(z, "norm1")
    gated = sigmoid(linear(x, "gate_unit.gate_proj")) * activation(linear(x, "gate_unit.up_proj"))
    z = z + weights["cgu_scale"] * linear(gated, "gate_unit.down_proj")
    x = norm(z, "norm2")
    q, k, v = (torch.unflatten(part, -1, (heads, -1)) for part in linear(x, "memory.qkv_proj").chunk(3, -1))
    head_dim = q.shape[-1]
    logits = linear(x, "memory.dt_proj") + weights["memory.dt_proj.bias"] + weights["memory.dt_bias"]
    protect = sigmoid(linear(x.abs(), "memory.protect_gate") + weights["memory.protect_gate.bias"])
    decay = torch.exp(-torch.log1p(torch.exp(logits))) * (1 - protect) + protect
    frequency = torch.tensor([10_000.0 ** (-2 * j / head_dim) for j in range(head_dim // 2)], dtype=torch.float64)

    def turned(x: Tensor, t: int) -> Tensor:
        first, second = x[..., : head_dim // 2], x[..., head_dim // 2 :]
        cosine, sine = torch.cos(t * frequency), torch.sin(t * frequency)
        return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)

    memory = torch.zeros(len(z), heads, head_dim, head_dim, dtype=z.dtype)
    read = []
    for t in range(z.shape[1]):
        written = (1 - protect[:, t, :, None]) * v[:, t]
        memory = decay[:, t, :, None, None] * memory + torch.einsum("bhv,bhk->bhvk", written, turned(k[:, t], t))
        read.append(torch.einsum("bhvk,bhk->bhv", memory, turned(q[:, t], t)) / sqrt(head_dim))
    return z + weights["pam_scale"] * linear(torch.stack(read, 1).flatten(2), "memory.o_proj"), memory


DEFINITION: LayerDefinition = RealPamDefinition()
