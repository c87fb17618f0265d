"""Somebody else's layer as a definition: everything that a layer of this package declares is derived.

What needs the layer's code is asked of an ``Inspector``: one that imports the code in this process, in workers, or one
that asks a process of its own, while a comparison is planned.

Axes: B batch, T time, D model_dim, h hidden_dim, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Protocol

import torch
from torch import Tensor, nn

from pamprof.errors import PamprofError, SpecError, UnsupportedError
from pamprof.records import Dtype, LayerRole, LayerSpec, Phase, Scope
from pamprof.workloads.base import ClosedForm, SequenceModel
from pamprof.workloads.checkpoints.weights import load_exactly, weights_of
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.relative_error import relative_error
from pamprof.workloads.layers.foreign.carrier import (
    MIXER,
    MODEL,
    NO_BLOCK,
    NO_DECODE,
    CarrierBlock,
    CarrierLanguageModel,
    CarrierLayer,
    carrier_of,
    declaration,
)
from pamprof.workloads.layers.foreign.language_model import GivenLanguageModel, language_model
from pamprof.workloads.layers.foreign.oracle import in_float64, observed, right_by, train_recurrences
from pamprof.workloads.layers.presets import preset as preset_of
from pamprof.workloads.layers.transformer.model import LanguageHead, initialise

_BATCH_SIZE = 2
_SEQUENCE_LENGTH = 19
_SELDOM_WIDER = 64  # channels, in steps of 8: a preset's width that a factory refuses is stepped over


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSize:
    """Bytes of the state of one sequence with weights of ``dtype``, as it is allocated."""

    dtype: Dtype
    fixed_bytes: int
    bytes_per_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """What one module is, at one width.

    Attributes:
        parameter_count: Real scalars, ties once.
        complex_valued: Whether parameters or buffers are complex.
        phases: What it can do.
        carrier: ``mixer``, ``block`` or ``model``; the module itself is the model in the last case.
        states: Of its state or cache, by dtype; none where it does not decode.
        no_decode_reason: Why it does not; None where it does.
        vocabulary_size: Of a whole model whose factory does not take one; None for all others.
    """

    parameter_count: int
    complex_valued: bool
    phases: tuple[Phase, ...]
    carrier: str = MIXER
    states: tuple[StateSize, ...] = ()
    no_decode_reason: str | None = None
    vocabulary_size: int | None = None


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

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, batch_size: int, sequence_length: int, all_logits: bool = False
    ) -> ClosedForm:
        """Counted matrix FLOPs of one block of the carrier, or of a whole model.

        ``all_logits`` is a forward pass of a whole model with the logits of every position.

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
        self.no_decode_reason: str | None = None
        self.carrier: str | None = None
        self._inspector = inspector
        self._counted: dict[tuple[object, ...], ClosedForm | PamprofError] = {}
        self._facts: dict[tuple[int, ...], BlockFacts | PamprofError] = {}
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
        key = (spec.model_dim, spec.depth, spec.vocabulary_size, spec.maximum_sequence_length)
        found = self._facts.get(key)
        if found is None:
            try:
                found = self._inspector.block_facts(spec)
            except PamprofError as exc:
                found = exc
            else:
                self.complex_valued, self.phases = found.complex_valued, found.phases
                self.no_decode_reason, self.carrier = found.no_decode_reason, found.carrier
                self.fixed_state = bool(found.states) and not any(state.bytes_per_token for state in found.states)
            self._facts[key] = found
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

        A model has V·D of the tied embedding and 2·D of its final norm besides; of a whole model all are its own, in
        either scope.
        """
        width, hidden = spec.model_dim, spec.hidden_dim
        facts = self.facts(spec)
        block = facts.parameter_count
        if facts.vocabulary_size not in (None, spec.vocabulary_size):
            raise UnsupportedError(
                f"{self.name} has {facts.vocabulary_size} tokens and the other arms {spec.vocabulary_size}; "
                f"give --vocabulary-size {facts.vocabulary_size}, or let its factory take vocabulary_size"
            )
        if facts.carrier == MODEL:
            return block
        if facts.carrier == MIXER:
            block += 4 * width + 2 * width * hidden + hidden + width
        if scope is Scope.LAYER:
            return block
        return spec.depth * block + spec.vocabulary_size * width + 2 * width

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Counted on one block; a model has ``depth`` of them and a head of 2·D·V a row, three times that in training.

        A whole model is counted whole.

        Raises:
            PamprofError: The block cannot be counted.
        """
        facts = self._facts_in(spec, scope)
        block = self._count(spec, phase, batch_size, sequence_length)
        if scope is Scope.LAYER or facts.carrier == MODEL:
            return block
        rows = batch_size * (sequence_length if phase is Phase.TRAIN else 1)
        head = 2 * rows * spec.model_dim * spec.vocabulary_size * (3 if phase is Phase.TRAIN else 1)
        return ClosedForm(
            matrix_flop_count=spec.depth * block.matrix_flop_count + head,
            matrix_dense_flop_count=spec.depth * block.matrix_dense_flop_count + head,
        )

    def forward_flop_count(self, spec: LayerSpec, sequence_length: int) -> ClosedForm | None:
        """Of a whole model, a forward pass of one sequence with all its logits; None where blocks tell."""
        if self.facts(spec).carrier != MODEL:
            return None
        return self._count(spec, Phase.PREFILL, 1, sequence_length, all_logits=True)

    def _count(
        self, spec: LayerSpec, phase: Phase, batch_size: int, sequence_length: int, *, all_logits: bool = False
    ) -> ClosedForm:
        sizes = (spec.model_dim, spec.hidden_dim, spec.depth, spec.vocabulary_size)
        key = (*sizes, phase, batch_size, sequence_length, all_logits)
        counted = self._counted.get(key)
        if counted is None:
            try:
                counted = self._inspector.flop_count(
                    spec, phase=phase, batch_size=batch_size, sequence_length=sequence_length, all_logits=all_logits
                )
            except PamprofError as exc:
                counted = exc
            self._counted[key] = counted
        if isinstance(counted, PamprofError):
            raise counted
        return counted

    def _facts_in(self, spec: LayerSpec, scope: Scope) -> BlockFacts:
        facts = self.facts(spec)
        if scope is Scope.LAYER and facts.carrier == MODEL:
            raise UnsupportedError(f"{self.name} {NO_BLOCK}")
        return facts

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
        """Bytes of the module's states or caches of ``batch_size`` sequences, as they are allocated."""
        facts = self._facts_in(spec, scope)
        sizes = [state.fixed_bytes + context * state.bytes_per_token for state in facts.states if state.dtype is dtype]
        return sum(sizes) * batch_size * (1 if scope is Scope.LAYER or facts.carrier == MODEL else spec.depth)

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """The carrier on ``device`` with its own initial values; those of the module are what the factory made.

        Modules are made on the CPU and moved, as their authors wrote them.
        """
        self.check_implementation(implementation)
        torch.manual_seed(seed)
        model = CarrierLayer(spec) if scope is Scope.LAYER else language_model(spec)
        if not isinstance(model, GivenLanguageModel):
            for name, part in _carried(model):
                initialise_part(name, part, depth=spec.depth, seed=seed)
        if isinstance(model, CarrierLanguageModel):
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                model.token_embedding.normal_(0.0, 0.02, generator=generator)
        self.load_weights(model, spec)
        return model.to(device)

    def load_weights(self, model: nn.Module, spec: LayerSpec) -> None:
        """The weights of a whole model or carrier, or those of the module alone, which every block then has."""
        stored = None if spec.checkpoint is None else weights_of(spec.checkpoint).tensors
        if stored is not None and isinstance(model, GivenLanguageModel):
            load_exactly(model.given, stored)
        elif stored is None or any(name.startswith("blocks.") for name in stored):
            super().load_weights(model, spec)
        else:
            for block in model.modules():
                if isinstance(block, CarrierBlock):
                    load_exactly(block.given, stored)

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block against the author's oracle, or against its own eager self.

        The block's own self is in float64, or in float32 where it has no float64. A comparison with itself says that
        execution and dtype do no harm, not that the layer computes what its authors meant.
        """
        facts = self.facts(spec)
        if phase not in facts.phases:
            raise UnsupportedError(f"layer {spec.layer}: {facts.no_decode_reason or NO_DECODE}")
        whole = facts.carrier == MODEL
        quiet = replace(spec, dropout=0.0, depth=1)  # one block also of a whole model, where its factory takes a depth
        scope = Scope.MODEL if whole else Scope.LAYER
        layer = self.build(quiet, implementation=implementation, scope=scope, device=device, seed=seed)
        assert isinstance(layer, (CarrierLayer, GivenLanguageModel))
        layer.eval()
        if phase is Phase.TRAIN:
            train_recurrences(layer)
        generator = torch.Generator().manual_seed(seed)
        shape = (_BATCH_SIZE, _SEQUENCE_LENGTH)
        ids = torch.randint(0, spec.vocabulary_size, shape, generator=generator) if whole else None
        hidden, along = (
            torch.randn((*shape, width), generator=generator, dtype=torch.float64)
            for width in (spec.model_dim, spec.vocabulary_size if whole else spec.model_dim)
        )

        def asked(model: CarrierLayer | GivenLanguageModel, kind: torch.dtype) -> tuple[Tensor, ...]:
            inputs = hidden.to(device, kind) if ids is None else ids.to(device)
            return observed(model, inputs, along.to(device, kind), phase)

        authors = declaration(spec).oracle
        if authors is not None:
            inputs = hidden.to(device) if ids is None else ids.to(device)
            expected = right_by(authors, in_float64(layer), inputs, along.to(device), phase)
            oracle = f"the oracle of {self.name}"
        else:
            try:
                expected = asked(in_float64(layer), torch.float64)
                oracle = "itself in eager float64"
            except PamprofError:
                raise
            except Exception:  # noqa: BLE001 - kernels without float64 say so in many ways
                expected = asked(layer, torch.float32)
                oracle = "itself in eager float32"
        if phase is not Phase.TRAIN:
            layer.prepare_inference(dtype)
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=dtype is Dtype.BFLOAT16 and phase is Phase.TRAIN
        ):
            found = asked(layer, torch.float32 if phase is Phase.TRAIN else TORCH_DTYPES[dtype])
        errors = [relative_error(f, e.cpu().double()) for f, e in zip(found, expected, strict=True)]
        if any(isnan(error) for error in errors):
            raise UnsupportedError(f"{self.name} computes values that are not numbers on random input")
        return max(errors), oracle


def _carried(model: CarrierLayer | CarrierLanguageModel) -> list[tuple[str, nn.Module]]:
    """The parts that the carrier adds, by name."""
    found: list[tuple[str, nn.Module]] = []
    for block in model.blocks:
        assert isinstance(block, CarrierBlock)
        own = (block.given, block.rotary)
        found += [(name, part) for name, part in block.named_children() if part not in own]
    return [*found, *((name, part) for name, part in model.named_children() if isinstance(part, LanguageHead))]


def initialise_part(name: str, part: nn.Module, *, depth: int, seed: int) -> None:
    """The transformer's initial values for one part of the carrier."""
    holder = nn.ModuleDict({name: part})
    initialise(holder, depth=depth, seed=seed)
