import json
import re

import pytest
from typer.testing import CliRunner

from pamprof.cli import app


@pytest.fixture
def prices(tmp_path, monkeypatch):
    """Run the command without a refreshed list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, ["prices", *arguments])


def test_rates_are_listed_and_shown_in_a_stated_currency_with_its_day(prices):
    euros = ("--currency", "EUR", "--exchange-rate", "0.5")
    dollars = json.loads(prices("show", "H200", "--json").stdout)
    hourly = float(dollars["chosen"]["usd_per_hour"]) / dollars["chosen"]["device_count"]
    shown = prices("show", "H200", *euros).stdout
    assert f"EUR {hourly / 2:.6f}".rstrip("0") in shown
    assert "1 USD = 0.5 EUR, as stated for 20" in shown
    listed = prices("list", "--gpu", "H200", *euros).stdout
    assert "EUR/device-hour" in listed
    assert "1 USD = 0.5 EUR" in listed
    assert "$" not in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--currency", "EUR"),
        ("list", "--csv", "--currency", "EUR", "--exchange-rate", "0.92"),
        ("show", "H200", "--json", "--currency", "EUR", "--exchange-rate", "0.92"),
        ("show", "H200", "--exchange-rate", "0.92"),
    ],
)
def test_a_currency_without_a_rate_or_in_a_list_for_machines_is_refused(prices, arguments):
    result = prices(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_old_rate_is_warned_of_and_fails_when_strict(prices):
    # The A10G was last read in July 2026.
    lenient, strict = prices("show", "A10G"), prices("show", "A10G", "--strict")
    assert lenient.exit_code == 0
    assert "pamprof: warning:" in lenient.stderr
    assert strict.exit_code == 1
    assert "pamprof: failure:" in strict.stderr
    assert strict.stdout == ""


def test_cpu_machines_are_listed_shown_and_checked(prices):
    listed = prices("list", "--gpu", "CPU", "--provider", "aws").stdout
    assert re.search(r"AMD EPYC 9R14, 8 vCPUs, 16 GiB +\$0\.41056 +\$0\.05132 +aws +c7a\.2xlarge", listed)
    assert "18 rates" in listed
    shown = prices("show", "AMD EPYC 9R14", "--vcpus", "4").stdout
    assert "used      $0.20528 per hour of 4 vCPUs: as on aws c7a.2xlarge by vCPU, 4 of 8, us-east-1" in shown
    assert "same make and generation: AMD EPYC 9R14, 8 vCPUs, 16 GiB" in shown
    named = json.loads(prices("show", "AMD EPYC 9R14", "--instance", "m7a.2xlarge", "--json").stdout)
    assert (named["chosen"]["vcpu_count"], named["chosen"]["used_vcpu_count"]) == (8, 1)
    assert named["machine_choice"] == "named"
    assert prices("show", "CPU").exit_code == 1


def test_a_list_of_ones_own_may_hold_cpu_machines(prices, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on,vcpu_count\n"
        "acme,small,eu-1,on-demand,CPU,1,0.08,contract 7,2026-11-20,4\n"
    )
    shown = prices("show", "AMD Ryzen 9 5950X", "--prices", str(path)).stdout
    assert "used      $0.02 per hour of 1 vCPU: as on acme small by vCPU, 1 of 4" in shown
    listed = prices("list", "--prices", str(path), "--csv").stdout
    assert ",4\n" in listed
    with path.open("a") as file:
        file.write("aws,c7i.2xlarge,eu-1,on-demand,Intel Xeon Platinum 8488C,1,0.4,contract 7,2026-11-20,4\n")
    checked = prices("check", "--prices", str(path))
    assert checked.exit_code == 1
    assert "lists 4 vCPUs and the machine's name says 8" in checked.stdout
    # What the check fails, no other command uses.
    for command in (("show", "AMD Ryzen 9 5950X"), ("list",)):
        refused = prices(*command, "--prices", str(path))
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "(wrong vCPU count): aws c7i.2xlarge" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_the_check_finds_no_failure_in_what_comes_with_the_package(prices):
    result = prices("check")
    assert result.exit_code == 0
    assert " 0 failures" in result.stdout
    assert prices("check", "--strict").exit_code == 1


def test_a_device_is_named_as_people_name_it_or_refused_with_its_variants(prices):
    assert prices("show", "H100 SXM5").stdout == prices("show", "H100-SXM").stdout != ""
    for arguments in (("show", "H100"), ("show", "Graphics Device", "--gpu", "H100")):
        refused = prices(*arguments)
        assert refused.exit_code == 1
        assert "say H100-NVL, H100-PCIe or H100-SXM" in refused.stderr
    assert "say A100-80GB-PCIe or A100-80GB-SXM" in prices("show", "A100-80GB").stderr
    listed = json.loads(prices("list", "--gpu", "A100-80GB", "--json").stdout)
    assert {row["device_name"] for row in listed} == {"A100-80GB-PCIe", "A100-80GB-SXM"}


def test_a_shown_rate_says_its_place_and_a_slice_its_share(prices, tmp_path):
    path = tmp_path / "own.csv"
    header = "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source\n"
    rows = "".join(
        f"{name},h100,eu-1,on-demand,H100-SXM,1,{rate},list\n" for name, rate in (("a", 1.4), ("b", 2.1), ("c", 7))
    )
    path.write_text(header + rows)
    shown = prices("show", "H100-SXM", "--prices", str(path)).stdout
    assert "used      $2.10 per device-hour" in shown
    assert "3 comparable rates; the one used is the 2nd from the lowest" in shown
    sliced = prices("show", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "--prices", str(path)).stdout
    assert "used      $0.30 per hour of MIG 1g.10gb (1/7 of the H100-SXM)" in sliced
