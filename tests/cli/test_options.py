"""Texts of options that become nouns."""

from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pamprof.api.texts import checkpoints, duration
from pamprof.cli import app
from pamprof.errors import UsageError
from pamprof.units import plain_number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("5 min", 300.0), ("1.5h", 5400.0), ("0.1", 0.1), (".5m", 30.0),
        (" 2H ", 7200.0), ("1e3", 1000.0), ("1000000", 1e6),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_minutes_or_hours(text, seconds):
    assert duration(text, "--time-budget") == seconds


def test_no_duration_stays_none():
    assert duration(None, "--time-budget") is None


@pytest.mark.parametrize(
    "text",
    ["0", "0s", "-5", "-5m", "soon", "", "5d", "1h30m", "nan", "inf", "1e400", "1000001", "278h", "٥m", "5m 6m"],
)
def test_anything_else_is_refused_in_one_sentence_with_an_example(text):
    with pytest.raises(UsageError) as refused:
        duration(text, "--time-budget")
    assert str(refused.value) == (
        f"--time-budget {text!r} is no duration; give more than 0, at most 277h, as seconds, minutes or hours, such as "
        "90s, 5m or 1.5h"
    )


def test_nothing_is_a_duration_where_a_window_may_be_left_out():
    assert duration("0", "--monitor", zero=True) == 0.0
    with pytest.raises(UsageError, match="give 0 or more"):
        duration("-1", "--monitor", zero=True)


@pytest.mark.parametrize(
    ("text", "number"), [("2.95", "2.95"), ("-1", "-1"), ("1e9", "1e9"), (".5", "0.5"), (" 7. ", "7"), ("+3", "3")]
)
def test_a_number_in_plain_digits_is_read(text, number):
    assert plain_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["2_990", "nan", "inf", "٣", "３", "0x10", "1,5", "1 000", "", "1e9999"])
def test_what_python_or_a_locale_reads_besides_is_no_number(text):
    assert plain_number(text) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("cost", "runs", "--tokens-per-day", "1e9", "--watts", "2_990"),
        ("cost", "runs", "--tokens-per-day", "1e9", "--output-tokens", "1_0"),
        ("cost", "runs", "--tokens-per-day", "1_000"),
        ("cost", "runs", "--tokens-per-day", "1e9", "--peak", "nan"),
        ("compare", "--depth", "1_0"),
        ("compare", "--perplexity", "pam=3_0"),
        ("diff", "a", "b", "--fail-above", "1_0%"),
        ("prices", "show", "H200", "--vcpus", "1_6"),
        ("prices", "show", "H200", "--currency", "EUR", "--exchange-rate", "0_9"),
    ],
)
def test_underscores_in_a_number_of_the_command_line_are_refused(arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert repr(arguments[-1]) in result.stderr


def test_files_of_weights_are_read_by_layer():
    assert checkpoints(["pam=a/w.pt", " gru = x=1.pt"]) == {"pam": Path("a/w.pt"), "gru": Path("x=1.pt")}


@pytest.mark.parametrize("text", ["w.pt", "=w.pt", "pam=", ""])
def test_a_file_for_no_layer_is_refused(text):
    with pytest.raises(UsageError, match="is not of the form pam=weights"):
        checkpoints([text])


def test_two_files_for_a_layer_are_refused():
    with pytest.raises(UsageError, match="two files for pam"):
        checkpoints(["pam=a", "pam=b"])
