"""A fresh process that allocates a known amount and reports what the storage tracker and the kernel saw of it.

``python -m pamprof.measure.validation.known_allocation`` prints one line of JSON. It has to be a fresh process: a
resident set never shrinks, so that what ran before would hide what is measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import msgspec
import psutil
import torch

from pamprof.measure.memory.breakdown import measure_peak, process_peak_bytes

# Three tensors of it at once; the resident set wavers by a few MiB.
_TENSOR_BYTES = 128 * 2**20
_WARM_UP_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAllocation:
    """Bytes of one step that holds three equal tensors at its fullest.

    Attributes:
        known_bytes: By the step's construction.
        tracked_bytes: The storage tracker's count.
        resident_rise_bytes: High-water mark of the resident set after the step less the resident set before it; None
            where the system keeps none.
    """

    known_bytes: int
    tracked_bytes: int
    resident_rise_bytes: int | None


def allocate() -> KnownAllocation:
    """Run the step once, after a small one has loaded all the code that it needs."""
    torch.set_num_threads(1)
    _step_of(_WARM_UP_BYTES)
    before = psutil.Process().memory_info().rss
    tracked = _step_of(_TENSOR_BYTES)
    highest = process_peak_bytes()
    return KnownAllocation(
        known_bytes=3 * _TENSOR_BYTES,
        tracked_bytes=tracked,
        resident_rise_bytes=None if highest is None else highest - before,
    )


def _step_of(tensor_bytes: int) -> int:
    """Tracked peak of a step that holds three tensors: its source, and for a moment two more."""
    source = torch.ones(tensor_bytes // 4)

    def step() -> torch.Tensor:
        doubled = source + source
        return doubled.neg()

    return measure_peak(step, torch.device("cpu"), source)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(allocate()).decode())
