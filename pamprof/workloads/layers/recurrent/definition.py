"""What the layer definitions of PAM and its real twin share: checks, formulas, inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.base import TensorSplit
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.layers.recurrent import formulas
from pamprof.workloads.layers.recurrent.resize import resize

if TYPE_CHECKING:
    from pamprof.workloads.base import ClosedForm


class RecurrentDefinition(BaseDefinition):
    """The part of a ``LayerDefinition`` that follows from a spec alone."""

    activations: tuple[str, ...]
    fixed_state = True
    has_states = True

    def tensor_split(self, spec: LayerSpec) -> TensorSplit:
        """Heads with their decays and states, and channels of the gate unit; norms, embedding and head stay whole."""
        del spec
        whole = (1,)
        rows = ("gate_proj", "up_proj", "act", "dt_proj", "protect_gate", "phase_proj", "dt_bias")
        return TensorSplit(rows={**dict.fromkeys(rows, whole), "qkv_proj": (1, 1, 1)}, columns=("down_proj", "o_proj"))

    def supports(self, implementation: str, dtype: Dtype) -> bool:
        """Whether ``implementation`` can follow the precision policy ``dtype``."""
        self.check_implementation(implementation)
        return implementation != "complex" or dtype is Dtype.FLOAT32

    def resize(self, spec: LayerSpec, model_dim: int) -> LayerSpec | None:
        """The same depth, head_dim and ratios at another width; None where not even one head is left."""
        return resize(spec, model_dim)

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` with subject, value and remedy when no such layer can exist."""
        super().check(spec)
        if spec.activation not in self.activations:
            raise SpecError(
                f"{self.name} activation is {spec.activation!r}; it must be {' or '.join(self.activations)}"
            )
        if spec.chunk_size is not None and spec.chunk_size < 1:
            raise SpecError(f"{self.name} chunk_size is {spec.chunk_size}; it must be 1 token or more")

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Real scalars, tied weights once, padding not counted."""
        return formulas.parameter_count(spec, scope)

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
            spec, phase=phase, scope=scope, batch_size=batch_size, sequence_length=sequence_length
        )

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of the states that ``new_state`` allocates: the same for every context and dtype policy."""
        return formulas.state_byte_count(spec, scope=scope, batch_size=batch_size)

    def position_shape(self, spec: LayerSpec) -> tuple[int, ...]:
        """Shape of one position of a hidden sequence."""
        return (2, spec.model_dim) if formulas.planes_of(spec) == 2 else (spec.model_dim,)
