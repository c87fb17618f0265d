from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pamprof.devices.peaks import listed_peaks
from pamprof.pricing.rates.findings import Rule, Severity
from pamprof.pricing.validate_peaks import validate_peaks

if TYPE_CHECKING:
    from pamprof.devices.catalogue import DevicePeaks


def known(name: str) -> DevicePeaks:
    (found,) = (device for device in listed_peaks() if device.name == name)
    return found


def test_the_figures_that_come_with_the_package_have_no_fault() -> None:
    assert validate_peaks(listed_peaks()) == ()


@pytest.mark.parametrize("name", ["H100 SXM5 80 GB", "H200 SXM", "A100 SXM4 80 GB", "L40S"])
def test_a_sparse_peak_listed_as_dense_is_flagged(name: str) -> None:
    device = known(name)
    half, tf32 = device.bfloat16_flops_per_second, device.tf32_flops_per_second
    assert half is not None
    assert tf32 is not None
    both = replace(device, bfloat16_flops_per_second=2 * half, tf32_flops_per_second=2 * tf32)
    for wrong in (replace(device, bfloat16_flops_per_second=2 * half), both):
        findings = validate_peaks((wrong,))
        assert {finding.rule for finding in findings} == {Rule.SPARSE_PEAK}
        assert {finding.severity for finding in findings} == {Severity.FAILURE}
    unlisted = replace(device, name="new", reported_names=("NVIDIA new",), bfloat16_flops_per_second=2 * half)
    assert {finding.rule for finding in validate_peaks((unlisted,))} == {Rule.SPARSE_PEAK}
    assert "equals bfloat16" in validate_peaks((replace(device, tf32_flops_per_second=half),))[0].sentence


def test_the_a10s_figures_under_the_name_a10g_are_flagged() -> None:
    wrong = replace(known("A10G"), bfloat16_flops_per_second=125e12, tf32_flops_per_second=62.5e12)
    assert [finding.rule for finding in validate_peaks((wrong,))] == [Rule.WRONG_DEVICE]


def test_one_die_of_a_b200_is_flagged_by_peak_and_by_bandwidth() -> None:
    package = known("B200 SXM6")
    die = replace(package, bfloat16_flops_per_second=1125e12, bandwidth_bytes_per_second=4.1e12)
    assert [finding.rule for finding in validate_peaks((die,))] == [Rule.ONE_DIE, Rule.ONE_DIE]
    half = replace(known("H200 SXM"), bandwidth_bytes_per_second=2.4e12)
    assert validate_peaks((half,)) == ()
