"""The trace of one step: what the file holds, what it leaves out, and what a failure costs."""

import gzip
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pamprof.hardware.device import open_device
from pamprof.measure.machine.kernels.profile import short_name
from pamprof.measure.machine.step_trace import readable, trace_file, trace_step
from pamprof.measure.session.arm.profile import ArmProfile
from pamprof.measure.session.arm.ready import ReadyArm
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.wire import GroupRequest
from pamprof.records import StepTrace
from tests.synthetic import synthetic_workload

WORKLOAD = synthetic_workload()
FILE = trace_file(WORKLOAD)


def test_a_trace_holds_one_step_and_nothing_of_the_machine(tmp_path):
    steps = []
    matrix = torch.randn(8, 8)
    kernels, trace = trace_step(lambda: steps.append(matrix @ matrix), tmp_path, FILE, on_cuda=False)
    document = json.loads(gzip.decompress((tmp_path / FILE).read_bytes()))
    assert kernels is None
    assert len(steps) == 1
    assert trace == StepTrace(file=FILE, byte_count=(tmp_path / FILE).stat().st_size)
    assert [event["name"] for event in document["traceEvents"]].count("aten::mm") == 1
    assert not {"traceName", "host_name"} & document.keys()
    assert list((tmp_path / "traces").iterdir()) == [tmp_path / FILE]


def test_kernels_have_names_that_can_be_read_and_keep_their_whole_ones():
    long = "void at::native::vectorized_elementwise_kernel<4, at::native::AUnaryFunctor<float>>(int, float*)"
    events = [{"cat": "kernel", "name": long, "args": {"grid": [1, 1, 1]}}, {"cat": "kernel", "name": "triton_mm"}]
    events += [{"cat": "cpu_op", "name": "aten::add<x>"}, {"name": "process_name"}]
    found = json.loads(readable(json.dumps({"traceEvents": events}).encode()))["traceEvents"]
    assert [event["name"] for event in found] == [
        "vectorized_elementwise_kernel", "triton_mm", "aten::add<x>", "process_name",
    ]  # fmt: skip
    assert found[0]["args"] == {"grid": [1, 1, 1], "whole name": long}


@pytest.mark.parametrize(
    ("kernel", "short"),
    [
        ("void at::native::(anonymous namespace)::vectorized_layer_norm<float>(int)", "vectorized_layer_norm"),
        ("void (anonymous namespace)::softmax_warp_forward<c10::BFloat16>(x)", "softmax_warp_forward"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
        ("nvjet_sm90_tst_64x8", "nvjet_sm90_tst_64x8"),
    ],
)  # fmt: skip
def test_a_short_name_is_that_of_the_function(kernel, short):
    assert short_name(kernel) == short


def test_the_files_name_cannot_leave_its_folder():
    odd = replace(WORKLOAD, implementation="x", spec=replace(WORKLOAD.spec, layer="../a b"))
    assert trace_file(odd) == "traces/.._a_b-x-eager-train.json.gz"
    assert StepTrace(file=trace_file(odd), byte_count=1).is_beside_records
    for file in ("/etc/passwd", "traces/../x.json.gz", "javascript:alert(1)", "traces/a.json.gz\n"):
        assert not StepTrace(file=file, byte_count=1).is_beside_records


@pytest.fixture
def profile(tmp_path):
    """Profile an arm whose step is given."""
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=(WORKLOAD,), done=(),
        settings=Settings(trace=True), ceilings=False, folder=str(tmp_path),
    )  # fmt: skip
    arms = ArmProfile(open_device("cpu"), request)

    def profiled(step):
        arm = ReadyArm(step=SimpleNamespace(run=step, workload=WORKLOAD), steps_per_sample=1, step_seconds=0.1)
        return arms.profile(arm, watched=True)

    return profiled


def test_a_trace_is_written_once_for_an_arm_and_phase(profile, tmp_path):
    steps = []
    assert profile(lambda: steps.append(1))[1] == StepTrace(file=FILE, byte_count=(tmp_path / FILE).stat().st_size)
    assert profile(lambda: steps.append(2))[1:] == (None, ())
    assert steps == [1]


def test_a_trace_that_fails_costs_itself_alone_and_says_why(profile, tmp_path):
    (tmp_path / "traces").touch()  # where the folder should be
    kernels, trace, (unknown,) = profile(lambda: None)
    assert kernels == "a CPU runs its operators itself and has no kernels"
    assert trace is None
    assert unknown.field == "trace"
    assert unknown.reason.startswith("it could not be written: ")
    assert "FileExistsError" in unknown.reason
