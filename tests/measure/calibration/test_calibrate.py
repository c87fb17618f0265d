"""A calibration: what it holds, what ends it early, and what a reader refuses."""

import getpass
import json
import platform
import socket
from dataclasses import replace

import pytest
import torch

from pamprof.errors import RecordError, UsageError
from pamprof.measure.calibration import calibrate as module
from pamprof.measure.calibration.calibrate import calibrate
from pamprof.measure.calibration.cases import Case, cases, random_tensors
from pamprof.measure.calibration.launches import LaunchTimes, launch_times
from pamprof.records import Ceilings, Dtype, KernelClass, calibration_bytes, read_calibration
from tests.synthetic import synthetic_environment


def product(size, name="product"):
    def make(random):
        left, right = random(size, size), random(size, size)
        return lambda: left @ right

    return Case(name=f"{name} {size}", byte_count=12 * size * size, make=make)


def failing(error):
    def make(random):
        raise error

    return Case(name="failing", byte_count=1, make=make)


@pytest.fixture
def calibrated(monkeypatch):
    """A calibration of the given cases, with ceilings that nobody measured."""

    def ceilings(device, environment, *, session_id, dtype, seed):
        return Ceilings(
            session_id=session_id, started_at="2026-11-28T00:00:00+00:00", environment=synthetic_environment("cpu"),
            dtype=dtype, matrix_size=64, matrix_flops_per_second=1e9, copy_bytes=1, copy_bytes_per_second=1e9,
        )  # fmt: skip

    monkeypatch.setattr(module, "measure_ceilings", ceilings)
    monkeypatch.setattr(module, "launch_times", lambda device: LaunchTimes(
        launch_seconds=1e-6, graph_launch_seconds=None, graph_kernel_seconds=None))  # fmt: skip

    def run(*given, budget=60.0):
        monkeypatch.setattr(module, "cases", lambda kind: iter(given))
        return calibrate("cpu", time_budget_seconds=budget)

    return run


def test_a_kernel_is_that_of_one_call(calibrated, tmp_path):
    found, interrupted = calibrated(product(32), product(64))
    assert not interrupted
    assert [use.shapes for use in found.kernels] == [((32, 32), (32, 32)), ((64, 64), (64, 64))]
    first = found.kernels[0]
    assert (first.operator, first.kernel_class) == ("aten::mm", KernelClass.MATRIX_PRODUCT)
    assert (first.call_count, first.matrix_flop_count, first.byte_count) == (1, 2 * 32**3, 3 * 4 * 32**2)
    assert 0 < first.seconds < 0.5
    assert [each.dtype for each in found.ceilings] == [Dtype.FLOAT32, Dtype.BFLOAT16]
    assert found.left_out == ()
    assert {each.field: each.reason for each in found.unknowns}["graph_launch_seconds"] == "a CPU has no graphs"
    (tmp_path / "c.json").write_bytes(calibration_bytes(found))
    assert read_calibration(tmp_path / "c.json") == found


def test_the_file_names_no_user_and_no_host(calibrated, monkeypatch):
    for name in ("USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "a-secret-name")
    for module_, name in ((platform, "node"), (socket, "gethostname"), (getpass, "getuser")):
        monkeypatch.setattr(module_, name, lambda: "a-secret-name")
    text = calibration_bytes(calibrated(product(8))[0]).decode()
    assert "a-secret-name" not in text
    assert not {"uuid", "serial", "host_name", "user"} & json.loads(text)["environment"].keys()


def test_what_the_budget_leaves_out_is_said(calibrated, monkeypatch):
    now = [0.0]

    def late(random):
        now[0] = 100.0
        return lambda: torch.ones(64, 64) @ torch.ones(64, 64)

    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    found, interrupted = calibrated(Case(name="first", byte_count=1, make=late), product(64, "second"), budget=60.0)
    assert not interrupted
    assert found.left_out == (
        "ceilings in bfloat16: the time budget had ended", "second 64: the time budget had ended",
    )  # fmt: skip
    assert len(found.kernels) == 1
    assert found.seconds == 100.0
    with pytest.raises(UsageError, match="leaves no time; give 20s or more"):
        calibrated(budget=0.0)


def test_ctrl_c_keeps_what_was_measured(calibrated):
    found, interrupted = calibrated(product(16), failing(KeyboardInterrupt()), product(32))
    assert interrupted
    assert len(found.kernels) == 1
    assert found.left_out == ("failing: interrupted", "product 32: interrupted")


def test_a_case_that_fails_or_does_not_fit_is_left_out_and_said(calibrated):
    huge = Case(name="huge", byte_count=2**60, make=lambda random: None)
    found, _ = calibrated(failing(torch.OutOfMemoryError("no room\nat all")), huge, product(16))
    assert found.left_out == (
        "failing: OutOfMemoryError: no room", "huge: its tensors need more than a quarter of the device's memory",
    )  # fmt: skip
    assert len(found.kernels) == 1


def test_every_case_of_a_cpu_that_is_small_runs_and_each_class_comes_early():
    random = random_tensors(torch.device("cpu"), 0)
    small = [case for case in cases("cpu") if case.byte_count < 2**18]
    assert len(small) > 8
    for case in small:
        case.make(random)()
    for kind in ("cpu", "cuda"):
        begins = [case.name.split()[0] for case in cases(kind)][:6]
        assert begins == ["product", "attention", "addition", "layer", "copy", "products"]


def test_launches_take_time():
    found = launch_times(module.open_device("cpu"))
    assert 0 < found.launch_seconds < 1e-2
    assert found.graph_launch_seconds is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "{", "is no calibration: Input data was truncated; write one with pamprof calibrate -o FILE"),
        (lambda text: "[]", "is no calibration: Expected `object`"),
        (lambda text: text.replace("pamprof calibration", "other"), "is no calibration: Invalid enum value 'other'"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "has version 2, newer than 1"),
        (lambda text: text.replace('"launch_seconds": 1e-6', '"launch_seconds": -1'), "launch_seconds is -1"),
        (lambda text: text.replace('"launch_seconds": 1e-6', '"launch_seconds": 1e99'), "launch_seconds is 1e\\+99"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_in_one_sentence(calibrated, tmp_path, change, sentence):
    text = calibration_bytes(calibrated(product(8))[0]).decode()
    file = tmp_path / "c.json"
    file.write_text(change(text))
    with pytest.raises(RecordError, match=sentence) as caught:
        read_calibration(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(RecordError, match="cannot be read: No such file or directory; write one"):
        read_calibration(tmp_path / "none.json")


def test_a_use_without_time_is_refused(calibrated, tmp_path):
    found, _ = calibrated(product(8))
    (tmp_path / "c.json").write_bytes(
        calibration_bytes(replace(found, kernels=(replace(found.kernels[0], seconds=0.0),)))
    )
    with pytest.raises(RecordError, match=r"kernels\.seconds is 0\.0"):
        read_calibration(tmp_path / "c.json")
