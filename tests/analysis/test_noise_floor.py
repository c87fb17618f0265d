from dataclasses import replace

import pytest

from pamprof.analysis.comparison.conclude import analyse
from pamprof.analysis.comparison.pairing import is_reference
from pamprof.statistics import half_width, ratio_interval
from tests.synthetic import synthetic_records


def test_the_floor_is_that_of_the_noisiest_reference():
    records = synthetic_records("cpu")
    references = [run for run in records.runs if is_reference(run)]
    loudest = replace(
        references[-1],
        timing=replace(
            references[-1].timing,
            wall_time_seconds=tuple(
                value * (1.3 if index % 3 else 0.8)
                for index, value in enumerate(references[-1].timing.wall_time_seconds)
            ),
        ),
    )
    runs = tuple(loudest if run is references[-1] else run for run in records.runs)
    floor = analyse(replace(records, runs=runs)).noise_floor
    interval = ratio_interval(loudest.timing.wall_time_seconds, loudest.timing.reference_wall_time_seconds)
    assert floor.point == loudest.workload.point
    assert floor.half_width == pytest.approx(half_width(interval))
    assert floor.median_deviation == pytest.approx(interval.median - 1)
    assert floor.samples == len(loudest.timing.wall_time_seconds)
    assert floor.measured_points == len({run.workload.point for run in references})
    assert 0 < floor.smallest_half_width < floor.half_width


def test_without_a_reference_against_itself_there_is_no_floor():
    records = synthetic_records("cpu")
    runs = tuple(run for run in records.runs if not is_reference(run))
    assert analyse(replace(records, runs=runs)).noise_floor is None
