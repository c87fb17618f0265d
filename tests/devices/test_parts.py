"""A slice of a board and a virtual GPU are devices of their own; shares by hand from the MIG user guide's tables."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from pamprof.devices.parts import part_named, part_of
from pamprof.devices.peaks import device_peaks, peak_flops_per_second, peak_unknown_reason
from pamprof.records import Dtype
from tests.synthetic import synthetic_environment

SLICE = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"


@pytest.mark.parametrize(
    ("name", "compute", "memory", "price"),
    [
        (SLICE, "1/7", "1/8", "1/7"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.20gb", "1/7", "1/4", "1/4"),  # four fill the memory
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "3/7", "1/2", "1/2"),  # two fill it
        ("NVIDIA H100 80GB HBM3 MIG 4g.40gb", "4/7", "1/2", "4/7"),
        ("NVIDIA H100 80GB HBM3 MIG 7g.80gb", "1", "1", "1"),
        ("NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb", "1/7", "1/4", "1/7"),  # half the compute of an instance of 2/7
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", "1/7", "1/8", "1/7"),
        ("NVIDIA H200 MIG 1g.18gb", "1/7", "1/8", "1/7"),
        ("NVIDIA B200 MIG 2g.45gb", "2/7", "1/4", "2/7"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb", "1/4", "1/4", "1/4"),
    ],
)
def test_a_profile_tells_the_shares_of_compute_memory_and_price(
    name: str, compute: str, memory: str, price: str
) -> None:
    part = part_named(name)
    assert part is not None
    assert (part.compute, part.memory, part.price) == (Fraction(compute), Fraction(memory), Fraction(price))
    assert part.unknown_reason == ""


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H800 MIG 1g.10gb",
        "NVIDIA L4 MIG 1g.3gb",
        "NVIDIA H100 80GB HBM3 MIG 1g.15gb",
        "NVIDIA H200 MIG 9g.141gb",
    ],
)
def test_a_profile_that_the_board_cannot_have_tells_no_share(name: str) -> None:
    part = part_named(name)
    assert part is not None
    assert (part.compute, part.memory, part.price) == (None, None, None)
    assert part.unknown_reason


@pytest.mark.parametrize("name", ["GRID A100-10C", "NVIDIA A10-12Q", "GRID A100-1-5CME", "NVIDIA RTX A6000-48Q"])
def test_a_virtual_gpu_is_part_of_a_board_of_unknown_share(name: str) -> None:
    part = part_named(name)
    assert part is not None
    assert part.price is None
    assert "virtual GPU" in part.unknown_reason


@pytest.mark.parametrize(
    "name", ["NVIDIA A100-SXM4-80GB", "NVIDIA H200", "NVIDIA A100 80GB PCIe", "Tesla V100-SXM2-16GB"]
)
def test_a_whole_board_is_no_part(name: str) -> None:
    assert part_named(name) is None
    assert part_of(synthetic_environment(device_name=name)) is None


def test_a_slice_has_its_share_of_the_boards_peaks_and_bandwidth() -> None:
    sliced = replace(synthetic_environment(device_name=SLICE), mig_enabled=True)
    peaks = device_peaks(sliced)
    assert peaks is not None
    # 989.4 TFLOP/s and 3350 GB/s of the H100 SXM.
    assert peak_flops_per_second(sliced, Dtype.BFLOAT16) == pytest.approx(141.342857e12)
    assert peaks.bandwidth_bytes_per_second == pytest.approx(418.75e9)
    assert "1/7 of the compute and 1/8 of the memory of the H100-SXM" in peaks.source


def test_the_drivers_modes_and_a_small_memory_tell_a_part_whose_name_does_not() -> None:
    board = synthetic_environment(device_name="NVIDIA H100 80GB HBM3")
    for changed, words in (
        (replace(board, mig_enabled=True), "divided by MIG"),
        (replace(board, gpu_virtualisation="vgpu"), "virtual GPU"),
        (replace(board, device_memory_bytes=10_468_982_784), "9.75 GiB of memory where the board has 80 GiB"),
        (replace(board, device_name="NVIDIA A10-24Q"), "virtual GPU"),
    ):
        part = part_of(changed)
        assert part is not None
        assert words in part.unknown_reason
        assert device_peaks(changed) is None
        assert words in peak_unknown_reason(changed, Dtype.BFLOAT16)
    assert part_of(replace(board, gpu_virtualisation="passthrough", device_memory_bytes=79 * 2**30)) is None
