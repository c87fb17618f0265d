from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import Catalogue, load_catalogue
from pamprof.pricing.rates.hourly_rates import Rate, UnknownRate, rate_of, rented_rates
from pamprof.pricing.rates.instance_names import is_arm_machine
from pamprof.pricing.rates.price_choice import offered_rates
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.rates.rate_words import hours_of, machine, rate_per_hour, why_this_machine
from pamprof.records import MachineChoice, ProcessorUse, occupied_vcpus
from tests.synthetic import synthetic_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price, PriceQuote

SAPPHIRE_RAPIDS = "Intel(R) Xeon(R) Platinum 8481C"


def _quote(
    name: str,
    *rows: Price,
    vcpus: int | None = 2,
    architecture: str | None = "x86_64",
    provider: str | None = None,
    instance: str | None = None,
) -> PriceQuote:
    return quote(
        Catalogue(prices=rows, origin="test") if rows else load_catalogue(),
        name,
        device_kind="cpu",
        provider=provider,
        instance=instance,
        processor=ProcessorUse(architecture=architecture, vcpu_count=vcpus),
    )


@pytest.mark.parametrize(
    ("logical", "threads", "threads_per_core", "occupied"),
    [
        (8, 4, 2, 8),  # torch runs one thread a core of a machine with hyper-threading: all of it is rented
        (8, 4, 1, 4),  # cores without hyper-threading, or Arm
        (8, 1, 2, 2),
        (2, 2, 2, 2),
        (2, 16, None, 2),  # more threads than the process may use
        (8, 3, 4, 8),
        (8, 4, None, None),
    ],
)
def test_a_run_occupies_the_vcpus_of_the_cores_that_its_threads_keep_busy(
    logical: int, threads: int, threads_per_core: int | None, occupied: int | None
) -> None:
    found = occupied_vcpus(logical_cpu_count=logical, thread_count=threads, threads_per_core=threads_per_core)
    assert found == occupied


def test_an_older_record_without_threads_per_core_has_dollars_only_where_the_run_used_every_logical_cpu() -> None:
    old = synthetic_environment("cpu")
    assert old.cpu_threads_per_core is None
    assert old.processor_use.vcpu_count == 2
    assert replace(old, cpu_thread_count=1).processor_use.vcpu_count is None
    with pytest.raises(PriceError, match=r"not recorded \(hardware threads of a core unknown\)"):
        _quote(SAPPHIRE_RAPIDS, vcpus=None)


@pytest.mark.parametrize(
    ("name", "provider", "instance", "usd_per_vcpu", "choice"),
    [
        (SAPPHIRE_RAPIDS, "aws", "c7i.large", "0.044625", MachineChoice.FAMILY),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "azure", "Standard_D4s_v5", "0.048", MachineChoice.FAMILY),
        ("Intel(R) Xeon(R) Gold 6138 CPU @ 2.00GHz", "azure", "Standard_D4s_v5", "0.048", MachineChoice.MAKE),
        ("Intel(R) Xeon(R) 6985P-C", "aws", "c8i.2xlarge", "0.046855", MachineChoice.FAMILY),
        ("AMD EPYC 9R14", "aws", "c7a.2xlarge", "0.05132", MachineChoice.FAMILY),
        ("AMD EPYC 9B45", "aws", "c8a.2xlarge", "0.053885", MachineChoice.FAMILY),
        ("AMD EPYC 7B13", "aws", "c8a.2xlarge", "0.053885", MachineChoice.MAKE),
        ("AMD EPYC", "aws", "c8a.2xlarge", "0.053885", MachineChoice.MAKE),
        ("AMD Ryzen 9 5950X 16-Core Processor", "gcp", "c4d-standard-8", "0.04724775", MachineChoice.ARCHITECTURE),
        ("aarch64", "aws", "c8g.2xlarge", "0.03988", MachineChoice.ARCHITECTURE),
        ("Google Axion", "gcp", "c4a-standard-8", "0.0449", MachineChoice.MAKE),
    ],
)
def test_the_snapshots_machine_for_a_processor(
    name: str, provider: str, instance: str, usd_per_vcpu: str, choice: MachineChoice
) -> None:
    found = _quote(name, architecture=None)
    assert (found.chosen.provider, found.chosen.instance) == (provider, instance)
    assert found.chosen.usd_per_device_hour == 2 * Decimal(usd_per_vcpu)
    assert found.machine_choice is choice
    assert found.low.usd_per_device_hour <= found.chosen.usd_per_device_hour <= found.high.usd_per_device_hour
    assert {found.low.used_vcpu_count, found.high.used_vcpu_count} == {2}


def test_the_operating_system_tells_the_architecture_that_a_name_does_not() -> None:
    assert _quote("Common KVM processor", architecture="x86_64").chosen.instance == "c4d-standard-8"
    assert _quote("unknown CPU", architecture="aarch64").chosen.instance == "c8g.2xlarge"
    with pytest.raises(PriceError, match=r"tells neither make nor architecture .* --instance"):
        _quote("Common KVM processor", architecture=None)


@pytest.mark.parametrize(
    ("provider", "instance", "arm"),
    [
        ("aws", "c7g.2xlarge", True),
        ("aws", "m8gn.large", True),
        ("aws", "c7i.2xlarge", False),
        ("aws", "g5.xlarge", False),
        ("azure", "Standard_D8ps_v5", True),
        ("azure", "Standard_D8as_v5", False),
        ("gcp", "c4a-standard-8", True),
        ("gcp", "n2d-standard-8", False),
        ("oci", "VM.Standard.A1.Flex", True),
        ("oci", "VM.Standard.E4.Flex", False),
        ("hetzner", "CAX11", None),
    ],
)
def test_a_machines_name_tells_arm_where_its_provider_has_a_rule(
    provider: str, instance: str, arm: bool | None
) -> None:
    assert is_arm_machine(provider, instance) is arm


def test_each_provider_speaks_once_with_its_median_and_sizes_of_one_series_count_once(
    make_price: Callable[..., Price],
) -> None:
    def row(provider: str, instance: str, vcpus: int, usd: str) -> Price:
        return make_price(
            provider=provider, instance=instance, device_name="Intel Xeon", vcpu_count=vcpus, usd_per_hour=usd
        )

    sizes = [row("a", f"cheap-{n}", n, str(Decimal("0.01") * n)) for n in (2, 4, 8, 16)]
    rows = [*sizes, row("a", "middle", 4, "0.2"), row("a", "dear", 4, "0.4"), row("b", "only", 8, "0.32")]
    found = _quote("Intel Xeon", *rows)
    # a speaks with 0.05 (of 0.01, 0.05, 0.10), b with 0.04: the cheaper of the two.
    assert found.chosen.instance == "only"
    assert (found.low.instance, found.high.instance, found.candidate_count) == ("cheap-16", "dear", 7)
    assert _quote("Intel Xeon", *rows, provider="a").chosen.instance == "middle"
    assert _quote("Intel Xeon", *rows[::-1]) == found
    assert _quote("Intel Xeon", *sizes, vcpus=3).chosen.instance == "cheap-4"


def test_a_machine_with_fewer_vcpus_than_the_run_occupied_cannot_stand_for_it() -> None:
    assert _quote(SAPPHIRE_RAPIDS, vcpus=48).chosen.instance == "c7i.48xlarge"
    with pytest.raises(PriceError, match="occupied 300 vCPUs and no machine that was asked for has more than 192"):
        _quote(SAPPHIRE_RAPIDS, vcpus=300)


def test_a_named_provider_and_a_named_machine_are_taken_and_the_spread_stays_the_markets() -> None:
    market = _quote(SAPPHIRE_RAPIDS)
    azure = _quote(SAPPHIRE_RAPIDS, provider="azure")
    assert (azure.chosen.instance, azure.machine_choice) == ("Standard_D4s_v5", MachineChoice.FAMILY)
    assert (azure.low, azure.high) == (market.low, market.high)
    named = _quote(SAPPHIRE_RAPIDS, instance="m7a.2XLARGE")
    assert (named.chosen.usd_per_device_hour, named.machine_choice) == (Decimal("0.11592"), MachineChoice.NAMED)
    with pytest.raises(PriceError, match=r"measured on .*8481C \(x86\), so a price of c7g\.2xlarge \(Arm\)"):
        _quote(SAPPHIRE_RAPIDS, instance="c7g.2xlarge")
    with pytest.raises(PriceError, match="no rate of a CPU machine matches instance c99"):
        _quote(SAPPHIRE_RAPIDS, instance="c99")


def test_an_undated_provider_has_a_rate_only_where_it_is_asked_for() -> None:
    assert "oci" not in {rate.provider for rate in (_quote(SAPPHIRE_RAPIDS).low, _quote("AMD Ryzen").low)}
    assert _quote(SAPPHIRE_RAPIDS, provider="oci").chosen.observed_on is None


def test_a_users_row_of_an_unknown_provider_stands_for_either_architecture(make_price: Callable[..., Price]) -> None:
    own = make_price(provider="hetzner", instance="CCX23", device_name="CPU", vcpu_count=4, usd_per_hour="0.06")
    assert _quote("AMD Ryzen", own).chosen.usd_per_device_hour == Decimal("0.03")
    assert _quote("aarch64", own, architecture=None).chosen.usd_per_device_hour == Decimal("0.03")


def test_a_gpus_row_keeps_its_rate_whatever_its_vcpus(make_price: Callable[..., Price]) -> None:
    row = make_price(device_count=8, vcpu_count=192, usd_per_hour="16")
    assert quote(Catalogue(prices=(row,), origin="test"), "H100-SXM").chosen.usd_per_device_hour == 2
    with pytest.raises(PriceError, match="not one CPU machine is listed in test; give USD per hour"):
        _quote("AMD EPYC", row)


def test_the_words_of_a_rate_say_the_machine_the_share_and_why() -> None:
    found = _quote("AMD EPYC 9R14")
    assert rate_per_hour(found.chosen) == "$0.10264 per hour of 2 vCPUs"
    assert machine(found.chosen) == "as on aws c7a.2xlarge by vCPU, 2 of 8"
    assert hours_of(found.chosen) == "hours of 2 vCPUs"
    assert why_this_machine(found).endswith("same make and generation: AMD EPYC 9R14, 8 vCPUs, 16 GiB")
    assert "not told by the source, 8 vCPUs" in why_this_machine(_quote("AMD Ryzen"))
    assert rate_of(found).provenance.startswith("as on aws c7a.2xlarge by vCPU, 2 of 8, us-east-1; the median machine")
    assert rate_per_hour(_quote("AMD EPYC 9R14", vcpus=1).chosen).endswith("per hour of 1 vCPU")


def test_serving_on_a_cpu_has_an_on_demand_rate_and_one_offer_of_every_provider() -> None:
    environment = synthetic_environment("cpu")
    on_demand, spot, committed = rented_rates(load_catalogue(), environment)
    assert isinstance(on_demand, Rate)
    assert on_demand.usd_per_hour == pytest.approx(0.08925)
    assert isinstance(spot, UnknownRate)
    assert isinstance(committed, UnknownRate)
    offers = offered_rates(load_catalogue(), environment)
    providers = {offer.quote.chosen.provider for offer in offers if offer.quote is not None}
    assert (len(offers), providers) == (4, {"aws", "azure", "gcp", "oci"})


def test_a_committed_rate_of_a_cpu_machine_is_found_under_its_term(make_price: Callable[..., Price]) -> None:
    row = make_price(provider="aws", instance="c7i.large", device_name=SAPPHIRE_RAPIDS, vcpu_count=2, usd_per_hour="1")
    reserved = replace(row, purchase_option="reserved-1yr", usd_per_hour=Decimal("0.6"))
    catalogue = Catalogue(prices=(row, reserved), origin="test")
    *_, committed = rented_rates(catalogue, synthetic_environment("cpu"))
    assert isinstance(committed, Rate)
    assert (committed.option, committed.usd_per_hour) == ("reserved-1yr", 0.6)


def test_rows_a_year_behind_do_not_compete(make_price: Callable[..., Price]) -> None:
    row = make_price(provider="a", instance="new", device_name="CPU", vcpu_count=4, usd_per_hour="4")
    old = replace(row, provider="b", instance="old", usd_per_hour=Decimal(1), observed_on=date(2025, 1, 1))
    assert _quote("AMD Ryzen", row, old).low.instance == "new"
