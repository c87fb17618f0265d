"""Writes and reads pairs over a grid of sizes, and finds the size at which 99 % are still retrieved."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pamprof.devices.parts import part_of
from pamprof.errors import UsageError
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.capacity.memories import ELEMENTS_AT_ONCE, random_pairs, read_back, retrieved
from pamprof.measure.session.runner import utc_now
from pamprof.records import AssociativeMemory, Capacity, CapacityPoint, RetrievalScore

if TYPE_CHECKING:
    from pamprof.measure.session.request import PriceLookup

RETRIEVED_RATIO = 0.99  # what counts as held; ``analysis.capacity`` answers for the same
_DEFAULT_REACH = 8  # the largest default size, in multiples of head_dim
_LARGEST = 1 << 16
_CLOSE_ENOUGH = 1.02  # the ratio of neighbouring sizes at which the search for the threshold ends
_LEAST_RETRIEVALS = 1_000  # of a size; a few pairs are written with more seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityRequest:
    """What to measure.

    Attributes:
        command: Stored with the result.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        states: Memories, each once.
        head_dims: Channels of keys and values.
        associations: Sizes; empty for powers of two up to 8 head_dim.
        score: How the closest value is found.
        seeds: How many; of small sizes so many that there are 1,000 retrievals.
        first_seed: The first.
        time_budget_seconds: After this no further point begins.
    """

    command: str
    device: str
    states: tuple[AssociativeMemory, ...]
    head_dims: tuple[int, ...]
    associations: tuple[int, ...]
    score: RetrievalScore
    seeds: int
    first_seed: int
    time_budget_seconds: float


def measure_capacity(request: CapacityRequest, price: PriceLookup) -> Capacity:
    """Measure every memory at every size, then between the two sizes where retrieval falls below 99 %.

    Raises:
        UsageError: A size, a number of seeds or a head_dim that cannot be measured.
        DeviceError: A device that was asked for is not there.
        PriceError: The price that was asked for cannot be had.
    """
    _check(request)
    started, started_at = time.perf_counter(), utc_now()
    device = open_device(request.device)
    environment, unknowns = read_environment(device, open_nvml(device.uuid))
    quote, reason = price(device.kind, device.name, environment.processor_use, part_of(environment))
    measuring = _Measuring(request, device.torch_device, started)
    for head_dim in request.head_dims:
        measuring.measure(head_dim)
    return Capacity(
        session_id=uuid.uuid4().hex[:12],
        started_at=started_at,
        command=request.command,
        environment=environment,
        unknowns=unknowns,
        score=request.score,
        first_seed=request.first_seed,
        points=measuring.points(),
        left_out=measuring.left_out,
        time_budget_seconds=request.time_budget_seconds,
        seconds=time.perf_counter() - started,
        quote=quote,
        quote_unknown_reason=reason,
    )


def _check(request: CapacityRequest) -> None:
    if request.seeds < 2:
        raise UsageError(f"--seeds {request.seeds} gives no interval; give 2 or more")
    for option, values in (("--associations", request.associations), ("--head-dim", request.head_dims)):
        for value in values:
            if not 1 <= value <= _LARGEST:
                raise UsageError(f"{option} {value} cannot be measured; give 1 to {_LARGEST:,}")


class _Measuring:
    def __init__(self, request: CapacityRequest, device: torch.device, started: float) -> None:
        self._request, self._device, self._started = request, device, started
        self._found: dict[tuple[int, AssociativeMemory, int], CapacityPoint] = {}
        self.left_out = 0

    def points(self) -> tuple[CapacityPoint, ...]:
        """In order of head_dim, state and size."""
        order = self._request.states
        return tuple(
            sorted(self._found.values(), key=lambda p: (p.head_dim, order.index(p.state), p.associations)),
        )

    def measure(self, head_dim: int) -> None:
        """All memories at the sizes of the grid, the small ones first, then near the threshold."""
        sizes = sorted(set(self._request.associations)) or _powers_of_two(_DEFAULT_REACH * head_dim)
        for size in sizes:
            self._measure_at(head_dim, size, self._request.states)
        for state in self._request.states:
            between = self._between(head_dim, state)
            while between is not None and self._measure_at(head_dim, between, (state,)):
                between = self._between(head_dim, state)

    def _between(self, head_dim: int, state: AssociativeMemory) -> int | None:
        """The size halfway between the largest that is held and the next that is not; None where those are close."""
        points = sorted((p for p in self._found.values() if p.head_dim == head_dim and p.state is state), key=_size)
        held = 0
        for point in points:
            if sum(point.correct) < RETRIEVED_RATIO * point.associations * len(point.correct):
                close = point.associations <= max(held + 1, held * _CLOSE_ENOUGH) or held == 0
                return None if close else round((held * point.associations) ** 0.5)
            held = point.associations
        return None

    @torch.no_grad()
    def _measure_at(self, head_dim: int, size: int, states: tuple[AssociativeMemory, ...]) -> bool:
        """Measure ``states`` with the same pairs; False where the time budget is used up."""
        if self._found and time.perf_counter() - self._started > self._request.time_budget_seconds:
            self.left_out += len(states)
            return False
        correct: dict[AssociativeMemory, list[int]] = {state: [] for state in states}
        distances: dict[AssociativeMemory, list[float]] = {state: [] for state in states}
        last = self._request.first_seed + max(self._request.seeds, -(-_LEAST_RETRIEVALS // size))
        at_once = max(1, ELEMENTS_AT_ONCE // (size * size))
        for first in range(self._request.first_seed, last, at_once):
            seeds = range(first, min(first + at_once, last))
            keys, values = (x.to(self._device) for x in random_pairs(seeds, size, head_dim))
            for state in states:
                read, held = read_back(state, keys, values)
                correct[state] += retrieved(read, held, self._request.score).sum(-1).tolist()
                distances[state] += (read - held).abs().square().sum(-1).mean(-1).sqrt().tolist()
        for state in states:
            self._found[head_dim, state, size] = CapacityPoint(
                state=state,
                head_dim=head_dim,
                associations=size,
                correct=tuple(correct[state]),
                interference=() if state.endswith("forgetting") else tuple(distances[state]),
            )
        return True


def _size(point: CapacityPoint) -> int:
    return point.associations


def _powers_of_two(largest: int) -> list[int]:
    return [1 << exponent for exponent in range(min(largest, _LARGEST).bit_length())]
