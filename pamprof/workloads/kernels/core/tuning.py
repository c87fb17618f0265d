"""Find the fastest exact configuration of the core for one shape on one GPU, outside of anything that is timed.

One group of fields after another, each from the best so far: every candidate is compared with the float64 oracle first,
and one that is wrong, or does not fit the device, is listed with its fault and never used. Times are of CUDA graphs, so
that launches from Python do not count. The result is plain data, for a record, and is what calls of that shape use
from then on in this process.

Axes: B batch, T time, H heads, d head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from pamprof.errors import UnsupportedError
from pamprof.workloads.kernels.core.candidates import candidate_groups, starting_points
from pamprof.workloads.kernels.core.check import check_for
from pamprof.workloads.kernels.core.inputs import CoreInputs
from pamprof.workloads.kernels.core.launch import launch_backward, launch_forward
from pamprof.workloads.kernels.core.selection import has_hopper_kernels, multiprocessors, select_configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.workloads.kernels.core.configuration import Configuration, CoreShape

_CALLS = 5
"""Calls in one graph."""

_LEAST_REPLAYS = 5
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate.

    Attributes:
        configuration: That was tried.
        errors: Name and relative rms error of each result against the oracle.
        fault: Why it must not be used; None where it is exact.
        forward_seconds: Of one forward call; None where there is a fault.
        backward_seconds: Of one backward call; None where there is a fault or no backward.
    """

    configuration: Configuration
    errors: tuple[tuple[str, float], ...]
    fault: str | None
    forward_seconds: float | None
    backward_seconds: float | None

    @property
    def seconds(self) -> float:
        """Of both directions; infinite where there is a fault."""
        if self.forward_seconds is None:
            return float("inf")
        return self.forward_seconds + (self.backward_seconds or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What tuning found for a shape.

    Attributes:
        shape: Of the calls.
        device_name: Where.
        best: The fastest trial without a fault.
        trials: All, in order.
        complete: Whether every candidate was tried before the time was up.
    """

    shape: CoreShape
    device_name: str
    best: Trial
    trials: tuple[Trial, ...]
    complete: bool


_tunings: dict[tuple[CoreShape, str], Tuning] = {}


def tune(shape: CoreShape, device: torch.device, *, time_limit_seconds: float = 60.0) -> Tuning:
    """Try candidates for ``shape`` on ``device`` and select the fastest exact one; once per process.

    Args:
        shape: Of the calls. With ``differentiates`` both directions are timed, else the forward call alone.
        device: A CUDA device.
        time_limit_seconds: After which no further candidate is tried.

    Raises:
        UnsupportedError: No CUDA device, or no candidate is exact on it.
    """
    if device.type != "cuda":
        raise UnsupportedError(f"tuning times kernels on a CUDA device, this is {device.type}; use the default choice")
    name = torch.cuda.get_device_name(device)
    known = _tunings.get((shape, name))
    if known is not None:
        return known
    search = _Search(shape, device, time_limit_seconds)
    search.run()
    best = min(search.trials.values(), key=lambda trial: trial.seconds)
    if best.fault is not None:
        raise UnsupportedError(
            f"no configuration of the core's kernels is exact on {name} for {shape}: {best.fault}; measure the planar "
            "implementation"
        )
    tuning = Tuning(
        shape=shape,
        device_name=name,
        best=best,
        trials=tuple(search.trials.values()),
        complete=not search.late,
    )
    _tunings[shape, name] = tuning
    select_configuration(shape, device, best.configuration)
    return tuning


def random_inputs(shape: CoreShape, device: torch.device) -> CoreInputs:
    """Random planes of ``shape``, views of one joint tensor, with decays of a state that holds some hundred tokens."""
    size = (shape.batch_size, shape.length, 2, 3, shape.heads, shape.head_dim)
    parts = torch.randn(size, device=device, dtype=shape.dtype).unbind(3)
    axes = (shape.batch_size, shape.heads, *((shape.states,) if shape.states > 1 else ()), shape.length)
    log_decay = -0.02 * torch.rand(axes, device=device)
    phases = torch.rand(axes, device=device)
    return CoreInputs(
        queries=parts[0],
        keys=parts[1],
        values=parts[2],
        log_decay=log_decay,
        initial_state=None,
        scale=shape.head_dim**-0.5,
        coefficients=torch.stack((phases.cos(), phases.sin())) if shape.states > 1 else None,
    )


class _Search:
    """Trials of one tuning, in order."""

    def __init__(self, shape: CoreShape, device: torch.device, time_limit_seconds: float) -> None:
        self.trials: dict[Configuration, Trial] = {}
        self.late = False
        self._shape = shape
        self._multiprocessors = multiprocessors(device)
        self._starts = starting_points(shape, self._multiprocessors, hopper=has_hopper_kernels(device))
        self._inputs = random_inputs(shape, device)
        self._output_gradient = torch.randn(self._inputs.queries.shape, device=device, dtype=shape.dtype)
        self._until = perf_counter() + time_limit_seconds

    def run(self) -> None:
        """Every start, and from it every group of fields in turn."""
        for start in self._starts:
            best = self._trial(start)
            for group in candidate_groups(self._shape, self._multiprocessors):
                for candidate in group(best.configuration):
                    if self.late:
                        return
                    trial = self._trial(candidate)
                    best = min(best, trial, key=lambda trial: trial.seconds)

    def _trial(self, configuration: Configuration) -> Trial:
        known = self.trials.get(configuration)
        if known is None:
            known = self.trials[configuration] = self._try(configuration)
            self.late = perf_counter() > self._until
        return known

    def _try(self, configuration: Configuration) -> Trial:
        keeps = self._shape.differentiates
        checked = check_for(self._inputs, configuration, wants_final=not keeps, keeps=keeps)
        if checked.fault is not None:
            return Trial(
                configuration=configuration,
                errors=checked.errors,
                fault=checked.fault,
                forward_seconds=None,
                backward_seconds=None,
            )

        def forward() -> torch.Tensor | None:
            return launch_forward(self._inputs, configuration, wants_final=not keeps, keeps=keeps)[2]

        kept = forward()

        def backward() -> None:
            launch_backward(self._inputs, configuration, kept, self._output_gradient, None, wants_initial=False)

        return Trial(
            configuration=configuration,
            errors=checked.errors,
            fault=None,
            forward_seconds=graph_seconds(forward),
            backward_seconds=graph_seconds(backward) if keeps else None,
        )


def graph_seconds(call: Callable[[], object]) -> float:
    """Median seconds of one call, from replays of a CUDA graph of several, inputs in cache where they fit."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_CALLS):
            call()
    graph.replay()
    times: list[float] = []
    while len(times) < _LEAST_REPLAYS or sum(times) * _CALLS < _SAMPLE_SECONDS:
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / _CALLS)
    return sorted(times)[len(times) // 2]
