"""Watches a training loop from the ends of its optimizer's steps.

The first step makes optimizer state and compiled code; the second is counted and taken apart, and takes long; times and
the device's sensors begin after it. At the end of each timed step a clock is read, and nothing else.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from pamprof.devices.parts import part_of
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.machine.monitor import OpenWindow, probes_for
from pamprof.measure.memory.allocator_peak import cuda_storage_bytes
from pamprof.measure.session.runner import utc_now
from pamprof.measure.training.anatomy import StepAnatomy, trained_modules
from pamprof.measure.training.ends import StepClock
from pamprof.records import TrainingProfile, Unknown
from pamprof.workloads.execution import compiler_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from pamprof.hardware.device import Device
    from pamprof.measure.session.request import PriceLookup
    from pamprof.measure.training.anatomy import CountedStep
    from pamprof.records import Memory

_SENSOR_SECONDS = 0.2  # a poll of every sensor costs up to 1 ms of the interpreter


class TrainingLoop:
    """From ``begin`` to ``end`` around a loop.

    Args:
        tokens_per_step: Tokens of one optimizer step.
        accumulation: Micro-batches of one.
        model: What is trained; None: the modules alive that hold the optimizer's parameters.
        counted: Whether the second step is counted and taken apart.
    """

    def __init__(
        self, *, tokens_per_step: int | None, accumulation: int, model: nn.Module | None, counted: bool
    ) -> None:
        self._tokens_per_step = tokens_per_step
        self._accumulation = accumulation
        self._model = model
        self._is_counted = counted
        self._started_at = utc_now()
        self._origin = time.perf_counter()
        self._is_told = False
        self._forget()

    def _forget(self) -> None:
        self._ended = 0
        self._optimizers: list[torch.optim.Optimizer] = []
        self._module: nn.Module | None = None
        self._device: Device | None = None
        self._anatomy: StepAnatomy | None = None
        self._step: CountedStep | None = None
        self._clock: StepClock | None = None
        self._window: OpenWindow | None = None

    def begin(self) -> None:
        """Listen to every optimizer of torch."""
        self._hook = register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        del args, kwargs
        if self._clock is None and optimizer not in self._optimizers:
            self._optimizers.append(optimizer)
        if not self._is_told and optimizer is self._optimizers[0]:
            self._end_step()

    def step(self) -> None:
        """A step ends here; from the first call on, optimizers no longer end one."""
        if not self._is_told:
            self._is_told = True
            seen = self._optimizers
            self._close()
            self._forget()
            self._optimizers = seen
        self._end_step()

    def _end_step(self) -> None:
        if self._clock is not None:
            self._clock.mark()
            return
        self._ended += 1
        if self._ended == 1:
            self._look()
            if self._is_counted and self._module is not None and self._device is not None:
                self._anatomy = StepAnatomy(self._module, self._optimizers, self._device.torch_device)
                return
        if self._anatomy is not None:
            self._step = self._anatomy.end()
            self._anatomy = None
        self._begin_times()

    def _look(self) -> None:
        """Find what is trained, and where."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        parameters = [parameter for group in groups for parameter in group["params"]]
        self._module = self._model if self._model is not None else trained_modules(parameters)
        found = [*parameters, *self._module.parameters()]
        place = next((each.device for each in found if each.device.type == "cuda"), torch.device("cpu"))
        self._device = open_device("cpu" if place.type == "cpu" else f"cuda:{place.index or 0}")

    def _begin_times(self) -> None:
        assert self._device is not None
        self._device.synchronise()
        if self._device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device.torch_device)
        probes = probes_for(self._device, open_nvml(self._device.uuid))
        self._window = OpenWindow(probes, origin=self._origin, least_interval_seconds=_SENSOR_SECONDS)
        self._clock = StepClock(self._device)

    def _close(self) -> None:
        if self._anatomy is not None:
            self._anatomy.abandon()
        if self._window is not None:
            self._window.close()

    def abandon(self) -> None:
        """The loop failed."""
        self._hook.remove()
        self._close()

    def end(self, price: PriceLookup) -> TrainingProfile:
        """What was seen; the price is looked up for the device on which the loop ran."""
        self._hook.remove()
        self._close()
        device = self._device or open_device("cpu")
        environment, unknowns = read_environment(device, open_nvml(device.uuid))
        reasons = list(unknowns)
        times = () if self._clock is None else self._clock.times()
        monitor = None
        if self._window is not None and self._clock is not None and times:
            monitor, missing = self._window.seen(steps=len(times), end=self._clock.last_seconds)
            reasons += missing
        else:
            reasons.append(Unknown(field="monitor", reason=self._too_short()))
        if not times:
            reasons.append(Unknown(field="step_seconds", reason=self._too_short()))
        if self._step is None:
            why = self._too_short() if self._is_counted else "no step was to be counted (count=False)"
            reasons += [Unknown(field=field, reason=why) for field in ("flops", "memory", "dtype")]
        if self._tokens_per_step is None:
            reasons.append(Unknown(field="tokens_per_step", reason="nobody said how many; give tokens="))
        compiled, memory = compiler_counts()[0] > 0, None
        if self._step is not None:
            memory = _memory(self._step.memory, device, is_timed=bool(times), compiled=compiled)
            reasons += _memory_unknowns(memory, device)
        quote, quote_reason = price(device.kind, device.name, environment.processor_use, part_of(environment))
        return TrainingProfile(
            session_id=uuid.uuid4().hex[:12],
            started_at=self._started_at,
            environment=environment,
            tokens_per_step=self._tokens_per_step,
            accumulation=self._accumulation,
            dtype=None if self._step is None else self._step.dtype,
            step_seconds=times,
            untimed_steps=self._ended,
            parameter_count=_parameter_count(self._module),
            compiled=compiled,
            flops=None if self._step is None else self._step.flops,
            memory=memory,
            monitor=monitor,
            quote=quote,
            quote_unknown_reason=quote_reason,
            unknowns=tuple(reasons),
        )

    def _too_short(self) -> str:
        if self._ended == 0:
            return "no step was seen to end; call run.step() where one does, or train with an optimizer of torch"
        return f"the loop ended after {self._ended} step{'s' if self._ended > 1 else ''}, before the first timed one"


def _memory(memory: Memory, device: Device, *, is_timed: bool, compiled: bool) -> Memory:
    """On CUDA with the allocator's own peak over the timed steps; what compiled code holds then is not known apart."""
    if device.kind != "cuda" or not is_timed:
        return memory
    place = device.torch_device
    return replace(
        memory,
        saved_activation_bytes=None if compiled else memory.saved_activation_bytes,
        short_lived_bytes=None if compiled else memory.short_lived_bytes,
        peak_bytes=cuda_storage_bytes(place, "peak"),
        reserved_bytes=torch.cuda.max_memory_reserved(place),
        device_used_bytes=device.memory().used_bytes,
    )


def _memory_unknowns(memory: Memory, device: Device) -> Iterator[Unknown]:
    """Why fields of it are None."""
    used = "the loop was not timed" if device.kind == "cuda" else "the device is a CPU"
    reasons = {
        "saved_activation_bytes": "the timed steps ran compiled code, the counted one did not",
        "short_lived_bytes": "the timed steps ran compiled code, the counted one did not",
        "workspace_bytes": "workspaces are not told from other tensors in a loop that somebody else runs",
        "reserved_bytes": used,
        "device_used_bytes": used,
        "process_peak_bytes": "the system keeps no high-water mark of the resident set",
    }
    for name, reason in reasons.items():
        if getattr(memory, name) is None:
            yield Unknown(field=f"memory.{name}", reason=reason)


def _parameter_count(module: nn.Module | None) -> int | None:
    if module is None:
        return None
    return sum(each.numel() * (2 if each.is_complex() else 1) for each in module.parameters())
