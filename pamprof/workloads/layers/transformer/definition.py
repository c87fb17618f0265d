"""The transformer as a layer definition: the paper's GPT-2-style baseline with its sizes, formulas and oracle.

Source of the sizes: Vishwakarma & Agostino, arXiv:2604.05030. With a bias on every linear map and norm the parameter
counts of the published baselines come out to the unit.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerRole, LayerSpec, Phase, Scope
from pamprof.workloads.attention.backends import by_torch
from pamprof.workloads.attention.choice import attention_choice
from pamprof.workloads.base import KernelNotes, TensorSplit
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.vocabulary import padded_vocabulary_size
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.transformer import formulas
from pamprof.workloads.layers.transformer.block import KeyValueCache
from pamprof.workloads.layers.transformer.checkpoint import stored_transformer
from pamprof.workloads.layers.transformer.model import (
    TransformerLanguageModel,
    TransformerLayer,
    initialise,
)
from pamprof.workloads.layers.transformer.oracle import ORACLE_NAME, oracle_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pamprof.records import Workload
    from pamprof.workloads.attention.backends import Attend
    from pamprof.workloads.base import ClosedForm, SequenceModel, State
    from pamprof.workloads.checkpoints.files import StoredModel

# A head that shrinks or grows by more than this is another architecture, not another size.
_HEAD_DIM_FACTOR = 1.5


class TransformerDefinition(BaseDefinition):
    """GPT-2-style decoder: pre-norm, learned positions, GELU, tied head, causal scaled-dot-product attention."""

    name = "transformer"
    title = "transformer"
    implementations: tuple[str, ...] = ("sdpa",)
    complex_valued = False
    role = LayerRole.REFERENCE
    fixed_state = False
    activation = "gelu"
    _flop_count = staticmethod(formulas.flop_count)

    def supports(self, implementation: str, dtype: Dtype) -> bool:
        """Every dtype policy runs."""
        self.check_implementation(implementation)
        return dtype in TORCH_DTYPES

    def preset(self, name: str) -> LayerSpec:
        """Sizes of a named preset; raises ``UsageError`` naming the presets there are."""
        return preset(self.name, name)

    def resize(self, spec: LayerSpec, model_dim: int) -> LayerSpec | None:
        """The same depth and feed-forward ratio at another width; None where no similar head_dim divides it.

        The head_dim is kept where it divides the width, else the nearest multiple of 8 that does is taken, as attention
        kernels want it. Where there is none, the nearest other one is, but only if it was no multiple of 8 before.
        """
        if model_dim < 1:
            return None
        smallest = ceil(spec.head_dim / _HEAD_DIM_FACTOR)
        largest = min(model_dim, int(spec.head_dim * _HEAD_DIM_FACTOR))
        divisors = [head_dim for head_dim in range(smallest, largest + 1) if model_dim % head_dim == 0]
        possible = [head_dim for head_dim in divisors if head_dim % 8 == 0 or spec.head_dim % 8]
        if not possible:
            return None
        head_dim = min(
            possible,
            key=lambda candidate: (
                candidate != spec.head_dim,
                candidate % 8 != 0,
                abs(candidate - spec.head_dim),
                candidate,
            ),
        )
        hidden_dim = max(1, round(model_dim * spec.hidden_dim / spec.model_dim))
        return replace(spec, model_dim=model_dim, heads=model_dim // head_dim, head_dim=head_dim, hidden_dim=hidden_dim)

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` with subject, value and remedy when no such transformer can exist."""
        super().check(spec)
        if spec.model_dim % spec.head_dim:
            divisors = [divisor for divisor in range(1, spec.model_dim + 1) if spec.model_dim % divisor == 0]
            nearest = min(divisors, key=lambda divisor: (abs(divisor - spec.head_dim), -divisor))
            raise SpecError(f"head_dim {spec.head_dim} does not divide model_dim {spec.model_dim}; try {nearest}")
        if spec.heads * spec.head_dim != spec.model_dim:
            raise SpecError(
                f"{spec.heads} heads of {spec.head_dim} do not make model_dim {spec.model_dim}; "
                f"take {spec.model_dim // spec.head_dim} heads"
            )
        if spec.activation != self.activation:
            raise SpecError(f"{self.name} activation is {spec.activation!r}; it must be {self.activation!r}")
        if spec.chunk_size is not None:
            raise SpecError(f"{self.name} chunk_size is {spec.chunk_size}; attention has no chunks, leave it out")

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Real scalars, tied weights once, padding not counted; positions as in the spec's own table."""
        return formulas.parameter_count(spec, scope)

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Closed form of one step; see ``formulas.flop_count`` for every term."""
        return self._flop_count(
            spec,
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
            logits_width=spec.vocabulary_size,
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
        """As ``flop_count``, with the logits product at its padded width; the same for every ``dtype``."""
        del dtype
        self.check_implementation(implementation)
        return self._flop_count(
            spec,
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
            logits_width=padded_vocabulary_size(spec.vocabulary_size),
        )

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of the KV cache that ``new_state`` allocates for ``context`` tokens."""
        return formulas.cache_byte_count(spec, scope=scope, batch_size=batch_size, context=context, dtype=dtype)

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """A float32 block or language model with GPT-2's initial values, drawn from ``seed`` on ``device``."""
        self.check_implementation(implementation)
        self.check(spec)
        with torch.device("meta"):
            model = self._new_model(spec, scope)
        assert isinstance(model, nn.Module)
        if device.type != "meta":
            model.to_empty(device=device)
            initialise(model, depth=spec.depth, seed=seed)
            self.load_weights(model, spec)
        return model

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """In the layout of this package, of the published baseline, or of GPT-2."""
        return stored_transformer(model, spec)

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block without dropout against the naive float64 block, and the oracle's name."""
        quiet = replace(spec, dropout=0.0)
        layer = self.build(quiet, implementation=implementation, scope=Scope.LAYER, device=device, seed=seed)
        return self._block_error(layer, quiet, phase=phase, device=device, dtype=dtype, seed=seed)

    def choose_kernels(
        self, model: SequenceModel, workload: Workload, device: torch.device, state: State | None
    ) -> None:
        """Make every block attend through the kernel that is fastest for ``workload``; torch's own choice on a CPU."""
        cache = state.blocks[0] if isinstance(state, KeyValueCache) and workload.phase is Phase.DECODE else None
        choice = attention_choice(workload, device, cache)
        _attend_through(model, by_torch if choice is None else choice.attend)

    def chosen_oracle_error(self, workload: Workload, device: torch.device, seed: int) -> tuple[float, str]:
        """``oracle_error`` of the workload's block with the attention kernel chosen for it."""
        quiet = replace(workload.spec, dropout=0.0)
        layer = self.build(quiet, implementation=workload.implementation, scope=Scope.LAYER, device=device, seed=seed)
        self.choose_kernels(layer, workload, device, None)
        return self._block_error(layer, quiet, phase=workload.phase, device=device, dtype=workload.dtype, seed=seed)

    def kernel_notes(self, workload: Workload, device: torch.device) -> KernelNotes:
        """Which attention kernels were tried for ``workload``, with their times, and which were refused."""
        choice = attention_choice(workload, device)
        return KernelNotes() if choice is None else choice.notes()

    def tensor_split(self, spec: LayerSpec) -> TensorSplit:
        """Heads, and channels of the feed-forward unit; norms, embeddings and head stay whole."""
        del spec
        return TensorSplit(rows={"query_key_value": (1, 1, 1), "up": (1,)}, columns=("attention_output", "down"))

    def _block_error(
        self, layer: SequenceModel, spec: LayerSpec, *, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        assert isinstance(layer, TransformerLayer)
        return oracle_error(layer, spec, phase=phase, device=device, dtype=dtype, seed=seed), ORACLE_NAME

    def _new_model(self, spec: LayerSpec, scope: Scope) -> SequenceModel:
        return TransformerLayer(spec) if scope is Scope.LAYER else TransformerLanguageModel(spec)


def _attend_through(model: SequenceModel, attend: Attend) -> None:
    for block in model.blocks:
        block.attend = attend  # type: ignore[assignment]


DEFINITION = TransformerDefinition()
