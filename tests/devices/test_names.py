from __future__ import annotations

import pytest

from pamprof.devices.names import canonical_device, resolve_device, variants_of
from pamprof.errors import PriceError


@pytest.mark.parametrize(
    ("reported", "canonical"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", "H200-NVL"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA GeForce RTX 5090", "RTX5090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB-SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB-SXM"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB-PCIe"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB-PCIe"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100-16GB-SXM"),
        ("NVIDIA B200", "B200"),
        ("AMD Instinct MI300X", "MI300X"),
        ("h100 sxm", "H100-SXM"),
        ("rtx 4090", "RTX4090"),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "A100-80GB-SXM MIG 1g.10gb"),
        ("H200 MIG 1C.2G.35GB", "H200 MIG 1c.2g.35gb"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "CPU"),
        ("AMD EPYC 7B13", "CPU"),
        ("Apple M3 Pro", "CPU"),
        ("aarch64", "CPU"),
        ("cpu", "CPU"),
    ],
)
def test_a_reported_name_becomes_the_canonical_one(reported: str, canonical: str) -> None:
    assert canonical_device(reported) == canonical


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA H800",
        "NVIDIA A10-12Q",
        "NVIDIA H800 MIG 1g.10gb",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA H100",
        "H100",
        "A100",
        "NVIDIA GH200 144G HBM3e",
        "",
    ],
)
def test_a_similar_or_incomplete_name_is_unknown(name: str) -> None:
    assert canonical_device(name) is None


def test_an_incomplete_name_has_its_variants() -> None:
    assert variants_of("H100") == ("H100-NVL", "H100-PCIe", "H100-SXM")
    assert variants_of("nvidia a100") == ("A100-40GB-PCIe", "A100-40GB-SXM", "A100-80GB-PCIe", "A100-80GB-SXM")
    assert variants_of("A100-80GB") == ("A100-80GB-PCIe", "A100-80GB-SXM")
    assert variants_of("A100 SXM4") == ("A100-40GB-SXM", "A100-80GB-SXM")
    assert variants_of("A1000") == ()
    assert variants_of("") == ()


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("H100 SXM5", "H100-SXM"),
        ("h100-sxm5-80gb", "H100-SXM"),
        ("A100 80GB SXM4", "A100-80GB-SXM"),
        ("H100 NVL 94GB", "H100-NVL"),
        ("H200 SXM", "H200"),
        ("L40S 48GB", "L40S"),
        ("RTX PRO 6000", "RTXPRO6000"),
        ("H100 SXM5 MIG 1g.10gb", "H100-SXM MIG 1g.10gb"),
        ("AMD EPYC 7B13", "AMD EPYC 7B13"),
        ("H800", "H800"),
        # Another board, whose name lacks one word of a listed one.
        ("RTX 6000", "RTX 6000"),
    ],
)
def test_a_users_word_stands_for_the_one_board_it_can_mean(word: str, device: str) -> None:
    assert resolve_device(word) == device


@pytest.mark.parametrize(
    ("word", "variants"),
    [
        ("H100", "H100-NVL, H100-PCIe or H100-SXM"),
        ("A100-80GB", "A100-80GB-PCIe or A100-80GB-SXM"),
        ("A100 MIG 1g.10gb", "A100-40GB-PCIe, A100-40GB-SXM, A100-80GB-PCIe or A100-80GB-SXM"),
        ("H100 40GB", "H100-NVL, H100-PCIe or H100-SXM"),
    ],
)
def test_a_word_that_leaves_the_board_open_is_refused_with_the_variants(word: str, variants: str) -> None:
    with pytest.raises(PriceError, match=f"say {variants}$"):
        resolve_device(word)
