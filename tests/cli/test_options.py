"""Texts of options that become nouns."""

import pytest

from pamprof.api.texts import duration
from pamprof.errors import UsageError


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
