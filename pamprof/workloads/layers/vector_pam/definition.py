"""Vector-state memory as a layer definition: PAM's block and parameters around one vector a head.

Sources: Plate, Holographic Reduced Representations, IEEE Transactions on Neural Networks 6 (1995); the predecessor that
arXiv:2604.05030 rejects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.workloads.layers.pam.complex.stages import ACTIVATIONS
from pamprof.workloads.layers.pam.definition import PamDefinition
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.recurrent.definition import RecurrentDefinition
from pamprof.workloads.layers.recurrent.formulas import architecture_flop_count, executed_flop_count
from pamprof.workloads.layers.vector_pam import formulas
from pamprof.workloads.layers.vector_pam.arithmetic import ARITHMETICS
from pamprof.workloads.layers.vector_pam.oracle import ORACLE_NAME, naive_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pamprof.records import Dtype, LayerSpec, Phase, Scope
    from pamprof.workloads.base import ClosedForm, LayerDefinition
    from pamprof.workloads.checkpoints.files import StoredModel
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class VectorPamDefinition(RecurrentDefinition):
    """Complex gate unit around a vector state; it has PAM's presets, and as many parameters as PAM with one state."""

    name = "vector_pam"
    title = "vector-state memory"
    implementations: tuple[str, ...] = tuple(ARITHMETICS)
    activations = ACTIVATIONS
    complex_valued = True
    naive_block = staticmethod(naive_block)
    oracle_name = ORACLE_NAME
    has_states = False

    def preset(self, name: str) -> LayerSpec:
        """Sizes of PAM's preset ``name``; raises ``UsageError`` naming the presets there are."""
        return replace(preset("pam", name), layer=self.name, state_count=1)

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Closed form of one step: that of PAM around ``formulas.loop_work`` and ``decode_state_flop_count``."""
        return architecture_flop_count(
            spec,
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
            work=formulas.loop_work,
            decode_state_flop=formulas.decode_state_flop_count,
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
        """What ``implementation`` executes in matrix products; see ``formulas.executed_work``."""
        del dtype
        self.check_implementation(implementation)
        transforms = formulas.transform_multiply_adds(spec) if implementation == "planar" else 0
        return executed_flop_count(
            spec,
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
            work=formulas.executed_work(spec, sequence_length, transforms=transforms),
            decode_products=spec.heads * transforms,
        )

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Of d complex numbers a head, where a matrix state has d²."""
        matrix = super().state_byte_count(spec, scope=scope, batch_size=batch_size, context=context, dtype=dtype)
        return matrix // spec.head_dim

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """In the layout of PAM, whose parameters these are."""
        sizes, tensors = PamDefinition().stored_model(model, spec)
        return replace(sizes, layer=self.name), tensors

    def _arithmetic(self, implementation: str) -> Arithmetic:
        return ARITHMETICS[implementation]

    def _language_model(self, spec: LayerSpec, implementation: str, seed: int) -> PamLanguageModel:
        return PamLanguageModel(spec, seed=seed, own=self._arithmetic(implementation))


DEFINITION: LayerDefinition = VectorPamDefinition()
