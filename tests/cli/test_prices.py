import json

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


def test_an_undated_rate_is_warned_of_and_fails_when_strict(prices):
    lenient, strict = prices("show", "H200"), prices("show", "H200", "--strict")
    assert lenient.exit_code == 0
    assert "pamprof: warning:" in lenient.stderr
    assert strict.exit_code == 1
    assert "pamprof: failure:" in strict.stderr
    assert strict.stdout == ""


def test_the_check_finds_no_failure_in_what_comes_with_the_package(prices):
    result = prices("check")
    assert result.exit_code == 0
    assert " 0 failures" in result.stdout
    assert prices("check", "--strict").exit_code == 1
