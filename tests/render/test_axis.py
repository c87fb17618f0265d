from math import inf, isfinite, nan

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.render.plots.axis import drawable, near_ticks, readable_ticks, short_number, short_seconds

ENDS = st.one_of(st.floats(), st.floats(min_value=1e-6, max_value=1e6), st.sampled_from([0.0, -1.0, 1e300, 5e-324]))


@settings(max_examples=400, deadline=None)
@given(low=ENDS, high=ENDS)
def test_any_ends_give_an_axis_that_can_be_drawn_and_few_ticks_on_it(low, high):
    first, last = drawable(low, high)
    assert 0 < first < last < inf
    for ticks in (readable_ticks(low, high), near_ticks(low, high)):
        assert len(ticks) <= 5
        assert all(first <= tick * (1 + 1e-9) and tick <= last * (1 + 1e-9) for tick in ticks)
        assert list(ticks) == sorted(set(ticks))
        assert all(len(short_number(tick)) <= 14 for tick in ticks)


@settings(max_examples=200, deadline=None)
@given(low=st.floats(min_value=1e-6, max_value=1e6), factor=st.floats(min_value=1.001, max_value=1e4))
def test_an_axis_of_some_width_has_two_ticks_at_least(low, factor):
    assert len(near_ticks(low, low * factor)) >= 2 or factor >= 4


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (14, 14.4, (14.0, 14.1, 14.2, 14.3, 14.4)),
        (0.246, 0.254, (0.246, 0.248, 0.25, 0.252, 0.254)),
        (1.0, 3.9, (1.0, 2.0, 3.0)),
        (1.0, 100.0, (1.0, 3.0, 10.0, 30.0, 100.0)),
    ],
)
def test_near_ends_get_even_steps_and_far_ends_get_decades_and_their_thirds(low, high, ticks):
    assert near_ticks(low, high) == pytest.approx(ticks)


def test_ordinary_ends_are_left_alone():
    assert drawable(0.5, 20.0) == (0.5, 20.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (-5.0, -1.0), (nan, nan), (inf, inf), (1e308, 1e308), (3, 3)])
def test_ends_without_a_logarithm_become_the_outermost(low, high):
    assert all(isfinite(end) and end > 0 for end in drawable(low, high))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.005, "0.005"), (20.0, "20"), (5e5, "500k"), (1e17, "100P"), (1e20, "1e20"), (2.5e-12, "2.5e-12")],
)
def test_a_tick_has_few_letters(value, text):
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e-3, "3 ms"), (1.5e-3, "1.5 ms"), (0.1, "100 ms"), (2.0, "2 s"), (5e-6, "5 µs"), (2e-9, "2 ns"), (1e-3, "1 ms")],
)
def test_a_tick_of_time_has_its_unit_and_no_zeros_behind(value, text):
    assert short_seconds(value) == text
