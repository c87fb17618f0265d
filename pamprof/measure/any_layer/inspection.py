"""What a module is, found by making it and running it: sizes, phases, state, counted FLOPs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.flops.target.known import let_masks_be_implied
from pamprof.measure.session.answering import TimeIsUp, interrupted_after
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import Dtype, LayerSpec, Phase
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.foreign.carrier import (
    MODEL,
    NO_DECODE,
    CarrierLayer,
    carrier_for,
    declaration,
    has_complex,
    makes_models,
    own_module,
    steps_of,
)
from pamprof.workloads.layers.foreign.definition import BlockFacts, Declared, Inspector, StateSize
from pamprof.workloads.layers.foreign.language_model import GivenLanguageModel
from pamprof.workloads.layers.foreign.source import load, parse_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

Result = TypeVar("Result")

_DRY_RUN_LENGTH = 8
_STATE_LENGTHS = (8, 16)  # what a state has more at the second grows with the context

# A loop over time dispatches thousands of operators. Planning needs the count for a table only; every run has its own.
_COUNT_SECONDS = 4


class LocalInspector(Inspector):
    """Runs a layer's code in this process."""

    def __init__(self) -> None:
        self._dry_run: dict[str, _DryRun] = {}

    def declared(self, spec: LayerSpec) -> Declared:
        """Read from the factory."""

        def read() -> Declared:
            found = declaration(spec)
            return Declared(role=found.role, twin_of=found.twin_of, widths=found.widths())

        return told(spec, read)

    def block_facts(self, spec: LayerSpec) -> BlockFacts:
        """Made on the meta device, or on the CPU where its code does not allow that.

        Run once on the CPU in a process; at other widths on the meta device, and on the CPU where that fails.
        """
        module = told(spec, lambda: _made(spec))
        carrier = told(spec, lambda: carrier_for(spec, module))
        source = spec.source or ""
        is_known = source in self._dry_run
        if not is_known:
            self._dry_run[source] = told(spec, lambda: _dry_run(spec))
        dry_run = self._dry_run[source]
        vocabulary_size = dry_run.vocabulary_size
        if vocabulary_size is not None:
            spec = replace(spec, vocabulary_size=vocabulary_size)
        if is_known and not _runs_on_meta(spec):
            told(spec, lambda: _dry_run(spec))  # a width that the factory takes and the forward pass refuses
        return BlockFacts(
            parameter_count=sum(
                parameter.numel() * (2 if parameter.is_complex() else 1) for parameter in module.parameters()
            ),
            complex_valued=has_complex(module),
            phases=dry_run.phases,
            carrier=carrier,
            states=told(spec, lambda: _states(spec)) if Phase.DECODE in dry_run.phases else (),
            no_decode_reason=dry_run.no_decode_reason,
            vocabulary_size=vocabulary_size,
            has_kernels=bool(getattr(module, "has_kernels", False)),
        )

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, batch_size: int, sequence_length: int, all_logits: bool = False
    ) -> ClosedForm:
        """Counted on the meta device, or on the CPU."""
        count_flops(lambda: None)  # imports what counting needs, some 3 s, before the clock runs

        def count(device: torch.device) -> ClosedForm:
            return _count_on(
                device,
                spec,
                phase=phase,
                batch_size=batch_size,
                sequence_length=sequence_length,
                all_logits=all_logits,
            )

        try:
            with interrupted_after(_COUNT_SECONDS):
                return told(spec, lambda: _on_meta_or_cpu(count))
        except TimeIsUp:
            raise UnsupportedError(
                f"layer {spec.layer}: its FLOPs take more than {_COUNT_SECONDS} s to count"
            ) from None


def told(spec: LayerSpec, action: Callable[[], Result]) -> Result:
    """What ``action`` returns.

    Raises:
        UsageError: It raised something; the sentence has layer, width, exception, file and line.
    """
    try:
        return action()
    except PamprofError as exc:
        raise type(exc)(f"layer {spec.layer}: {exc}") from exc
    except (Exception, SystemExit) as exc:  # an exit would cost a new process at every width
        raise UsageError(fault_sentence(f"layer {spec.layer} at width {spec.model_dim}", exc)) from exc


def _made(spec: LayerSpec) -> nn.Module:
    try:
        with torch.device("meta"):
            return own_module(spec)
    except PamprofError:
        raise
    except Exception:  # noqa: BLE001 - many modules compute their initial values, which meta tensors do not have
        return own_module(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DryRun:
    """The phases that a module has, why it does not decode, and the vocabulary that a whole model has by itself."""

    phases: tuple[Phase, ...]
    no_decode_reason: str | None = None
    vocabulary_size: int | None = None


def _measurable(spec: LayerSpec) -> CarrierLayer | GivenLanguageModel:
    """One block in the carrier, or the whole model."""
    module = own_module(spec)
    if carrier_for(spec, module) == MODEL:
        return GivenLanguageModel(spec, module)
    return CarrierLayer(spec)


def _inputs(model: CarrierLayer | GivenLanguageModel, batch_size: int, length: int) -> torch.Tensor:
    spec = model.spec
    if isinstance(model, GivenLanguageModel):
        return torch.arange(batch_size * length).reshape(batch_size, length) % spec.vocabulary_size
    shape = (batch_size, length, spec.model_dim)
    if torch.get_default_device().type == "meta":
        return torch.empty(shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _dry_run(spec: LayerSpec) -> _DryRun:
    """Run the module once on a CPU; a whole model with one block, where its factory takes a depth.

    Raises:
        UnsupportedError: Its output is not a number or has another shape, it mutates its input, or it declares a phase
            that it does not have.
    """
    model = _measurable(replace(spec, depth=1)).eval()
    inputs = _inputs(model, 2, _DRY_RUN_LENGTH)
    before = inputs.clone()
    vocabulary_size = None
    if isinstance(model, GivenLanguageModel) and not makes_models(load(parse_source(spec.source or ""))):
        with torch.no_grad():
            vocabulary_size = model.own_vocabulary_size(inputs)
        model.spec = replace(model.spec, vocabulary_size=vocabulary_size or spec.vocabulary_size)
    with torch.no_grad():
        output = model(inputs)
    if not bool(output.isfinite().all()):
        raise UnsupportedError("its output on random input is not finite")
    if not torch.equal(inputs, before):
        raise UnsupportedError("it writes into its input; return a new tensor")
    wanted = declaration(spec).phases
    if wanted is not None and Phase.DECODE not in wanted:
        return _DryRun(
            phases=wanted,
            no_decode_reason="the phases that it declares leave decode out",
            vocabulary_size=vocabulary_size,
        )
    reason = _decode_reason(model, inputs)
    if reason is None:
        return _DryRun(phases=tuple(Phase) if wanted is None else wanted, vocabulary_size=vocabulary_size)
    if wanted is not None:
        raise UnsupportedError(f"it declares decode, but {reason}")
    return _DryRun(phases=(Phase.TRAIN, Phase.PREFILL), no_decode_reason=reason, vocabulary_size=vocabulary_size)


def _decode_reason(model: CarrierLayer | GivenLanguageModel, inputs: torch.Tensor) -> str | None:
    """Why it does not decode; None where a step ran. What its own ``step`` raises comes through."""
    given = model.given if isinstance(model, GivenLanguageModel) else model.blocks[0].given
    if steps_of(given) is not None:  # type: ignore[arg-type]
        _decode_once(model, inputs)
        return None
    call = model.call if isinstance(model, GivenLanguageModel) else model.blocks[0].call
    if call is not None:
        try:
            _decode_once(model, inputs)
        except Exception as exc:  # noqa: BLE001 - a cache that does not work costs decode alone
            return fault_sentence("its cache", exc)
        return None
    return NO_DECODE


def _runs_on_meta(spec: LayerSpec) -> bool:
    with torch.device("meta"), torch.no_grad():
        try:
            model = _measurable(replace(spec, depth=1)).eval()
            model(_inputs(model, 2, _DRY_RUN_LENGTH))
        except Exception:  # noqa: BLE001 - the CPU then tells
            return False
    return True


def _decode_once(model: CarrierLayer | GivenLanguageModel, inputs: torch.Tensor) -> None:
    with torch.no_grad():
        state = model.new_state(2, _DRY_RUN_LENGTH)
        model.decode(_one_token(model, inputs), state, _DRY_RUN_LENGTH - 1)


def _one_token(model: CarrierLayer | GivenLanguageModel, inputs: torch.Tensor) -> torch.Tensor:
    return inputs[:, 0] if isinstance(model, GivenLanguageModel) else inputs[:, :1]


def _states(spec: LayerSpec) -> tuple[StateSize, ...]:
    """What the state of one sequence has in bytes, made where ``_on_meta_or_cpu`` can."""
    found = []
    for dtype in Dtype:
        short, long = _on_meta_or_cpu(partial(_state_bytes, spec, dtype))
        per_token = (long - short) // (_STATE_LENGTHS[1] - _STATE_LENGTHS[0])
        found.append(
            StateSize(dtype=dtype, fixed_bytes=short - _STATE_LENGTHS[0] * per_token, bytes_per_token=per_token)
        )
    return tuple(found)


def _state_bytes(spec: LayerSpec, dtype: Dtype, device: torch.device) -> list[int]:
    with device:
        model = _measurable(spec).eval()
        model.prepare_inference(dtype)
        return [model.new_state(1, length).byte_count() for length in _STATE_LENGTHS]


def _on_meta_or_cpu(action: Callable[[torch.device], Result]) -> Result:
    try:
        return action(torch.device("meta"))
    except PamprofError:
        raise
    except Exception:  # noqa: BLE001 - what meta tensors cannot do, a CPU may
        return action(torch.device("cpu"))


def _count_on(
    device: torch.device,
    spec: LayerSpec,
    *,
    phase: Phase,
    batch_size: int,
    sequence_length: int,
    all_logits: bool,
) -> ClosedForm:
    with device:
        model = _measurable(spec).train(phase is Phase.TRAIN)
        if device.type == "meta" and "transformers" in sys.modules:
            let_masks_be_implied()
        inputs = _inputs(model, batch_size, 1 if phase is Phase.DECODE else sequence_length)
        inputs.requires_grad_(phase is Phase.TRAIN and inputs.is_floating_point())
        targets = inputs if isinstance(model, GivenLanguageModel) else torch.ones_like(inputs)
        room = sequence_length + (phase is Phase.DECODE)
        state = None if phase is Phase.TRAIN or all_logits else model.new_state(batch_size, room)

    def step() -> None:
        if phase is Phase.TRAIN:
            torch.autograd.backward(model.loss(inputs, targets))
            return
        with device, torch.no_grad():
            if state is None:
                model(inputs)
            elif phase is Phase.DECODE:
                model.decode(_one_token(model, inputs), state, sequence_length)
            else:
                model.prefill(inputs, state)

    counted = count_flops(step)
    if not counted.complete:
        names = ", ".join(operator.operator for operator in counted.uncounted_operators)
        raise UnsupportedError(f"its FLOPs cannot be counted: no formula for {names}")
    return ClosedForm(
        matrix_flop_count=counted.model_matrix_flop_count,
        matrix_dense_flop_count=counted.matrix_dense_flop_count - counted.recomputed_matrix_dense_flop_count,
    )
