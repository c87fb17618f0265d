"""What ``diff`` and ``trend`` make of windows of fresh processes; ratios by hand from constant windows."""

from dataclasses import replace

import pytest

from pamprof.analysis.history.difference import RatioBasis, difference_between
from pamprof.analysis.history.trend import trend_of
from pamprof.records import Execution
from pamprof.records.store import RecordFile
from tests.synthetic import synthetic_run, synthetic_workload
from tests.synthetic_windows import process_run

REFERENCE = synthetic_workload("transformer", execution=Execution.GRAPH)
ARM = synthetic_workload("pam", "fused", Execution.GRAPH)


def measured(paired, alone=(), *, reference_alone=1.0, beside=()):
    """Processes in which the reference takes 1 s in turn; the arm takes ``paired`` and, by itself, ``alone`` s."""
    runs = []
    for number, ratio in enumerate(paired):
        for workload, level, by_itself in (
            (REFERENCE, 1.0, reference_alone),
            (ARM, ratio, alone[number] if alone else None),
        ):
            runs.append(
                process_run(
                    synthetic_run(workload, reference=REFERENCE),
                    number,
                    paired=(level,) * 12,
                    reference=(1.0,) * 12,
                    alone=None if by_itself is None else (by_itself,) * 12,
                )
            )
    return RecordFile(sessions=(), runs=(*runs, *beside), skips=(), problems=())


def row_of(base, head, workload=ARM):
    return next(row for row in difference_between(base, head).differences if row.key == workload.key)


def test_the_trend_of_a_run_is_that_of_all_its_processes():
    file = measured((0.5, 0.52, 0.54))
    (series,) = trend_of([("first", file), ("second", measured((0.6, 0.6, 0.6)))]).series
    assert series.values[0].ratio.median == pytest.approx((0.5 * 0.52 * 0.54) ** (1 / 3))
    assert series.values[0].ratio.low < 0.5
    assert series.values[1].ratio.median == pytest.approx(0.6)


def test_the_trend_quotes_alone_where_the_power_couples_the_arms():
    file = measured((0.538, 0.539, 0.540), (0.568 * 0.9, 0.569 * 0.9, 0.570 * 0.9), reference_alone=0.9)
    (series,) = trend_of([("first", file)]).series
    assert series.values[0].ratio.median == pytest.approx(0.569, rel=1e-5)


def test_windows_are_compared_by_the_means_of_their_processes():
    row = row_of(measured((0.5, 0.5, 0.5)), measured((0.54, 0.55, 0.56)))
    assert row.basis is RatioBasis.CHAINED
    assert (row.base_process_count, row.head_process_count) == (3, 3)
    assert row.ratio.median == pytest.approx((0.54 * 0.55 * 0.56) ** (1 / 3) / 0.5)
    assert row.process_spread_measured


def test_both_sides_are_compared_alone_where_the_power_couples_one_of_them():
    base = measured((0.499, 0.5, 0.501), (0.495, 0.5, 0.505))
    head = measured((0.538, 0.539, 0.540), (0.568, 0.569, 0.570))
    assert row_of(base, head).ratio.median == pytest.approx(0.569 / 0.5, rel=1e-3)
    without = measured((0.5, 0.5, 0.5))
    assert row_of(without, head).ratio.median == pytest.approx(0.539 / 0.5, rel=1e-3)


def test_windows_count_instead_of_a_later_quick_run():
    later = replace(
        synthetic_run(ARM, reference=REFERENCE, step_seconds=9.0, reference_step_seconds=1.0),
        started_at="2026-11-30T12:00:00+00:00",
    )
    head = measured((0.55, 0.55, 0.55), beside=(later,))
    assert row_of(measured((0.5, 0.5, 0.5)), head).ratio.median == pytest.approx(1.1)


def test_the_reference_itself_is_compared_by_its_windows_alone():
    row = row_of(measured((0.5,) * 3), measured((0.5,) * 3, reference_alone=1.2), REFERENCE)
    assert row.ratio.median == pytest.approx(1.2)
    assert (row.base_value, row.head_value) == (1.0, 1.2)
