"""Somebody else's layer as a definition: everything that a layer of this package declares is derived.

What needs the layer's code is asked of an ``Inspector``: one that imports the code in this process, in workers, or one
that asks a process of its own, while a comparison is planned.

Axes: B batch, T time, D model_dim, h hidden_dim, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from pamprof.errors import PamprofError, SpecError, UnsupportedError
from pamprof.records import Dtype, LayerRole, LayerSpec, Phase, Scope
from pamprof.workloads.base import ClosedForm, SequenceModel
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.relative_error import relative_error
from pamprof.workloads.layers.foreign.carrier import (
    MIXER,
    CarrierBlock,
    CarrierLanguageModel,
    CarrierLayer,
    carrier_of,
    declaration,
)
from pamprof.workloads.layers.presets import preset as preset_of
from pamprof.workloads.layers.transformer.model import LanguageHead, initialise

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH_SIZE = 2
_SEQUENCE_LENGTH = 19
_DECODED = 4
_SELDOM_WIDER = 64  # channels, in steps of 8: a preset's width that a factory refuses is stepped over


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """What one module is, at one width.

    Attributes:
        parameter_count: Real scalars, ties once.
        complex_valued: Whether parameters or buffers are complex.
        phases: What it can do.
        state_bytes: Of one sequence, float32 weights; 0 where it does not decode.
    """

    parameter_count: int
    complex_valued: bool
    phases: tuple[Phase, ...]
    state_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a layer's author declared with ``pamprof.layer``, as far as planning asks for it.

    Attributes:
        role: Its part in a comparison.
        twin_of: The layer that it repeats over real numbers.
        widths: Those that a match may choose from, ascending; None: any.
    """

    role: LayerRole = LayerRole.SUBJECT
    twin_of: str | None = None
    widths: tuple[int, ...] | None = None


class Inspector(Protocol):
    """Who runs a layer's code to learn what it is."""

    def declared(self, spec: LayerSpec) -> Declared:
        """What its author declared.

        Raises:
            PamprofError: There is no such factory, or its own function of sizes goes wrong; one sentence.
        """
        ...

    def block_facts(self, spec: LayerSpec) -> BlockFacts:
        """The module at the width of ``spec``.

        Raises:
            PamprofError: The factory refuses the width, or something else goes wrong; one sentence.
        """
        ...

    def flop_count(self, spec: LayerSpec, *, phase: Phase, batch_size: int, sequence_length: int) -> ClosedForm:
        """Counted matrix FLOPs of one block of the carrier.

        Raises:
            PamprofError: They cannot be counted.
        """
        ...


class ForeignDefinition(BaseDefinition):
    """A layer made by a factory, in the carrier (see ``carrier``)."""

    implementations: tuple[str, ...] = ("module",)
    role = LayerRole.SUBJECT
    keeps_depth = True

    def __init__(self, name: str, source: str, inspector: Inspector) -> None:
        self.name = name
        self.title = name
        self.source = source
        # Known with the first answer about the module; until then, the commonest.
        self.complex_valued = False
        self.fixed_state = False
        self.phases: tuple[Phase, ...] = tuple(Phase)
        self._inspector = inspector
        self._counted: dict[tuple[object, ...], ClosedForm | PamprofError] = {}
        self._facts: dict[int, BlockFacts | PamprofError] = {}
        self.twin_of: str | None = None
        self.widths: tuple[int, ...] | None = None  # those that a match may choose from; None: any
        self._is_asked = False

    def _ask(self, spec: LayerSpec) -> None:
        """Know what the author declared.

        Raises:
            UnsupportedError: There is no such factory, or its own function of sizes goes wrong.
        """
        if not self._is_asked:
            try:
                found = self._inspector.declared(spec)
            except PamprofError as exc:
                raise UnsupportedError(str(exc)) from exc
            self.role, self.twin_of, self.widths = found.role, found.twin_of, found.widths
            self._is_asked = True

    def supports(self, implementation: str, dtype: Dtype) -> bool:
        """Every dtype policy is tried; what cannot follow it is a skip with its reason."""
        self.check_implementation(implementation)
        return dtype in TORCH_DTYPES

    def preset(self, name: str) -> LayerSpec:
        """The transformer's depth and width of the preset, or the nearest width that the layer takes.

        Raises:
            UsageError: No such preset.
            UnsupportedError: The factory takes none of the widths tried; the sentence is that of the preset's own.
        """
        model = preset_of("transformer", name)
        own = replace(model, layer=self.name, source=self.source)
        self._ask(own)
        narrowest, widest = max(1, model.model_dim - _SELDOM_WIDER), model.model_dim + _SELDOM_WIDER
        any_width = [each for each in range(narrowest, widest + 1) if each % 8 == 0 or each == model.model_dim]
        widths = sorted(self.widths or any_width, key=lambda width: (abs(width - model.model_dim), width))
        for width in widths[: len(any_width)]:
            spec = self.resize(own, width)
            if spec is not None:
                return spec
        error = self._error(replace(own, model_dim=widths[0]))
        raise UnsupportedError(f"{error}; widths from {min(widths)} to {max(widths)} were tried")

    def resize(self, spec: LayerSpec, model_dim: int) -> LayerSpec | None:
        """Depth and feed-forward ratio at another width; None where the layer does not take it."""
        self._ask(spec)
        if model_dim < 1 or (self.widths is not None and model_dim not in self.widths):
            return None
        resized = replace(
            spec,
            model_dim=model_dim,
            heads=1,
            head_dim=model_dim,
            hidden_dim=max(1, round(model_dim * spec.hidden_dim / spec.model_dim)),
        )
        return None if self._error(resized) is not None else resized

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` where the sizes are not a carrier's or the factory refuses them."""
        super().check(spec)
        if spec.source != self.source or spec.activation != "gelu" or spec.chunk_size is not None:
            raise SpecError(f"{self.name} comes from {self.source} in a carrier with gelu and no chunks")
        carrier_of(spec)
        error = self._error(spec)
        if error is not None:
            raise SpecError(str(error))

    def facts(self, spec: LayerSpec) -> BlockFacts:
        """What the module is at the width of ``spec``.

        Raises:
            PamprofError: It cannot be made.
        """
        found = self._facts.get(spec.model_dim)
        if found is None:
            try:
                found = self._inspector.block_facts(spec)
            except PamprofError as exc:
                found = exc
            else:
                self.complex_valued, self.phases = found.complex_valued, found.phases
                self.fixed_state = found.state_bytes > 0  # a state that grows is refused by the carrier
            self._facts[spec.model_dim] = found
        if isinstance(found, PamprofError):
            raise found
        return found

    def _error(self, spec: LayerSpec) -> PamprofError | None:
        try:
            self.facts(spec)
        except PamprofError as exc:
            return exc
        return None

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Those of the module, counted; with two norms and the feed-forward 2·D·h + h + D where the carrier adds them.

        A model has V·D of the tied embedding and 2·D of its final norm besides.
        """
        width, hidden = spec.model_dim, spec.hidden_dim
        block = self.facts(spec).parameter_count
        if carrier_of(spec) == MIXER:
            block += 4 * width + 2 * width * hidden + hidden + width
        if scope is Scope.LAYER:
            return block
        return spec.depth * block + spec.vocabulary_size * width + 2 * width

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Counted on one block; a model has ``depth`` of them and a head of 2·D·V a row, three times that in training.

        Raises:
            PamprofError: The block cannot be counted.
        """
        shape = (phase, batch_size, sequence_length)
        key = (spec.model_dim, spec.hidden_dim, *shape)
        block = self._counted.get(key)
        if block is None:
            try:
                block = self._inspector.flop_count(
                    spec, phase=phase, batch_size=batch_size, sequence_length=sequence_length
                )
            except PamprofError as exc:
                block = exc
            self._counted[key] = block
        if isinstance(block, PamprofError):
            raise block
        if scope is Scope.LAYER:
            return block
        rows = batch_size * (sequence_length if phase is Phase.TRAIN else 1)
        head = 2 * rows * spec.model_dim * spec.vocabulary_size * (3 if phase is Phase.TRAIN else 1)
        return ClosedForm(
            matrix_flop_count=spec.depth * block.matrix_flop_count + head,
            matrix_dense_flop_count=spec.depth * block.matrix_dense_flop_count + head,
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
    ) -> ClosedForm | None:
        """None: nobody has claimed a formula, the count stands alone."""
        del spec, phase, scope, batch_size, sequence_length, dtype
        self.check_implementation(implementation)
        return None

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of the module's state of ``batch_size`` sequences, as its ``initial_state`` allocates it."""
        del context, dtype
        return self.facts(spec).state_bytes * batch_size * (1 if scope is Scope.LAYER else spec.depth)

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """The carrier on ``device`` with its own initial values; those of the module are what the factory made.

        Modules are made on the CPU and moved, as their authors wrote them.
        """
        self.check_implementation(implementation)
        torch.manual_seed(seed)
        model = CarrierLayer(spec) if scope is Scope.LAYER else CarrierLanguageModel(spec)
        for name, part in _carried(model):
            initialise_part(name, part, depth=spec.depth, seed=seed)
        if isinstance(model, CarrierLanguageModel):
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                model.token_embedding.normal_(0.0, 0.02, generator=generator)
        return model.to(device)

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block against the author's oracle, or against its own eager self.

        The block's own self is in float64, or in float32 where it has no float64. A comparison with itself says that
        execution and dtype do no harm, not that the layer computes what its authors meant.
        """
        quiet = replace(spec, dropout=0.0)
        layer = self.build(quiet, implementation=implementation, scope=Scope.LAYER, device=device, seed=seed)
        assert isinstance(layer, CarrierLayer)
        layer.eval()
        generator = torch.Generator().manual_seed(seed)
        inputs, along = (
            torch.randn((_BATCH_SIZE, _SEQUENCE_LENGTH, spec.model_dim), generator=generator, dtype=torch.float64)
            for _ in range(2)
        )
        given = declaration(spec).oracle
        if given is not None:
            expected = _right(_double(layer), given, inputs.to(device), along.to(device), phase)
            oracle = f"the oracle of {self.name}"
        else:
            try:
                expected = _observed(_double(layer), inputs.to(device), along.to(device), phase)
                oracle = "itself in eager float64"
            except PamprofError:
                raise
            except Exception:  # noqa: BLE001 - kernels without float64 say so in many ways
                expected = _observed(layer, inputs.to(device).float(), along.to(device).float(), phase)
                oracle = "itself in eager float32"
        if phase is not Phase.TRAIN:
            layer.prepare_inference(dtype)
        kind = torch.float32 if phase is Phase.TRAIN else TORCH_DTYPES[dtype]
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=dtype is Dtype.BFLOAT16 and phase is Phase.TRAIN
        ):
            found = _observed(layer, inputs.to(device, kind), along.to(device, kind), phase)
        errors = [relative_error(f, e.cpu().double()) for f, e in zip(found, expected, strict=True)]
        if any(isnan(error) for error in errors):
            raise UnsupportedError(f"{self.name} computes values that are not numbers on random input")
        return max(errors), oracle


def _carried(model: CarrierLayer | CarrierLanguageModel) -> list[tuple[str, nn.Module]]:
    """The parts that the carrier adds, by name."""
    found: list[tuple[str, nn.Module]] = []
    for block in model.blocks:
        assert isinstance(block, CarrierBlock)
        found += [(name, part) for name, part in block.named_children() if part is not block.given]
    return [*found, *((name, part) for name, part in model.named_children() if isinstance(part, LanguageHead))]


def initialise_part(name: str, part: nn.Module, *, depth: int, seed: int) -> None:
    """The transformer's initial values for one part of the carrier."""
    holder = nn.ModuleDict({name: part})
    initialise(holder, depth=depth, seed=seed)


def _double(layer: CarrierLayer) -> CarrierLayer:
    """A copy in float64, and complex128 where it is complex."""
    wide = copy.deepcopy(layer)
    with torch.no_grad():
        for part in wide.modules():
            for tensors in (part._parameters, part._buffers):
                for tensor in tensors.values():
                    if tensor is not None and tensor.is_complex():
                        tensor.data = tensor.data.to(torch.complex128)
                    elif tensor is not None and tensor.is_floating_point():
                        tensor.data = tensor.data.double()
    return wide


def _observed(layer: CarrierLayer, inputs: Tensor, along: Tensor, phase: Phase) -> tuple[Tensor, ...]:
    """What a phase returns: output and input gradient, the output, or the outputs of a few steps."""
    if phase is Phase.TRAIN:
        given = inputs.clone().requires_grad_(True)
        output = layer(given)
        (gradient,) = torch.autograd.grad((output * along).mean(), given)
        return output.detach(), gradient
    with torch.no_grad():
        if phase is Phase.PREFILL:
            return (layer(inputs),)
        state = layer.new_state(inputs.shape[0], inputs.shape[1])
        return tuple(layer.decode(inputs[:, place : place + 1], state, place) for place in range(_DECODED))


class AuthorsOracle(nn.Module):
    """What the author's ``oracle`` says that ``module`` computes."""

    def __init__(self, module: nn.Module, oracle: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module = module
        self.oracle = oracle

    def forward(self, x: Tensor, **keywords: object) -> Tensor:
        """The right output of ``x``.

        Raises:
            UnsupportedError: No tensor of its shape, or one without a gradient where one is needed.
        """
        del keywords  # caches and masks, which the module itself is given
        output = self.oracle(self.module, x)
        if not isinstance(output, Tensor) or output.shape[: x.ndim] != x.shape:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UnsupportedError(f"its oracle gives {found} for an input {list(x.shape)}; a layer keeps that shape")
        if torch.is_grad_enabled() and not output.requires_grad:
            raise UnsupportedError("its oracle gives a tensor without a gradient; compute it with operators of torch")
        return output


def _right(
    layer: CarrierLayer, oracle: Callable[..., Tensor], inputs: Tensor, along: Tensor, phase: Phase
) -> tuple[Tensor, ...]:
    """What a phase has to return by the author's oracle; of steps its output at the same positions."""
    for block in layer.blocks:
        assert isinstance(block, CarrierBlock)
        block.given = AuthorsOracle(block.given, oracle)
    if phase is Phase.TRAIN:
        return _observed(layer, inputs, along, phase)
    with torch.no_grad():
        if phase is Phase.PREFILL:
            return (layer(inputs),)
        whole = layer(inputs[:, :_DECODED])
    return tuple(whole[:, place : place + 1] for place in range(_DECODED))
