"""What a layer must offer to be measured: sizes, closed forms, a model to run, and an oracle to check it against.

A layer is one file: a ``LayerDefinition`` under the entry point group ``pamprof.layers`` (built-ins register the same
way in ``pyproject.toml``). Definitions are plain objects; torch modules are made in ``build``.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pamprof.records import ImplementationFacts, ImplementationKind, LayerFacts, LayerRole, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from pamprof.records import Dtype, LayerSpec, Scope, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm:
    """Matrix FLOPs of one step by formula; a real multiply-add is 2, a complex one 8.

    Attributes:
        matrix_flop_count: Causal attention and masked products as causal where the implementation can skip the rest.
        matrix_dense_flop_count: Causal attention as dense.
    """

    matrix_flop_count: int
    matrix_dense_flop_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelNotes:
    """Which kernels a layer launched for one workload and how, in words for its record.

    Attributes:
        configurations: A sentence for each kernel that can be cut in several ways, or was chosen among several.
        refused: Configurations tried in this process and refused, each with its fault.
    """

    configurations: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@runtime_checkable
class NotesKernels(Protocol):
    """What a definition may offer besides, where an implementation runs kernels of its own or chooses among several."""

    def kernel_notes(self, workload: Workload, device: torch.device) -> KernelNotes:
        """How they were launched for ``workload``, asked after it ran in this process."""
        ...


@runtime_checkable
class ChoosesKernels(Protocol):
    """What a definition may offer besides, where several kernels compute the same: the fastest, found by timing."""

    def choose_kernels(
        self, model: SequenceModel, workload: Workload, device: torch.device, state: State | None
    ) -> None:
        """Make ``model`` run what is fastest for ``workload``; timed on first use in this process.

        ``state`` is the model's own, filled with random values; None in training.
        """
        ...

    def chosen_oracle_error(self, workload: Workload, device: torch.device, seed: int) -> tuple[float, str]:
        """``oracle_error`` of the workload's block with the kernels chosen for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSplit:
    """Which parameters of a block tensor parallelism divides, by the end of their module's name; others stay whole.

    Attributes:
        rows: Output rows of a map, and what belongs to them, such as a bias: the relative sizes of its sections, each
            of which is divided.
        columns: Input columns of a map, whose output the ranks add up.
    """

    rows: Mapping[str, tuple[int, ...]]
    columns: tuple[str, ...]


@runtime_checkable
class SplitsTensors(Protocol):
    """What a definition may offer besides, where ranks can share its heads and channels.

    Its blocks have ``group``, ``heads`` and, where some gradients of whole parameters are parts of a sum,
    ``partial_gradients``.
    """

    def tensor_split(self, spec: LayerSpec) -> TensorSplit:
        """How its blocks are divided."""
        ...


class State(Protocol):
    """A preallocated recurrent state or KV cache of a batch of sequences."""

    kind: str  # "state" or "kv-cache"

    def byte_count(self) -> int:
        """Bytes of its tensors."""
        ...

    def randomise(self, generator: torch.Generator) -> None:
        """Fill with plausible random values: measuring on zeros is faster than on data."""
        ...


class SequenceModel(Protocol):
    """A block (scope ``layer``) or language model (scope ``model``); always a ``torch.nn.Module`` as well.

    For scope ``layer`` inputs and outputs are hidden sequences as the layer keeps them (the definition's
    ``example_inputs`` makes them); for scope ``model`` inputs are token ids [B, T] and outputs logits [B, T, V].
    """

    blocks: torch.nn.ModuleList  # what ``torch.compile`` is applied to, one by one

    def compiled_regions(self) -> tuple[torch.nn.Module, ...]:
        """Modules outside ``blocks`` that are compiled as well: the head with its loss, or none."""
        ...

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Whole sequences from an empty state: logits [B, T, V], or the block's output."""
        ...

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Scalar training loss; cross-entropy for a model, a fixed random projection of the output for a block."""
        ...

    def new_state(self, batch_size: int, maximum_length: int) -> State:
        """A preallocated empty state on the model's device, in the dtypes of the inference policy."""
        ...

    def prefill(self, inputs: torch.Tensor, state: State, position: int = 0) -> torch.Tensor:
        """Consume a piece of the prompt starting at ``position``, update ``state`` in place.

        At position 0 a sequence begins: whatever the state held is ignored.

        Returns the last position's logits [B, V], or the block's whole output in scope ``layer``.
        """
        ...

    def decode(self, inputs: torch.Tensor, state: State, position: int) -> torch.Tensor:
        """One token per sequence (ids [B], or the hidden of one position) at ``position``; updates ``state`` in place.

        Returns logits [B, V], or the block's output. Shapes and addresses do not change, so a CUDA graph can hold it.
        """
        ...

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast weights and fuse them once for prefill and decode by ``PRECISION_POLICY``; training ends with it."""
        ...


@runtime_checkable
class DecodesEach(Protocol):
    """What a language model may offer besides: a server's sequences are at different positions."""

    def decode_each(self, inputs: torch.Tensor, state: State, positions: torch.Tensor) -> torch.Tensor:
        """As ``decode``, of ids [B] at positions of their own [B], all below the spec's longest sequence."""
        ...


class LayerDefinition(Protocol):
    """One architecture with its implementations.

    A definition may also declare ``role`` (``LayerRole``; a subject where it does not), ``twin_of`` (the name of the
    layer that it repeats over real numbers), ``implementation_kinds`` (a mapping from the names of implementations
    that are published code or hand-written kernels to their ``ImplementationKind``; the others are plain torch),
    ``phases`` (those it has; all where it does not say), ``no_decode_reason`` (where decode is not among them),
    ``keeps_depth`` (whether a match changes its width alone, and takes the nearest one where none is within 1 %) and
    ``widths`` (those that a match may choose from, ascending; None: any).
    """

    name: str  # registry name, equal to ``LayerSpec.layer``
    title: str  # for people: "PAM", "real twin", "transformer"
    implementations: tuple[str, ...]  # the first is the one to compare to by default
    complex_valued: bool
    fixed_state: bool  # True when the decode state does not grow with context

    def supports(self, implementation: str, dtype: Dtype) -> bool:
        """Whether ``implementation`` can follow the precision policy ``dtype``."""
        ...

    def preset(self, name: str) -> LayerSpec:
        """Sizes of a named preset; raises ``UsageError`` naming the presets there are."""
        ...

    def resize(self, spec: LayerSpec, model_dim: int) -> LayerSpec | None:
        """The same architecture at another width, keeping depth and head_dim where possible; None if impossible."""
        ...

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` with subject, value and remedy when no such layer can exist."""
        ...

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Real scalars, tied weights once, padding not counted."""
        ...

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Closed form of one step, argued term by term in the docstring."""
        ...

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
    ) -> ClosedForm | None:
        """Closed form of what ``implementation`` executes; equals what the FLOP counter counts, exactly.

        None where there is no formula: the count stands alone.

        It differs from the architecture's where an implementation does: three products instead of four, other chunks.
        ``dtype`` is the precision policy, for kernels that cut a sequence differently for each; None for bfloat16.
        """
        ...

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of state or KV cache that ``new_state`` allocates for ``context`` tokens."""
        ...

    def example_inputs(
        self,
        spec: LayerSpec,
        *,
        scope: Scope,
        batch_size: int,
        sequence_length: int,
        device: torch.device,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Random inputs: ids [B, T] for a model, a hidden sequence for a block (shape is the layer's own)."""
        ...

    def build(
        self,
        spec: LayerSpec,
        *,
        implementation: str,
        scope: Scope,
        device: torch.device,
        seed: int,
    ) -> SequenceModel:
        """A model with float32 parameters initialised from ``seed``: the same values for every implementation."""
        ...

    def oracle_error(
        self,
        spec: LayerSpec,
        *,
        implementation: str,
        phase: Phase,
        device: torch.device,
        dtype: Dtype,
        seed: int,
    ) -> tuple[float, str]:
        """Relative rms error of one block against the float64 oracle on a short random sequence, and the oracle's name.

        Train compares output and input gradient, prefill the output, decode a step after a prefill.
        """
        ...


def phases_of(definition: LayerDefinition) -> tuple[Phase, ...]:
    """The phases that a layer has."""
    return tuple(getattr(definition, "phases", Phase))


def layer_facts(definition: LayerDefinition) -> LayerFacts:
    """What ``definition`` declares, for the session's record; see ``LayerDefinition`` for what it may leave out."""
    kinds = getattr(definition, "implementation_kinds", {})
    return LayerFacts(
        layer=definition.name,
        title=definition.title,
        role=getattr(definition, "role", LayerRole.SUBJECT),
        twin_of=getattr(definition, "twin_of", None),
        complex_valued=definition.complex_valued,
        fixed_state=definition.fixed_state,
        implementations=tuple(
            ImplementationFacts(name=name, kind=kinds.get(name, ImplementationKind.PLAIN))
            for name in definition.implementations
        ),
        no_decode_reason=getattr(definition, "no_decode_reason", None),
        carrier=getattr(definition, "carrier", None),
    )
