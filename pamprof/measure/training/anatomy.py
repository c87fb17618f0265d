"""One step of a loop that somebody else runs, counted and taken apart between two moments."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.measure.flops.counter import counting
from pamprof.measure.memory.activation_watch import ActivationWatch
from pamprof.measure.memory.breakdown import Resident, process_peak_bytes, tracking
from pamprof.records import Dtype, Memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import FlopCount

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedStep:
    """What one step did and held; ``dtype`` is what most of its saved activations were kept in."""

    flops: FlopCount
    memory: Memory
    dtype: Dtype


class StepAnatomy:
    """Counts and follows everything from its making until ``end``.

    The step runs eagerly, whatever torch.compile made of it. Tensors that it reads and that existed before, inputs and
    constants, are ``input_bytes``, unless autograd saves them: saved activations.

    Args:
        module: What is trained.
        optimizers: What trains it.
        device: Where.
    """

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> None:
        self._resident = Resident.of(module, optimizers, None, (), device_type=device.type)
        self._watch = ActivationWatch(module, (), self._resident.storages, device_type=device.type)
        self._parameters = tuple(module.parameters())
        self._saved_bytes: Counter[torch.dtype] = Counter()
        self._stack = ExitStack()
        self._counted = self._stack.enter_context(counting())
        self._tracker = self._stack.enter_context(tracking(self._resident, self._watch, device_type=device.type))
        self._watch.at_save = self._saved

    def _saved(self, tensor: torch.Tensor) -> None:
        self._saved_bytes[tensor.dtype] += tensor.nbytes
        self._tracker.follow(tensor)

    def abandon(self) -> None:
        """End without a result; safe to call twice."""
        self._stack.close()

    def end(self) -> CountedStep:
        """The step is over."""
        self._stack.close()
        resident, watch, tracker = self._resident, self._watch, self._tracker
        parts_bytes = resident.byte_count + watch.bytes_at_peak + tracker.found_bytes_at_peak
        memory = Memory(
            peak_bytes=tracker.peak_bytes,
            parameter_bytes=resident.parameter_bytes,
            gradient_bytes=watch.gradient_bytes_at_peak,
            optimizer_bytes=resident.optimizer_bytes,
            saved_activation_bytes=watch.saved_bytes_at_peak,
            state_bytes=0,
            state_kind=None,
            input_bytes=tracker.found_bytes_at_peak,
            reserved_bytes=None,
            device_used_bytes=None,
            process_peak_bytes=process_peak_bytes(),
            short_lived_bytes=tracker.peak_bytes - parts_bytes,
        )
        return CountedStep(flops=self._counted(None), memory=memory, dtype=self._dtype())

    def _dtype(self) -> Dtype:
        sizes = self._saved_bytes or Counter({each.dtype: each.nbytes for each in self._parameters})
        half_bytes = sum(sizes[dtype] for dtype in _HALF)
        return Dtype.BFLOAT16 if 2 * half_bytes > sizes.total() else Dtype.FLOAT32


def trained_modules(parameters: Iterable[torch.Tensor]) -> nn.ModuleList:
    """The outermost modules alive that hold any of ``parameters``."""
    wanted = {id(parameter) for parameter in parameters}
    # The type is asked, not the object: proxies may run code when they are asked for their class.
    alive = [item for item in gc.get_objects() if issubclass(type(item), nn.Module) and "_modules" in vars(item)]
    holders = [module for module in alive if any(id(each) in wanted for each in module.parameters())]
    inner = {id(part) for module in holders for part in module.modules() if part is not module}
    return nn.ModuleList([module for module in holders if id(module) not in inner])
