"""Vector-state memory as a layer definition: PAM's block and parameters around one vector a head.

Sources: Plate, Holographic Reduced Representations, IEEE Transactions on Neural Networks 6 (1995); the predecessor that
arXiv:2604.05030 rejects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.layers.pam.complex.stages import ACTIVATIONS
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.recurrent.definition import RecurrentDefinition
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from pamprof.workloads.layers.recurrent.oracle import block_error
from pamprof.workloads.layers.recurrent.parameters import initialise
from pamprof.workloads.layers.vector_pam import formulas
from pamprof.workloads.layers.vector_pam.arithmetic import ARITHMETICS
from pamprof.workloads.layers.vector_pam.oracle import ORACLE_NAME, naive_block

if TYPE_CHECKING:
    import torch

    from pamprof.workloads.base import ClosedForm, LayerDefinition, SequenceModel


class VectorPamDefinition(RecurrentDefinition):
    """Complex gate unit around a vector state; it has PAM's presets, and as many parameters as PAM with one state."""

    name = "vector_pam"
    title = "vector-state memory"
    implementations: tuple[str, ...] = tuple(ARITHMETICS)
    activations = ACTIVATIONS
    complex_valued = True
    has_states = False

    def preset(self, name: str) -> LayerSpec:
        """Sizes of PAM's preset ``name``; raises ``UsageError`` naming the presets there are."""
        return replace(preset("pam", name), layer=self.name, state_count=1)

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Closed form of one step; see ``formulas.architecture_flop_count`` for every term."""
        return formulas.architecture_flop_count(
            spec, phase=phase, scope=scope, batch_size=batch_size, sequence_length=sequence_length
        )

    def implementation_flop_count(
        self,
        spec: LayerSpec,
        *,
        implementation: str,
        phase: Phase,
        scope: Scope,
        batch_size: int,
        sequence_length: int,
        dtype: Dtype | None = None,
    ) -> ClosedForm:
        """What ``implementation`` executes in matrix products; see ``formulas.executed_flop_count``."""
        del dtype
        self.check_implementation(implementation)
        return formulas.executed_flop_count(
            spec,
            transforms_by_product=implementation == "planar",
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
        )

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of the states that ``new_state`` allocates: the same for every context and dtype policy."""
        return formulas.state_byte_count(spec, scope=scope, batch_size=batch_size)

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """A block or language model with float32 parameters drawn from ``seed``: those of PAM at the same sizes."""
        self.check_implementation(implementation)
        self.check(spec)
        own = ARITHMETICS[implementation]
        with device:
            if scope is Scope.MODEL:
                return PamLanguageModel(spec, seed=seed, own=own)
            layer = RecurrentLayer(spec, own)
        initialise(layer, seed)
        return layer

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block without dropout against the naive recurrence, and the oracle's name."""
        quiet = replace(spec, dropout=0.0)
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


DEFINITION: LayerDefinition = VectorPamDefinition()
