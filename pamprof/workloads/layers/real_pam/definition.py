"""The real twin of PAM as a layer definition: the same architecture without complex numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.records import LayerRole, LayerSpec
from pamprof.workloads.checkpoints.weights import block_count, table_shape
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.real_pam.arithmetic import REAL
from pamprof.workloads.layers.real_pam.model import RealPamLanguageModel
from pamprof.workloads.layers.real_pam.oracle import ORACLE_NAME, naive_block
from pamprof.workloads.layers.real_pam.twin import twin
from pamprof.workloads.layers.recurrent.definition import RecurrentDefinition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pamprof.workloads.base import LayerDefinition
    from pamprof.workloads.checkpoints.files import StoredModel
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class RealPamDefinition(RecurrentDefinition):
    """Real gate unit and associative memory; its presets have as many parameters as PAM's of the same name."""

    name = "real_pam"
    title = "real twin"
    implementations: tuple[str, ...] = ("planar",)
    activations = ("swish", "relu")
    complex_valued = False
    naive_block = staticmethod(naive_block)
    oracle_name = ORACLE_NAME
    role = LayerRole.TWIN
    twin_of = "pam"

    def preset(self, name: str) -> LayerSpec:
        """The twin of PAM's preset ``name`` by parameter count; raises ``UsageError`` naming the presets there are."""
        return twin(preset(self.twin_of, name))

    def check(self, spec: LayerSpec) -> None:
        """As every recurrent layer; rotary positions also need channels in pairs."""
        super().check(spec)
        if spec.head_dim % 2:
            raise SpecError(f"real_pam head_dim is {spec.head_dim}; positions rotate pairs of channels, make it even")

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """In the layout of this package."""
        tensors = model.tensors
        vocabulary_size, width = table_shape(tensors, "embed.weight")
        depth, hidden_dim = block_count(tensors), table_shape(tensors, "blocks.0.gate_unit.up_proj.weight")[0]
        heads = table_shape(tensors, "blocks.0.memory.dt_proj.weight")[0]
        offsets = tensors.get("blocks.0.memory.state_dt_offset")
        sized = replace(
            spec,
            model_dim=width,
            depth=depth,
            hidden_dim=hidden_dim,
            vocabulary_size=vocabulary_size,
            heads=heads,
            state_count=len(offsets) if offsets is not None else 1,
            head_dim=table_shape(tensors, "blocks.0.memory.qkv_proj.weight")[0] // (3 * heads),
            activation="swish" if "blocks.0.gate_unit.act.beta" in tensors else "relu",
        )
        return sized, tensors

    def _arithmetic(self, implementation: str) -> Arithmetic:
        del implementation
        return REAL

    def _language_model(self, spec: LayerSpec, implementation: str, seed: int) -> RealPamLanguageModel:
        del implementation
        return RealPamLanguageModel(spec, seed=seed)


DEFINITION: LayerDefinition = RealPamDefinition()
