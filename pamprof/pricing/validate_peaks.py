"""Faults that lists of device figures contain: sparse peaks as dense, another board's figures, one die of two.

A peak "with sparsity" is twice the dense one, tensor cores run TF32 at half the rate of bfloat16, the A10G is the
slower sibling of the A10, and some lists halve a package of two dies. The first shows inside one row by the second; all
show against the figures known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.devices.names import find_device
from pamprof.pricing.rates.findings import Finding, Rule, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pamprof.devices.catalogue import DevicePeaks, ListedDevice

_TOLERANCE = 0.15
# Dense bfloat16 of the A10, FLOP/s (NVIDIA A10 datasheet: 125 TFLOP/s dense, 250 with sparsity).
_A10_BFLOAT16 = 125e12


def validate_peaks(devices: Sequence[DevicePeaks]) -> tuple[Finding, ...]:
    """The faults of a list of device figures, in its order."""
    return tuple(finding for device in devices for rule in (_within, _sibling, _known) for finding in rule(device))


def _within(device: DevicePeaks) -> Iterator[Finding]:
    half, tf32 = device.bfloat16_flops_per_second, device.tf32_flops_per_second
    if half is None or tf32 is None:
        return
    if _near(half / tf32, 4):
        yield _failure(Rule.SPARSE_PEAK, device, f"bfloat16 at {half / 1e12:g} TFLOP/s is 4 times TF32, not 2: sparse.")
    elif _near(half / tf32, 1):
        yield _failure(Rule.SPARSE_PEAK, device, f"TF32 at {tf32 / 1e12:g} TFLOP/s equals bfloat16: sparse.")


def _sibling(device: DevicePeaks) -> Iterator[Finding]:
    half = device.bfloat16_flops_per_second
    listed = _listed(device)
    if listed is not None and listed.name == "A10G" and half is not None and half >= _A10_BFLOAT16 * (1 - _TOLERANCE):
        yield _failure(Rule.WRONG_DEVICE, device, f"{half / 1e12:g} TFLOP/s is the A10's figure; the A10G has 70.")


def _known(device: DevicePeaks) -> Iterator[Finding]:
    listed = _listed(device)
    if listed is None or listed.peaks is None or listed.peaks == device:
        return
    known = listed.peaks
    pairs = {
        "bfloat16": (device.bfloat16_flops_per_second, known.bfloat16_flops_per_second),
        "TF32": (device.tf32_flops_per_second, known.tf32_flops_per_second),
        "bandwidth": (device.bandwidth_bytes_per_second, known.bandwidth_bytes_per_second),
    }
    for quantity, (value, right) in pairs.items():
        if value is None or right is None:
            continue
        if quantity != "bandwidth" and listed.name != "A10G" and _near(value / right, 2):
            yield _failure(Rule.SPARSE_PEAK, device, f"{quantity} is twice the dense figure ({known.source}): sparse.")
        elif listed.die_count == 2 and _near(value / right, 0.5):
            yield _failure(Rule.ONE_DIE, device, f"{quantity} is half the package's ({known.source}): one of two dies.")


def _listed(device: DevicePeaks) -> ListedDevice | None:
    return next((found for reported in device.reported_names if (found := find_device(reported))), None)


def _near(value: float, wanted: float) -> bool:
    return abs(value / wanted - 1) <= _TOLERANCE


def _failure(rule: Rule, device: DevicePeaks, sentence: str) -> Finding:
    return Finding(severity=Severity.FAILURE, rule=rule, subject=device.name, sentence=sentence)
