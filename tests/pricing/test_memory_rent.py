import pytest

from pamprof.pricing.memory_rent import memory_rent
from pamprof.pricing.run_cost import as_quote
from pamprof.records import PriceQuote
from pamprof.units import GIB
from tests.synthetic import synthetic_environment


def quoted(price):
    return PriceQuote(chosen=price, low=price, high=price, candidate_count=1)


def test_a_device_s_rate_is_shared_out_over_its_listed_memory(make_price):
    price = make_price(usd_per_hour="32", device_count=8)  # H100-SXM: 80 GiB
    rent = memory_rent(quoted(price), None, synthetic_environment())
    assert rent.usd_per_gib_hour == pytest.approx(4 / 80)
    # A dollar holds 20 GiB for an hour: 20 GiB / 32 KiB states of 220 associations.
    assert rent.associations_per_usd_hour(220, 32_768) == pytest.approx(220 * 20 * GIB / 32_768)
    assert rent.associations_per_usd_hour(None, 32_768) is None


def test_a_processor_s_machine_is_shared_out_whole_whatever_was_used(make_price):
    price = make_price(device_name="CPU", usd_per_hour="0.4", device_memory_gib=16, vcpu_count=8)
    assert memory_rent(quoted(price), None, synthetic_environment("cpu")).usd_per_gib_hour == pytest.approx(0.4 / 16)


def test_an_own_rate_is_shared_out_over_the_memory_that_was_seen():
    environment = synthetic_environment("cpu")
    rent = memory_rent(as_quote(2.0), None, environment)
    assert rent.usd_per_gib_hour == pytest.approx(2 * GIB / environment.device_memory_bytes)


def test_without_a_rate_or_its_memory_there_is_a_reason(make_price):
    nothing = memory_rent(None, "nobody rents it", synthetic_environment())
    assert (nothing.usd_per_gib_hour, nothing.reason) == (None, "nobody rents it")
    assert nothing.associations_per_usd_hour(1, 1) is None
    unknown = memory_rent(quoted(make_price(device_name="X900")), None, synthetic_environment())
    assert "does not say how much memory" in unknown.reason
