"""Faults in a table of device figures: sparse peaks, a neighbour's peak, one die's bandwidth.

Claimed figures are held against the dense ones of ``pamprof.analysis.known_devices``, which name their sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.known_devices import KNOWN_DEVICES
from pamprof.pricing.device_names import TWO_DIE_DEVICES, canonical_device
from pamprof.pricing.findings import Finding, Rule, Severity

if TYPE_CHECKING:
    from pamprof.analysis.known_devices import DevicePeaks

# Sources round a peak to three digits and a bandwidth to the next hundred GB/s.
_TOLERANCE = 0.05


def check_figures(claims: tuple[DevicePeaks, ...]) -> tuple[Finding, ...]:
    """The faults of claimed peaks and bandwidths; a device without known figures has none to contradict."""
    known = {canonical_device(device.reported_names[0]): device for device in KNOWN_DEVICES}
    return tuple(
        finding
        for claim in claims
        if (truth := known.get(canonical_device(claim.reported_names[0]) or "")) is not None
        for finding in (*_peak(claim, truth), *_bandwidth(claim, truth))
    )


def _peak(claim: DevicePeaks, truth: DevicePeaks) -> tuple[Finding, ...]:
    claimed, dense = claim.bfloat16_flops_per_second, truth.bfloat16_flops_per_second
    if claimed is None or dense is None or _near(claimed, dense):
        return ()
    if _near(claimed, 2 * dense):
        rule, cause = Rule.SPARSE_PEAK, "the peak with structured sparsity, twice the dense one"
    else:
        rule, cause = Rule.WRONG_PEAK, "not this device's dense peak"
    sentence = f"{claimed / 1e12:.4g} bfloat16 TFLOP/s is {cause}; the dense peak is {dense / 1e12:.4g}."
    return (Finding(severity=Severity.FAILURE, rule=rule, subject=claim.name, sentence=sentence),)


def _bandwidth(claim: DevicePeaks, truth: DevicePeaks) -> tuple[Finding, ...]:
    claimed, true = claim.bandwidth_bytes_per_second, truth.bandwidth_bytes_per_second
    if _near(claimed, true):
        return ()
    half = canonical_device(truth.reported_names[0]) in TWO_DIE_DEVICES and _near(2 * claimed, true)
    cause = "one of its two dies" if half else "another device"
    sentence = f"{claimed / 1e9:,.0f} GB/s is the bandwidth of {cause}; {truth.name} has {true / 1e9:,.0f}."
    return (Finding(severity=Severity.FAILURE, rule=Rule.WRONG_BANDWIDTH, subject=claim.name, sentence=sentence),)


def _near(value: float, target: float) -> bool:
    return abs(value - target) <= _TOLERANCE * target
