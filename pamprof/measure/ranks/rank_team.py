"""The ranks as a team: they agree over gloo, whatever the backend of the measured messages is."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

from pamprof.errors import PamprofError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Value = TypeVar("Value")


_TOGETHER_SECONDS = 5e-4  # longer than gloo takes to tell all of a moment


class RankTeam:
    """All ranks of one launch; every method is called by all of them at the same place.

    Args:
        control: A gloo group of all ranks: it waits in the kernel, not on the device, and none of its messages is in a
            step.
    """

    def __init__(self, control: ProcessGroup) -> None:
        self._control = control
        self.rank = distributed.get_rank(control)
        self.size = distributed.get_world_size(control)

    def line_up(self) -> None:
        """Wait until all are here, and a moment on the clock that they share, so that none begins before another."""
        (moment,) = self.slowest(perf_counter())
        while perf_counter() < moment + _TOGETHER_SECONDS:
            pass

    def slowest(self, *seconds: float) -> tuple[float, ...]:
        """The largest that any rank has of each."""
        values = torch.tensor(seconds, dtype=torch.float64)
        distributed.all_reduce(values, op=distributed.ReduceOp.MAX, group=self._control)
        return tuple(values.tolist())

    def mean(self, value: float) -> float:
        """Of all ranks."""
        return sum(self.gathered(value)) / self.size

    def gathered(self, value: Value) -> list[Value]:
        """What each has, by rank."""
        found: list[Value | None] = [None] * self.size
        distributed.all_gather_object(found, value, group=self._control)
        return found  # type: ignore[return-value]  # filled by now

    def told(self, value: Value | None) -> Value:
        """What rank 0 has."""
        holder: list[Value | None] = [value]
        distributed.broadcast_object_list(holder, src=0, group=self._control)
        return holder[0]  # type: ignore[return-value]  # rank 0 gives one


def check_alike(facts: list[dict[str, str | None]]) -> None:
    """Raise ``PamprofError`` where ranks differ in a version or a device; ``facts`` are by rank."""
    for name in facts[0]:
        found = {rank: fact.get(name) for rank, fact in enumerate(facts)}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"rank {rank} has {value or 'none'}" for rank, value in found.items())
            raise PamprofError(f"the ranks differ in {name}: {listed}; start them all from one environment")
