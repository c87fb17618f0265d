"""The roof over every measured point: the fastest matrix product and the fastest copy this device does.

Datasheet peaks are promises at clocks a device does not hold; these two numbers are what it reached on the day.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from pamprof.measure.session.runner import utc_now
from pamprof.records import Ceilings, Dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.records import Environment

_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16}
_REPETITIONS = 9
# Large enough to fill the device and, for the copy, to be many times its cache; small enough for a second on a laptop.
_MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}
_COPY_BYTES = {"cpu": 128 * 2**20, "cuda": 2**31}


def measure_ceilings(device: Device, environment: Environment, *, session_id: str, dtype: Dtype, seed: int) -> Ceilings:
    """Time one large product in ``dtype`` and one large copy, on random data."""
    size, copy_bytes = _MATRIX_SIZE[device.kind], _COPY_BYTES[device.kind]
    generator = torch.Generator(device=device.torch_device).manual_seed(seed)
    left, right = (
        torch.randn(size, size, generator=generator, device=device.torch_device).to(_DTYPES[dtype]) for _ in range(2)
    )
    product = torch.empty_like(left)
    product_seconds = _median_seconds(lambda: torch.mm(left, right, out=product), device)
    source = torch.randint(-128, 127, (copy_bytes,), generator=generator, device=device.torch_device, dtype=torch.int8)
    target = torch.empty_like(source)
    copy_seconds = _median_seconds(lambda: target.copy_(source), device)
    return Ceilings(
        session_id=session_id,
        started_at=utc_now(),
        environment=environment,
        dtype=dtype,
        matrix_size=size,
        matrix_flops_per_second=2 * size**3 / product_seconds,
        copy_bytes=copy_bytes,
        copy_bytes_per_second=2 * copy_bytes / copy_seconds,
    )


def _median_seconds(action: Callable[[], object], device: Device) -> float:
    times = []
    for _ in range(_REPETITIONS):
        device.synchronise()
        start = perf_counter()
        action()
        device.synchronise()
        times.append(perf_counter() - start)
    return median(times[2:])
