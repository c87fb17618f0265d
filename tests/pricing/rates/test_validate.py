from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pamprof.devices.names import canonical_device
from pamprof.devices.peaks import listed_peaks
from pamprof.pricing.rates.age import staleness
from pamprof.pricing.rates.catalogue import Catalogue, embedded_prices
from pamprof.pricing.rates.findings import Rule, Severity
from pamprof.pricing.rates.instance_names import device_count_in_name, vcpu_count_in_name
from pamprof.pricing.rates.quote import user_price
from pamprof.pricing.rates.validate import check, validate

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

TODAY = date(2026, 11, 22)


def _rules(*prices: Price) -> set[Rule]:
    findings = validate(prices)
    for finding in findings:
        assert finding.severity is Severity.FAILURE
        assert finding.sentence.endswith(".")
        assert finding.subject
    return {finding.rule for finding in findings}


def test_the_embedded_snapshot_has_no_fault() -> None:
    assert validate(embedded_prices()) == ()


def test_a_zero_price_is_flagged(make_price: Callable[..., Price]) -> None:
    assert _rules(replace(make_price(), usd_per_hour=Decimal(0))) == {Rule.NO_PRICE}


def test_spot_above_on_demand_is_flagged_across_zones(make_price: Callable[..., Price]) -> None:
    on_demand = make_price(provider="runpod", instance="1x_L40S", device_name="L40S", usd_per_hour="0.43", region="US")
    spot = replace(on_demand, purchase_option="spot", usd_per_hour=Decimal("0.86"), region="US/zone-1")
    assert _rules(on_demand, spot) == {Rule.SPOT_ABOVE_ON_DEMAND}
    assert _rules(on_demand, replace(spot, usd_per_hour=Decimal("0.43"))) == set()


def test_an_accelerator_without_its_host_is_flagged(make_price: Callable[..., Price]) -> None:
    part = make_price(provider="gcp", instance="(accelerator part only) L4", device_name="L4", usd_per_hour="0.56")
    option = make_price(provider="gcp", purchase_option="on-demand-accelerator-only", device_name="T4")
    assert _rules(part) == {Rule.SPLIT_MACHINE}
    assert _rules(option) == {Rule.SPLIT_MACHINE}


def test_host_and_devices_in_separate_rows_are_flagged(make_price: Callable[..., Price]) -> None:
    host = make_price(provider="gcp", instance="a3-highgpu-2g", device_name="CPU", usd_per_hour="2.36502")
    devices = make_price(provider="gcp", instance="a3-highgpu-2g", device_count=2, usd_per_hour="19.5931")
    assert _rules(host) == {Rule.SPLIT_MACHINE}
    flagged = {finding.subject for finding in validate((host, devices)) if finding.rule is Rule.SPLIT_MACHINE}
    assert len(flagged) == 2


def test_a_cpu_machine_is_not_taken_for_part_of_one(make_price: Callable[..., Price]) -> None:
    assert _rules(make_price(provider="aws", instance="c7i.xlarge", device_name="CPU", usd_per_hour="0.1785")) == set()


@pytest.mark.parametrize(
    ("provider", "instance", "vcpus"),
    [
        ("aws", "c7i.xlarge", 4),
        ("aws", "c7i.48xlarge", 192),
        ("aws", "c7i.large", None),
        ("aws", "m7i.metal-24xl", None),
        ("azure", "Standard_D8s_v5", 8),
        ("azure", "Standard_E4-2s_v5", None),
        ("gcp", "c3-highcpu-8", 8),
        ("gcp", "e2-medium", None),
        ("oci", "VM.Standard.E4.Flex (8 vCPU, 32 GiB)", None),
    ],
)
def test_a_machines_name_states_its_vcpus(provider: str, instance: str, vcpus: int | None) -> None:
    assert vcpu_count_in_name(provider, instance) == vcpus


def test_cores_listed_as_vcpus_are_flagged_and_so_is_a_cpu_machine_of_several_devices(
    make_price: Callable[..., Price],
) -> None:
    right = make_price(provider="aws", instance="c7i.2xlarge", device_name="AMD EPYC 9R14", vcpu_count=8)
    assert _rules(right) == set()
    assert _rules(replace(right, vcpu_count=4)) == {Rule.WRONG_VCPU_COUNT}
    assert "4 vCPUs and the machine's name says 8" in validate((replace(right, vcpu_count=4),))[0].sentence
    assert _rules(replace(right, device_count=8)) == {Rule.WRONG_DEVICE_COUNT}


def test_an_old_rate_of_a_cpu_machine_is_not_sent_to_a_refresh_that_lists_none(
    make_price: Callable[..., Price],
) -> None:
    old = make_price(device_name="AMD EPYC 9R14", vcpu_count=8, observed_on=TODAY - timedelta(days=91))
    finding = staleness(old, TODAY)
    assert finding is not None
    assert "refresh" not in finding.sentence
    assert "--prices" in finding.sentence


def test_eight_devices_listed_as_twelve_are_flagged(make_price: Callable[..., Price]) -> None:
    named = make_price(
        provider="azure", instance="Standard_ND96isr_H100_v5", device_count=12, usd_per_hour="98.32", region="eastus"
    )
    unnamed = make_price(provider="acme", instance="hopper-large", device_count=12, usd_per_hour="30")
    assert _rules(named) == {Rule.WRONG_DEVICE_COUNT}
    assert _rules(unnamed) == {Rule.WRONG_DEVICE_COUNT}
    assert "12 devices and the machine's name says 8" in validate((named,))[0].sentence


@pytest.mark.parametrize(
    ("provider", "instance", "count"),
    [
        ("aws", "p5.48xlarge", 8),
        ("aws", "p5.4xlarge", None),
        ("lambda", "gpu_8x_h100_sxm5", 8),
        ("nebius", "gpu-b200-sxm_8gpu-160vcpu-1792gb", 8),
        ("nebius", "gpu-h100-sxm 1gpu-16vcpu-200gb", 1),
        ("oci", "BM.GPU4.8", 8),
        ("oci", "VM.GPU.A10.1", 1),
        ("gcp", "a3-highgpu-2g", 2),
        ("vast", "2x-B200-32-65536", 2),
        ("hyperstack", "n3-H100-SXM5x8", 8),
        ("azure", "Standard_NC24ads_A100_v4", None),
    ],
)
def test_a_machines_name_states_its_device_count(provider: str, instance: str, count: int | None) -> None:
    assert device_count_in_name(provider, instance) == count


@pytest.mark.parametrize(
    ("instance", "before", "after", "drop"),
    [("p4d.24xlarge", "32.77", "21.957642", "33%"), ("p5.48xlarge", "98.32", "55.04", "44%")],
)
def test_a_rate_from_before_the_cut_is_flagged(
    instance: str, before: str, after: str, drop: str, make_price: Callable[..., Price]
) -> None:
    old = make_price(provider="aws", instance=instance, device_count=8, usd_per_hour=before)
    assert _rules(old) == {Rule.SUPERSEDED}
    assert drop in validate((old,))[0].sentence
    assert _rules(replace(old, usd_per_hour=Decimal(after))) == set()


def test_two_rates_of_one_machine_are_flagged(make_price: Callable[..., Price]) -> None:
    assert _rules(make_price(usd_per_hour="4.29"), make_price(usd_per_hour="3.29")) == {Rule.CONFLICTING_RATES}


def test_a_region_at_half_the_usual_rate_is_flagged_and_the_usual_are_not(
    make_price: Callable[..., Price],
) -> None:
    east = make_price(
        provider="gcp", instance="a3-highgpu-2g", device_count=2, region="us-east4", usd_per_hour="21.95812"
    )
    central = replace(east, region="us-central1", usd_per_hour=Decimal("10.76654"))
    (finding,) = validate((east, central))
    assert finding.rule is Rule.OUT_OF_LINE_REGION
    assert "us-central1" in finding.subject
    others = tuple(replace(east, region=f"region-{n}") for n in range(3))
    dear = replace(east, region="far", usd_per_hour=Decimal(60))
    assert [found.subject for found in validate((*others, dear))] == ["gcp a3-highgpu-2g, far, on-demand, H100-SXM"]


def test_one_price_for_two_four_and_eight_devices_is_flagged(make_price: Callable[..., Price]) -> None:
    rows = tuple(
        make_price(provider="acme", instance=f"h100-x{count}", device_count=count, usd_per_hour="6")
        for count in (2, 4, 8)
    )
    assert _rules(*rows) == {Rule.NOT_SCALED}
    (finding,) = validate(rows)
    assert "6 USD per hour stands at machines with 2, 4, 8 devices" in finding.sentence
    assert "h100-x8" in finding.subject
    assert _rules(*rows[:2]) == {Rule.NOT_SCALED}
    # Names of no common form: two may be a coincidence, three are not.
    named = tuple(replace(row, instance=name) for row, name in zip(rows, ("duo", "quad", "octo"), strict=True))
    assert _rules(*named[:2]) == set()
    assert _rules(*named) == {Rule.NOT_SCALED}
    right = tuple(replace(row, usd_per_hour=Decimal(3) * row.device_count) for row in rows)
    assert _rules(*right) == set()


@pytest.mark.parametrize(
    ("provider", "instance", "device", "flagged"),
    [
        ("aws", "g6f.large", "L4", True),
        ("azure", "Standard_NV6ads_A10_v5", "A10", True),
        ("azure", "Standard_NV36ads_A10_v5", "A10", False),
        ("acme", "H100 MIG 1g.10gb", "H100-SXM", True),
        ("acme", "H100 MIG 1g.10gb", "H100-SXM MIG 1g.10gb", False),
        ("acme", "1/4 L40S", "L40S", True),
    ],
)
def test_a_part_of_a_device_under_the_name_of_the_whole_is_flagged(
    provider: str, instance: str, device: str, flagged: bool, make_price: Callable[..., Price]
) -> None:
    row = make_price(provider=provider, instance=instance, device_name=device, usd_per_hour="0.3")
    assert _rules(row) == ({Rule.PART_OF_DEVICE} if flagged else set())


def test_a_row_that_leaves_its_board_open_is_warned_of(make_price: Callable[..., Price]) -> None:
    (finding,) = validate((make_price(device_name="H100"),))
    assert (finding.rule, finding.severity) == (Rule.OPEN_BOARD, Severity.WARNING)
    assert "H100-NVL, H100-PCIe or H100-SXM" in finding.sentence


def test_the_rate_of_another_region_is_no_superseded_one(make_price: Callable[..., Price]) -> None:
    # 21.96 in us-east-1 after the cut is 35.56 in Sao Paulo (2026-10-10).
    row = make_price(provider="aws", instance="p4d.24xlarge", device_count=8, region="sa-east-1", usd_per_hour="35.56")
    assert _rules(row) == set()


def test_an_a10_row_under_the_name_a10g_is_flagged(make_price: Callable[..., Price]) -> None:
    assert _rules(make_price(provider="oci", instance="VM.GPU.A10.1", device_name="A10G")) == {Rule.WRONG_DEVICE}
    assert _rules(make_price(provider="aws", instance="g5.xlarge", device_name="A10G")) == set()


def test_one_die_of_a_b200_is_flagged(make_price: Callable[..., Price]) -> None:
    die = make_price(instance="gpu_1x_b200_sxm6", device_name="B200", device_memory_gib=90)
    assert _rules(die) == {Rule.WRONG_MEMORY}
    assert "one of its two dies" in validate((die,))[0].sentence
    wrong = make_price(device_name="H100-SXM", device_memory_gib=40)
    assert "another device" in validate((wrong,))[0].sentence


def test_every_device_with_known_peaks_has_a_name_in_the_price_list() -> None:
    for device in listed_peaks():
        for reported in device.reported_names:
            assert canonical_device(reported) not in (None, "CPU")


def test_a_rate_is_stale_after_ninety_days_and_not_before(make_price: Callable[..., Price]) -> None:
    assert staleness(make_price(observed_on=TODAY - timedelta(days=90)), TODAY) is None
    old = make_price(observed_on=TODAY - timedelta(days=91))
    finding = staleness(old, TODAY)
    assert finding is not None
    assert (finding.rule, finding.severity) == (Rule.STALE, Severity.WARNING)
    assert "91 days ago" in finding.sentence


def test_strict_turns_a_doubt_about_age_into_a_failure(make_price: Callable[..., Price]) -> None:
    undated = make_price(observed_on=None, observed_text="undated page")
    lenient, strict = staleness(undated, TODAY), staleness(undated, TODAY, strict=True)
    assert lenient is not None
    assert strict is not None
    assert (lenient.rule, lenient.severity) == (Rule.UNKNOWN_DATE, Severity.WARNING)
    assert (strict.rule, strict.severity) == (Rule.UNKNOWN_DATE, Severity.FAILURE)


def test_a_date_in_the_future_is_doubted(make_price: Callable[..., Price]) -> None:
    finding = staleness(make_price(observed_on=TODAY + timedelta(days=1)), TODAY)
    assert finding is not None
    assert finding.rule is Rule.FUTURE_DATE


def test_the_users_own_rate_has_no_age() -> None:
    assert staleness(user_price("2.95", device_name="H200"), TODAY, strict=True) is None


def test_a_check_joins_the_rows_of_a_provider_with_one_doubt(make_price: Callable[..., Price]) -> None:
    rows = tuple(make_price(region=f"region-{n}", observed_on=None, observed_text="undated page") for n in range(3))
    zero = replace(make_price(provider="acme"), usd_per_hour=Decimal(0))
    findings = check(Catalogue(prices=(*rows, zero), origin="test"), TODAY)
    assert [(finding.rule, finding.severity) for finding in findings] == [
        (Rule.NO_PRICE, Severity.FAILURE),
        (Rule.UNKNOWN_DATE, Severity.WARNING),
    ]
    assert findings[1].subject == "lambda, 3 rows"
    assert check(Catalogue(prices=rows, origin="test"), TODAY, strict=True)[0].severity is Severity.FAILURE
