import pytest

from pamprof.hardware.device import open_device
from pamprof.measure.machine import ceilings
from pamprof.records import Dtype
from tests.synthetic import synthetic_environment


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(ceilings._MATRIX_SIZE, "cpu", 128)
    monkeypatch.setitem(ceilings._COPY_BYTES, "cpu", 1 << 20)


@pytest.mark.parametrize("dtype", list(Dtype))
def test_ceilings_follow_from_size_and_time(small, monkeypatch, dtype):
    seconds = iter([0.5, 0.25])
    monkeypatch.setattr(ceilings, "_median_seconds", lambda action, device: (action(), next(seconds))[1])
    found = ceilings.measure_ceilings(
        open_device("cpu"), synthetic_environment("cpu"), session_id="s", dtype=dtype, seed=0
    )
    assert found.matrix_flops_per_second == 2 * 128**3 / 0.5
    assert found.copy_bytes_per_second == 2 * (1 << 20) / 0.25


def test_the_median_leaves_the_warm_up_out(monkeypatch):
    now = 0.0
    durations = iter([9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])

    def action():
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(ceilings, "perf_counter", lambda: now)
    assert ceilings._median_seconds(action, open_device("cpu")) == 4.0
