"""Counts what was asked for; runs in the process that counts.

A layer is built and run on the meta device, where nothing is computed. One that asks for values or for a device's own
kernels is run on CPU tensors without data, and where that fails as well on the CPU.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.model_count import count_run
from pamprof.measure.flops.target.countable import DEFAULT_SEQUENCE_LENGTH
from pamprof.measure.flops.target.factory import made_by_a_factory
from pamprof.measure.flops.target.known import from_configuration, registered
from pamprof.measure.flops.target.request import CountAnswer, CountedPhase, CountRequest

if TYPE_CHECKING:
    from torch import nn

    from pamprof.measure.flops.model_flops import ModelFlops
    from pamprof.measure.flops.target.countable import Builder, Countable

_DEVICES = ("meta", "fake", "cpu")
# Activations and gradients of a layer on the CPU, beside its parameters.
_BYTES_BESIDE_PARAMETERS = 4


def count(request: CountRequest) -> CountAnswer:
    """Count ``request`` on the first device that permits it.

    Raises:
        UsageError: There is no such layer, or it takes no such argument.
        UnsupportedError: It is not a module, or has no backward pass.
    """
    sys.path.insert(0, str(Path.cwd()))
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
    with FakeTensorMode() if place == "fake" else nullcontext(), device, torch.set_grad_enabled(training):
        torch.manual_seed(0)
        found = build(device)
        found.module.train(training)
        flops = count_run(found.run, root=found.module, backward=training, shaped_like=found.inputs)
        return found.description, flops


def _fits(module: nn.Module) -> bool:
    """Whether there is room to run it on the CPU, as far as its parameters tell."""
    parameter_bytes = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return parameter_bytes * _BYTES_BESIDE_PARAMETERS < psutil.virtual_memory().available
