"""What a module is, found by making it and running it: sizes, phases, state, counted FLOPs."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.utils._pytree import tree_leaves

from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import LayerSpec, Phase
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.foreign.carrier import CarrierLayer, decodes, has_complex, own_module, steps_of
from pamprof.workloads.layers.foreign.definition import BlockFacts, Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

Result = TypeVar("Result")

_DRY_RUN_LENGTH = 8

# A loop over time dispatches thousands of operators. Planning needs the count for a table only; every run has its own.
_COUNT_SECONDS = 4


class LocalInspector(Inspector):
    """Runs a layer's code in this process."""

    def __init__(self) -> None:
        self._dry_run: dict[str, tuple[Phase, ...]] = {}

    def block_facts(self, spec: LayerSpec) -> BlockFacts:
        """Made on the meta device, or on the CPU where its code does not allow that; run once in a process."""
        module = told(spec, lambda: _made(spec))
        source = spec.source or ""
        if source not in self._dry_run:
            self._dry_run[source] = told(spec, lambda: _dry_run(spec))
        return BlockFacts(
            parameter_count=sum(
                parameter.numel() * (2 if parameter.is_complex() else 1) for parameter in module.parameters()
            ),
            complex_valued=has_complex(module),
            phases=self._dry_run[source],
            state_bytes=told(spec, lambda: _state_bytes(module)),
        )

    def flop_count(self, spec: LayerSpec, *, phase: Phase, batch_size: int, sequence_length: int) -> ClosedForm:
        """Counted on the meta device, or on the CPU."""
        import torch._dynamo  # noqa: F401 - counting brings it; loading it can take as long on a busy machine

        with _no_longer_than(_COUNT_SECONDS):
            return told(spec, lambda: _counted(spec, phase, batch_size, sequence_length))


@contextmanager
def _no_longer_than(limit: int) -> Iterator[None]:
    """Interrupt what takes longer, where this is the main thread of a process.

    Raises:
        UnsupportedError: It did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise UnsupportedError(f"its FLOPs take more than {limit} s to count")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def told(spec: LayerSpec, action: Callable[[], Result]) -> Result:
    """What ``action`` returns.

    Raises:
        UsageError: It raised something; the sentence has layer, width, exception, file and line.
    """
    try:
        return action()
    except PamprofError as exc:
        raise type(exc)(f"layer {spec.layer}: {exc}") from exc
    except Exception as exc:
        raise UsageError(fault_sentence(f"layer {spec.layer} at width {spec.model_dim}", exc)) from exc


def _made(spec: LayerSpec) -> nn.Module:
    try:
        with torch.device("meta"):
            return own_module(spec)
    except PamprofError:
        raise
    except Exception:  # noqa: BLE001 - many modules compute their initial values, which meta tensors do not have
        return own_module(spec)


def _dry_run(spec: LayerSpec) -> tuple[Phase, ...]:
    """Run the module once on a CPU; the phases it has.

    Raises:
        UnsupportedError: Its output is not a number or has another shape, or it mutates its input.
    """
    layer = CarrierLayer(spec)
    inputs = torch.randn(2, _DRY_RUN_LENGTH, spec.model_dim, generator=torch.Generator().manual_seed(0))
    before = inputs.clone()
    with torch.no_grad():
        output = layer(inputs)
    if not bool(output.isfinite().all()):
        raise UnsupportedError("its output on random input is not finite")
    if not torch.equal(inputs, before):
        raise UnsupportedError("it writes into its input; return a new tensor")
    phases = decodes(layer.blocks[0].given)  # type: ignore[arg-type]
    if Phase.DECODE in phases:
        with torch.no_grad():
            state = layer.new_state(2, _DRY_RUN_LENGTH)
            layer.decode(inputs[:, :1], state, 0)
    return phases


def _state_bytes(module: nn.Module) -> int:
    steps = steps_of(module)
    if steps is None:
        return 0
    leaves = tree_leaves(steps.initial_state(1))
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, torch.Tensor))


def _counted(spec: LayerSpec, phase: Phase, batch_size: int, sequence_length: int) -> ClosedForm:
    errors = []
    for device in ("meta", "cpu"):
        try:
            return _count_on(torch.device(device), spec, phase, batch_size, sequence_length)
        except PamprofError:
            raise
        except Exception as exc:  # noqa: BLE001 - what meta tensors cannot do, a CPU may
            errors.append(exc)
    raise errors[-1]


def _count_on(device: torch.device, spec: LayerSpec, phase: Phase, batch_size: int, sequence_length: int) -> ClosedForm:
    with device:
        layer = CarrierLayer(spec)
        length = 1 if phase is Phase.DECODE else sequence_length
        inputs = torch.randn(batch_size, length, spec.model_dim, requires_grad=phase is Phase.TRAIN)
        state = layer.new_state(batch_size, sequence_length) if phase is Phase.DECODE else None

    def step() -> None:
        if phase is Phase.TRAIN:
            torch.autograd.backward(layer.loss(inputs, torch.ones_like(inputs)))
            return
        with torch.no_grad():
            if state is None:
                layer(inputs)
            else:
                layer.decode(inputs, state, sequence_length)

    counted = count_flops(step)
    if not counted.complete:
        names = ", ".join(operator.operator for operator in counted.uncounted_operators)
        raise UnsupportedError(f"its FLOPs cannot be counted: no formula for {names}")
    return ClosedForm(
        matrix_flop_count=counted.matrix_flop_count, matrix_dense_flop_count=counted.matrix_dense_flop_count
    )
