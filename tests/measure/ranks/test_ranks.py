"""Ranks that measure together: what is refused, which points they share, what messages they send, and who dies."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pamprof.api.compare import compare
from pamprof.errors import DeviceError, PamprofError, UnsupportedError, UsageError
from pamprof.measure.ranks.communication import communication_of, profile_communication
from pamprof.measure.ranks.plan import RankPlan, rank_plan, ranked_groups
from pamprof.measure.ranks.rank_team import check_alike
from pamprof.measure.ranks.ranked_runner import RankedRunner
from pamprof.measure.session.matched_arms import planned_arms
from pamprof.records import Dtype, Execution, Parallel, Phase, RankLayout, SkipKind, Unknown
from tests.synthetic import ranked_run, synthetic_run, synthetic_workload

PHASES = (Phase.TRAIN, Phase.DECODE)


def arms(*layers, preset="100m"):
    found, _ = planned_arms(
        preset=preset,
        sizes={},
        layers=layers,
        match_axis="none",
        sequence_length=2048,
        dtype=Dtype.BFLOAT16,
        checkpoints={},
    )
    return found


def plan(parallel, ranks, *layers, phases=PHASES, device="cpu", kind="cpu"):
    layout = RankLayout(parallel=parallel, ranks=ranks)
    return rank_plan(arms(*layers), layout, phases, device=device, device_kind=kind)


class TestRefusals:
    def test_a_subject_whose_heads_do_not_divide_ends_the_comparison(self):
        with pytest.raises(UsageError, match="pam has 6 heads, which 4 ranks cannot share equally"):
            plan(Parallel.TP, 4, "transformer", "pam")

    def test_a_reference_whose_heads_do_not_divide_is_left_out_alone(self):
        found = plan(Parallel.TP, 2, "transformer", "llama", "pam")
        assert found.refusals == {
            "llama": "llama has 3 key and value heads, which 2 ranks cannot share equally; 3 ranks can"
        }

    def test_data_parallelism_needs_no_head_but_training(self):
        assert plan(Parallel.DDP, 4, "transformer", "pam").refusals == {}
        with pytest.raises(UsageError, match="--parallel fsdp shares training alone"):
            plan(Parallel.FSDP, 2, "transformer", "pam", phases=(Phase.DECODE,))

    def test_more_ranks_than_gpus(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        with pytest.raises(DeviceError, match="4 ranks need a GPU each and this process sees 2; take --ranks 2"):
            plan(Parallel.DDP, 4, "transformer", "pam", device="cuda", kind="cuda")

    def test_a_torch_without_nccl(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: False)
        with pytest.raises(DeviceError, match="needs NCCL, which this torch is built without"):
            plan(Parallel.DDP, 2, "transformer", "pam", device="auto", kind="cuda")

    def test_one_gpu_by_its_number(self):
        with pytest.raises(UsageError, match="takes the first 2 GPUs, not cuda:1"):
            plan(Parallel.DDP, 2, "transformer", "pam", device="cuda:1", kind="cuda")

    def test_ranks_with_different_versions(self):
        alike = {"torch": "2.11.0", "device": "NVIDIA H200"}
        check_alike([alike, dict(alike)])
        with pytest.raises(PamprofError, match=r"differ in torch: rank 0 has 2\.11\.0, rank 1 has 2\.13\.0; start"):
            check_alike([alike, {**alike, "torch": "2.13.0"}])

    def test_recomputing_activations_needs_ranks(self, tmp_path):
        with pytest.raises(UsageError, match="add --ranks 2"):
            compare(preset="tiny", device="cpu", activation_checkpointing=True, output_dir=tmp_path, progress=False)


def shared_plan(parallel, **layout):
    return RankPlan(layout=RankLayout(parallel=parallel, ranks=2, **layout), refusals={})


class TestSharedPoints:
    def measured(self, *seconds_by_execution, phase=Phase.TRAIN, batch_size=6):
        workload = synthetic_workload("pam", "planar", phase=phase)
        runs = []
        for execution, seconds in seconds_by_execution:
            run = synthetic_run(replace(workload, execution=execution, batch_size=batch_size))
            runs.append(replace(run, timing=replace(run.timing, wall_time_seconds=(seconds,) * 5)))
        return runs

    def test_the_fastest_code_that_ranks_can_run_scales_weakly_and_strongly(self):
        runs = self.measured((Execution.EAGER, 3.0), (Execution.COMPILED, 2.0), (Execution.COMPILED_GRAPH, 1.0))
        ((alone, weak, strong),) = ranked_groups(runs, shared_plan(Parallel.DDP))
        assert {alone.execution, weak.execution, strong.execution} == {Execution.COMPILED}
        assert (alone.batch_size, weak.batch_size, strong.batch_size) == (6, 12, 6)
        assert (alone.layout, strong.layout) == (None, RankLayout(parallel=Parallel.DDP, ranks=2))
        assert len({alone.key, weak.key, strong.key}) == 3

    def test_a_batch_that_does_not_divide_scales_weakly_alone(self):
        runs = self.measured((Execution.EAGER, 3.0), batch_size=3)
        ((_, weak),) = ranked_groups(runs, shared_plan(Parallel.FSDP))
        assert weak.batch_size == 6

    def test_one_device_recomputes_activations_where_the_ranks_do(self):
        plan = shared_plan(Parallel.TP, checkpoints_activations=True)
        layout = plan.layout
        ((alone, shared),) = ranked_groups(self.measured((Execution.EAGER, 3.0)), plan)
        assert alone.layout == replace(layout, ranks=1)
        assert (shared.layout, shared.batch_size) == (layout, 6)

    def test_serving_is_shared_by_heads_alone(self):
        runs = self.measured((Execution.GRAPH, 1.0), phase=Phase.DECODE)
        assert len(ranked_groups(runs, shared_plan(Parallel.TP))) == 1
        assert ranked_groups(runs, shared_plan(Parallel.DDP)) == ()


def kernel(name, start, end):
    return {"cat": "kernel", "name": name, "ts": start, "dur": end - start}


def call(collective, given, got, dtype):
    arguments = {"Collective name": collective, "In msg nelems": given, "Out msg nelems": got, "dtype": dtype}
    return {"cat": "cpu_op", "name": "record_param_comms", "args": arguments}


class TestMessages:
    def test_exposed_is_the_time_of_messages_in_which_no_other_kernel_runs(self):
        # Products 0..10 and 14..20, an all-reduce 8..16: 4 of its 8 us are between them.
        events = [kernel("gemm", 0, 10), kernel("ncclDevKernel_AllReduce_Sum", 8, 16), kernel("gemm", 14, 20)]
        found = communication_of(events, [call("allreduce", 1000, 1000, "BFloat16")], ranks=2, on_cuda=True)
        assert found.seconds == pytest.approx(8e-6)
        assert found.exposed_seconds == pytest.approx(4e-6)
        (only,) = found.collectives
        assert (only.operation, only.count, only.bytes) == ("all-reduce", 1, 2000)

    def test_of_gathered_and_scattered_weights_the_larger_side_counts(self):
        calls = [
            call("_allgather_base", 10, 40, "Float"),
            call("_reduce_scatter_base", 40, 10, "Float"),
            call("wait", 1, 1, "Int"),
        ]
        found = communication_of([], calls, ranks=4, on_cuda=True)
        assert {each.operation: each.bytes for each in found.collectives} == {"all-gather": 160, "reduce-scatter": 160}

    def test_gloo_tells_no_exposed_time(self):
        arguments = {"Input Dims": [[6]], "Input type": ["double"]}
        events = [{"cat": "user_annotation", "name": "gloo:all_gather", "ts": 0.0, "dur": 5.0, "args": arguments}]
        found = communication_of(events, events, ranks=2, on_cuda=False)
        assert (found.exposed_seconds, found.bytes) == (None, 96)

    def test_calls_that_no_time_line_shows_have_no_time(self):
        found = communication_of([], [call("allreduce", 10, 10, "Float")], ranks=2, on_cuda=True)
        assert (found.seconds, found.exposed_seconds, found.bytes) == (None, None, 40)

    def test_a_step_without_messages_spends_no_time_on_them(self):
        found = communication_of([kernel("gemm", 0, 10)], [], ranks=2, on_cuda=True)
        assert (found.seconds, found.exposed_seconds, found.collectives) == (0.0, 0.0, ())

    @pytest.mark.parametrize(
        ("dtype", "size"), [("Float8_e4m3fn", 1), ("ComplexFloat", 8), ("Short", 2), ("c10::BFloat16", 2)]
    )
    def test_bytes_go_by_the_dtype(self, dtype, size):
        assert communication_of([], [call("allreduce", 10, 10, dtype)], ranks=2, on_cuda=True).bytes == 10 * size

    def test_a_dtype_that_nobody_knows_has_no_size(self):
        with pytest.raises(UnsupportedError, match="messages of dtype 'Quaternion' have a size that is not known"):
            communication_of([], [call("allreduce", 10, 10, "Quaternion")], ranks=2, on_cuda=True)


def failing_step():
    raise OSError("no space left on device")


class TestAFailedProfile:
    def messages(self, step, *told_by_others):
        team = SimpleNamespace(rank=0, size=2, gathered=lambda value: [value, *told_by_others])
        return profile_communication(SimpleNamespace(run=step, eager=step), team, on_cuda=False)

    def test_costs_the_messages_alone(self):
        reason = self.messages(failing_step, None)
        assert reason == "the profiled step failed on rank 0: OSError: no space left on device"
        runner = SimpleNamespace(device=SimpleNamespace(kind="cuda"), _topology=ranked_run().topology)
        assert RankedRunner._unknowns(runner, reason, ())[-1] == Unknown(field="communication", reason=reason)

    def test_on_another_rank_is_told_by_all_alike(self):
        assert self.messages(lambda: None, "the profiled step failed on rank 1: …").endswith("rank 1: …")

    def test_is_not_said_of_a_step_that_ran(self):
        found = self.messages(lambda: None, None)
        assert (found.collectives, found.seconds) == ((), 0.0)


ODD_LAYERS = """
import os, signal, time
from torch import nn

class Odd(nn.Module):
    def __init__(self, width, how):
        super().__init__()
        self.map, self.how = nn.Linear(width, width), how

    def forward(self, x):
        if os.environ.get("RANK") == "1":
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hangs":
                time.sleep(600)
            raise ValueError("rank 1 has had enough")
        return self.map(x)

def dies(width):
    return Odd(width, "dies")

def hangs(width):
    return Odd(width, "hangs")

def raises(width):
    return Odd(width, "raises")
"""


@pytest.mark.slow
def test_a_rank_that_dies_hangs_or_raises_costs_its_point_and_nothing_else(tmp_path):
    file = tmp_path / "odd.py"
    file.write_text(ODD_LAYERS)
    result = compare(
        layers=["transformer", *(f"{name}={file}:{name}" for name in ("dies", "hangs", "raises"))],
        preset="tiny", device="cpu", phases="train", batch_size=1, sequence_length=16, time_limit=0.1, point_timeout=20,
        time_budget="10m", ranks=2, output_dir=tmp_path / "out", progress=False,
    )  # fmt: skip
    assert len(result.records.runs) == 4
    (shared,) = result.records.ranked
    assert shared.workload.spec.layer == "transformer"
    assert shared.communication.bytes == shared.ranks[0].weight_bytes  # DDP sends every gradient once
    found = {skip.workload.spec.layer: skip for skip in result.records.skips}
    assert "rank 1 of 2 was ended by signal SIGKILL" in found["dies"].reason
    assert found["hangs"].kind is SkipKind.TIMEOUT
    assert "waited 10 s for the others, of which one hangs" in found["hangs"].reason
    assert "rank 1 of 2: raises module: ValueError: rank 1 has had enough (odd.py, line" in found["raises"].reason


@pytest.mark.slow
def test_a_comparison_by_ranks_is_recorded_reported_and_resumed(tmp_path):
    options = {
        "preset": "tiny", "device": "cpu", "phases": ["train", "decode"], "batch_size": 2, "sequence_length": 16,
        "implementations": "planar", "layers": ["transformer", "pam"], "heads": 4, "time_limit": 0.1, "ranks": 2,
        "parallel": "tp", "output_dir": tmp_path, "progress": False, "price": 2.0, "time_budget": "5m",
    }  # fmt: skip
    first = compare(**options)
    shared = {run.workload.phase: run for run in first.records.ranked if run.workload.spec.layer == "pam"}
    decode = shared[Phase.DECODE]
    assert [rank.state_bytes * 2 for rank in decode.ranks] == [decode.alone_state_bytes] * 2
    assert decode.agreement.output_difference < 1e-5
    assert shared[Phase.TRAIN].agreement.gradient_norm_difference < 1e-5
    assert all(len(rank.wall_time_seconds) == len(decode.wall_time_seconds) for rank in decode.ranks)
    first.report(tmp_path)
    assert "Several ranks of one machine" in (tmp_path / "summary.md").read_text()
    again = compare(**options, resume=True)
    assert len(again.records.ranked) == len(first.records.ranked)
