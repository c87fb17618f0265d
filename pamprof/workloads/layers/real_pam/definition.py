"""The real twin of PAM as a layer definition: the same architecture without complex numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerRole, LayerSpec, Phase, Scope
from pamprof.workloads.checkpoints.weights import block_count, table_shape
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.real_pam.arithmetic import REAL
from pamprof.workloads.layers.real_pam.model import RealPamLanguageModel
from pamprof.workloads.layers.real_pam.oracle import ORACLE_NAME, naive_block
from pamprof.workloads.layers.real_pam.twin import twin
from pamprof.workloads.layers.recurrent.definition import RecurrentDefinition
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from pamprof.workloads.layers.recurrent.oracle import ORACLE_CHUNK_SIZE, block_error
from pamprof.workloads.layers.recurrent.parameters import initialise

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from pamprof.workloads.base import LayerDefinition, SequenceModel
    from pamprof.workloads.checkpoints.files import StoredModel


class RealPamDefinition(RecurrentDefinition):
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
        """As every recurrent layer; rotary positions also need channels in pairs."""
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
            model = RealPamLanguageModel(spec, seed=seed) if scope is Scope.MODEL else RecurrentLayer(spec, REAL)
        if scope is Scope.LAYER:
            initialise(model, seed)
        self.load_weights(model, spec)
        return model

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

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block without dropout against the naive recurrence, and the oracle's name."""
        quiet = replace(spec, dropout=0.0, chunk_size=ORACLE_CHUNK_SIZE)
        layer = self.build(quiet, implementation=implementation, scope=Scope.LAYER, device=device, seed=seed)
        assert isinstance(layer, RecurrentLayer)
        error = block_error(
            layer,
            quiet,
            naive_block,
            phase=phase,
            device=device,
            dtype=dtype,
            seed=seed,
            shape=self.position_shape(spec),
        )
        return error, ORACLE_NAME


DEFINITION: LayerDefinition = RealPamDefinition()
