"""What the layer definitions of PAM, its real twin and vector-state memory share: checks, formulas, build, oracle."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.base import TensorSplit
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.layers.recurrent import formulas
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from pamprof.workloads.layers.recurrent.oracle import (
    ORACLE_CHUNK_SIZE,
    ORACLE_DECODE_BATCH_SIZES,
    NaiveBlock,
    block_error,
)
from pamprof.workloads.layers.recurrent.parameters import initialise
from pamprof.workloads.layers.recurrent.resize import resize

if TYPE_CHECKING:
    import torch

    from pamprof.workloads.base import ClosedForm, SequenceModel
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic
    from pamprof.workloads.layers.recurrent.model import RecurrentLanguageModel


class RecurrentDefinition(BaseDefinition):
    """A ``LayerDefinition`` but for its presets, its model and its naive block."""

    activations: tuple[str, ...]
    naive_block: NaiveBlock  # a static method
    oracle_name: str
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

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """A block or language model with float32 parameters drawn from ``seed``, equal for every implementation."""
        self.check_implementation(implementation)
        self.check(spec)
        model: RecurrentLanguageModel | RecurrentLayer
        with device:
            if scope is Scope.MODEL:
                model = self._language_model(spec, implementation, seed)
            else:
                model = RecurrentLayer(spec, self._arithmetic(implementation))
        if scope is Scope.LAYER:
            initialise(model, seed)
        self.load_weights(model, spec)
        return model

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
            self.naive_block,
            phase=phase,
            device=device,
            dtype=dtype,
            seed=seed,
            shape=self.position_shape(spec),
            decode_batch_sizes=self._decode_batch_sizes(spec, implementation, phase, dtype, device),
        )
        return error, self.oracle_name

    @abstractmethod
    def _arithmetic(self, implementation: str) -> Arithmetic: ...

    @abstractmethod
    def _language_model(self, spec: LayerSpec, implementation: str, seed: int) -> RecurrentLanguageModel: ...

    def _decode_batch_sizes(
        self, spec: LayerSpec, implementation: str, phase: Phase, dtype: Dtype, device: torch.device
    ) -> tuple[int, ...]:
        """Batch sizes at which a decoded step is checked."""
        del spec, implementation, phase, dtype, device
        return ORACLE_DECODE_BATCH_SIZES
