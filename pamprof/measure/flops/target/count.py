"""Counts what was asked for; runs in the process that counts.

A layer is built and run on the meta device, where nothing is computed. One that asks for values or for a device's own
kernels is run on CPU tensors without data, and where that fails as well on the CPU.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.model_count import count_run
from pamprof.measure.flops.target.countable import DEFAULT_SEQUENCE_LENGTH
from pamprof.measure.flops.target.factory import made_by_a_factory
from pamprof.measure.flops.target.known import from_configuration, registered
from pamprof.measure.flops.target.request import CountAnswer, CountedPhase, CountRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn
    from torch._ops import OpOverload

    from pamprof.measure.flops.model_flops import ModelFlops
    from pamprof.measure.flops.target.countable import Builder, Countable

# Operators that multiply tensors of one dtype only, and the position of the first of the two.
_FIRST_FACTOR = {
    "aten::mm": 0, "aten::mv": 0, "aten::dot": 0, "aten::vdot": 0, "aten::convolution": 0,
    "aten::addmm": 1, "aten::addmv": 1,
}  # fmt: skip
_DEVICES = ("meta", "fake", "cpu")
# Activations and gradients of a layer on the CPU, beside its parameters.
_BYTES_BESIDE_PARAMETERS = 4


def count(request: CountRequest) -> CountAnswer:
    """Count ``request`` on the first device that permits it.

    Raises:
        UsageError: There is no such layer, or it takes no such argument.
        UnsupportedError: It is not a module, or has no backward pass.
    """
    length = request.sequence_length or DEFAULT_SEQUENCE_LENGTH
    warning = None
    if request.is_configuration:
        build, length, warning = from_configuration(request)
    elif ":" in request.target:
        build = made_by_a_factory(request, length)
    else:
        build = registered(request, length)
    built: list[nn.Module] = []

    def remember(device: torch.device) -> Countable:
        found = build(device)
        built.append(found.module)
        return found

    # transformers writes causal masks out on tensors without data, and attention would be counted as dense.
    places = tuple(place for place in _DEVICES if place != "fake" or not request.is_configuration)
    for place in places:
        try:
            description, flops = _count_on(place, remember, request.phase)
        except (UsageError, UnsupportedError):
            raise
        except Exception as error:
            if place == "cpu":
                raise
            if place == places[-2] and not all(map(_fits, built)):
                raise UnsupportedError(
                    f"{request.target} has to compute what it decides by ({type(error).__name__}), and its parameters "
                    "do not fit this machine; give a smaller size"
                ) from error
            continue
        return CountAnswer(
            target=request.target,
            description=description,
            phase=request.phase,
            batch_size=request.batch_size,
            sequence_length=length,
            device=place,
            flops=flops,
            warning=warning,
        )
    raise AssertionError("the last device raises")


def _count_on(place: str, build: Builder, phase: CountedPhase) -> tuple[str, ModelFlops]:
    device = torch.device("meta" if place == "meta" else "cpu")
    training = phase is CountedPhase.TRAIN
    # What the layer makes without naming a device, in its forward pass too, belongs beside its parameters.
    with ExitStack() as stack:
        if place == "fake":
            stack.enter_context(FakeTensorMode())
        if place != "cpu":
            stack.enter_context(_AsStrictAsKernels())
        stack.enter_context(device)
        stack.enter_context(torch.set_grad_enabled(training))
        torch.manual_seed(0)
        found = build(device)
        found.module.train(training)
        flops = count_run(found.run, root=found.module, backward=training, shaped_like=found.inputs)
        return found.description, flops


class _AsStrictAsKernels(TorchDispatchMode):
    """Refuses products of a real and a complex tensor, which no kernel computes and tensors without data permit.

    A complex layer that is given real input would be counted at half its cost.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Run ``func`` unless it is such a product."""
        del types
        first = _FIRST_FACTOR.get(func.name().partition(".")[0])
        if first is not None:
            factors = [tensor for tensor in args[first : first + 2] if isinstance(tensor, torch.Tensor)]
            if len({factor.is_complex() for factor in factors}) > 1:
                raise RuntimeError(f"{func.name()} of {' and '.join(str(factor.dtype) for factor in factors)}")
        return func(*args, **(kwargs or {}))


def _fits(module: nn.Module) -> bool:
    """Whether there is room to run it on the CPU, as far as its parameters tell."""
    parameter_bytes = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return parameter_bytes * _BYTES_BESIDE_PARAMETERS < psutil.virtual_memory().available
