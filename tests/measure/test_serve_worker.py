"""The sweep's walk over a device that is a formula: where it goes, where it ends, and what it records."""

import os
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.errors import UnsupportedError
from pamprof.measure import serve_limit, serve_worker
from pamprof.measure.plan import Arm
from pamprof.measure.serve import CUDA_AXES
from pamprof.measure.serve_limit import MemoryLimit
from pamprof.measure.serve_plan import SweepAxes, candidates
from pamprof.measure.settings import Settings
from pamprof.measure.wire import GroupRequest, decode_event
from pamprof.measure.worker import Pipe
from pamprof.records import Dtype, Execution, Phase, Run, Skip, SkipKind
from pamprof.records.codec import decode
from tests.synthetic import synthetic_run, synthetic_spec

WEIGHTS = 1_000_000
KAPPA = 1_000
STATE = 100_000
STEP = 5_000


class FakeDevice:
    torch_device = "cuda:0"

    def __init__(self, total=1_000_000_000, kind="cuda"):
        self.kind = kind
        self.total = total

    def memory(self):
        return SimpleNamespace(total_bytes=self.total, used_bytes=WEIGHTS, allocated_bytes=WEIGHTS, reserved_bytes=0)

    def empty_cache(self):
        pass

    def synchronise(self):
        pass

    def is_out_of_memory(self, error):
        return isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)


class Definition:
    def __init__(self, fixed_state):
        self.fixed_state = fixed_state

    def state_byte_count(self, spec, *, scope, batch_size, context, dtype):
        return batch_size * (STATE if self.fixed_state else KAPPA * context)


class FakeRunner:
    """Steps that read weights and states at a rate, and need ``needed`` bytes."""

    def __init__(self, device, *, fixed_state=False, extra_bytes=0, per_sequence=0.0):
        self.device = device
        self.fixed_state = fixed_state
        self.extra_bytes = extra_bytes  # what measuring needs beside the step itself
        self.per_sequence = per_sequence
        self.watched = []
        self.kept = set()

    def needed(self, workload):
        each = STATE if self.fixed_state else KAPPA * (workload.sequence_length + 1)
        return WEIGHTS + workload.batch_size * (each + STEP)

    def measure(self, workload, reference, *, kept, watch):
        self.kept.add(id(kept))
        if workload.phase is Phase.DECODE and self.needed(workload) + self.extra_bytes > self.device.total:
            raise UnsupportedError("the step cannot be captured") from MemoryError()
        seconds = 1e-9 * (20 * WEIGHTS + self.needed(workload)) + self.per_sequence * workload.batch_size
        pairs = SimpleNamespace(arm=SimpleNamespace(wall_time_seconds=[seconds] * 5))
        if watch(pairs):
            self.watched.append((workload.phase, workload.sequence_length, workload.batch_size))
        run = synthetic_run(workload, reference=workload)
        timing = replace(run.timing, wall_time_seconds=(seconds,) * 5, reference_wall_time_seconds=(seconds,) * 5)
        memory = replace(run.memory, peak_bytes=self.needed(workload))
        return replace(run, timing=timing, memory=memory), None

    def out_of_memory_reason(self, workload):
        return f"batch {workload.batch_size} does not fit; choose a smaller one"


@pytest.fixture
def swept(monkeypatch):
    def run(
        runner, *, contexts=(128, 1024, 8192), prompts=(128, 512, 2048), largest_batch=1 << 14, done=(), deadline=None,
        fits=None, execution=Execution.GRAPH,
    ):  # fmt: skip
        definition = Definition(runner.fixed_state)
        monkeypatch.setattr(serve_worker, "definition", lambda name: definition)
        monkeypatch.setattr(serve_worker, "gc", SimpleNamespace(collect=lambda: 0))  # a test's heap is large
        monkeypatch.setattr(serve_worker.ArmSweep, "_build", lambda self: SimpleNamespace(model=None))
        monkeypatch.setattr(
            MemoryLimit, "_fits", fits or (lambda self, workload: runner.needed(workload) <= runner.device.total)
        )
        axes = SweepAxes(contexts=contexts, prompts=prompts, largest_batch=largest_batch)
        arm = Arm(definition=definition, spec=synthetic_spec("transformer"), facts=None)
        group = candidates(arm, axes, implementation="sdpa", execution=execution, dtype=Dtype.BFLOAT16)
        request = GroupRequest(
            session_id="s", group_id="g", origin_seconds=0.0, device="cuda", workloads=group,
            done=tuple(each.key for each in group if done(each)) if done else (), settings=Settings(),
            ceilings=False, deadline_seconds=deadline,
        )  # fmt: skip
        return sent(lambda pipe: serve_worker.ArmSweep(runner, request, group, pipe).run())

    return run


def sent(send):
    """The records that ``send`` writes into a pipe."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream:
        chunks = []
        # Small records, but many: the pipe is emptied while it is written.
        reader = threading.Thread(target=lambda: chunks.append(stream.read()))
        reader.start()
        send(Pipe(write_end))
        os.close(write_end)
        reader.join()
    lines = chunks[0].splitlines(keepends=True)
    return [decode(line) for line in lines if decode_event(line) is None]


def batches(records, context, kind=Run):
    return [
        record.workload.batch_size
        for record in records
        if isinstance(record, kind)
        and record.workload.phase is Phase.DECODE
        and record.workload.sequence_length == context
    ]


def limit(runner, context):
    one = synthetic_run().workload
    low = 1
    while runner.needed(replace(one, batch_size=low + 1, sequence_length=context)) <= runner.device.total:
        low += 1
    return low


@pytest.mark.parametrize("context", [128, 1024, 8192])
def test_memory_ends_every_line_with_a_run_and_a_skip_two_percent_apart(swept, context):
    runner = FakeRunner(FakeDevice())
    records = swept(runner)
    true = limit(runner, context)
    largest, (refused,) = max(batches(records, context)), batches(records, context, Skip)
    assert largest <= true < refused
    assert refused - largest <= max(1, 0.02 * true)
    (skip,) = [each for each in records if isinstance(each, Skip) and each.workload.sequence_length == context]
    assert skip.kind is SkipKind.OUT_OF_MEMORY
    assert f"{refused} sequences" in skip.reason


def test_second_powers_of_two_come_first_and_the_rest_is_filled_in(swept):
    records = swept(FakeRunner(FakeDevice()), contexts=(1024,))
    found = batches(records, 1024)
    coarse = found[: found.index(2)]
    assert coarse[:4] == [1, 4, 16, 64]
    assert sorted(found)[:7] == [1, 2, 4, 8, 16, 32, 64]
    assert len(found) == len(set(found))


def test_a_flat_line_is_not_raised_further_but_its_memory_is_still_found(swept):
    runner = FakeRunner(FakeDevice(), per_sequence=1.0)  # each sequence takes a second: tokens per second stay at 1
    records = swept(runner, contexts=(128,))
    largest = max(batches(records, 128))
    assert sorted(batches(records, 128)) == [1, 2, 4, largest]
    assert largest > 1000


def test_every_prompt_is_read_once_and_energy_watched_at_the_ends(swept):
    runner = FakeRunner(FakeDevice())
    records = swept(runner, contexts=(128, 1024))
    prompts = [each.workload.sequence_length for each in records if each.workload.phase is Phase.PREFILL]
    assert prompts == [128, 512, 2048]
    assert [place for place in runner.watched if place[0] is Phase.PREFILL] == [
        (Phase.PREFILL, 128, 1),
        (Phase.PREFILL, 2048, 1),
    ]
    decode = [place[1:] for place in runner.watched if place[0] is Phase.DECODE]
    assert (128, 1) in decode
    assert (1024, 1) not in decode
    assert len(decode) == 3  # one sequence, and the last batch of each context


def test_one_model_serves_every_point(swept):
    runner = FakeRunner(FakeDevice())
    swept(runner)
    assert len(runner.kept) == 1


def test_what_was_compiled_for_one_batch_serves_no_other(swept, monkeypatch):
    undone = []
    monkeypatch.setattr(serve_worker, "plain_regions", undone.append)
    swept(FakeRunner(FakeDevice()))
    assert not undone
    records = swept(FakeRunner(FakeDevice()), execution=Execution.COMPILED_GRAPH)
    assert len(undone) == sum(isinstance(record, Run) for record in records)
    reasons = [record.reason for record in records if isinstance(record, Skip)]
    assert reasons
    assert all(reason.startswith("found by bisection with the step not compiled: ") for reason in reasons)


@pytest.mark.parametrize("execution", list(Execution))
def test_memory_s_end_is_sought_as_the_step_is_replayed_but_without_compiling(monkeypatch, execution):
    captured = []
    step = SimpleNamespace(eager=lambda: None)
    monkeypatch.setattr(serve_limit, "PreparedStep", lambda *_, **__: step)
    monkeypatch.setattr(serve_limit, "capture_graph", lambda run: captured.append(run) or run)
    monkeypatch.setattr(serve_limit, "gc", SimpleNamespace(collect=lambda: 0))
    limit = MemoryLimit(FakeDevice(), None, Definition(fixed_state=False), seed=0)
    assert limit._fits(replace(synthetic_run().workload, execution=execution))
    assert bool(captured) is (execution in (Execution.GRAPH, Execution.COMPILED_GRAPH))


class SlowRunner(FakeRunner):
    """Each point takes ``point_seconds`` of a clock that nobody waits for, each try of a batch ``try_seconds``."""

    point_seconds = 6.0
    try_seconds = 0.5
    now = 0.0

    def measure(self, workload, reference, *, kept, watch):
        self.now += self.point_seconds
        return super().measure(workload, reference, kept=kept, watch=watch)


@pytest.fixture
def within(swept, monkeypatch):
    """The default sweep of a GPU, cut off by a budget: keys and values of a 100M transformer's proportions to it."""

    def run(seconds):
        # 3.8M tokens of cache: 36 KiB a token (two of 768 channels in 12 layers, two bytes each) in 140 GB.
        runner = SlowRunner(FakeDevice(total=3_800_000 * KAPPA))

        def fits(self, workload):
            runner.now += runner.try_seconds
            return runner.needed(workload) <= runner.device.total

        monkeypatch.setattr(serve_worker, "time", SimpleNamespace(perf_counter=lambda: runner.now))
        monkeypatch.setattr(serve_worker, "plain_regions", lambda model: None)
        return swept(
            runner, contexts=CUDA_AXES.contexts, prompts=CUDA_AXES.prompts, largest_batch=CUDA_AXES.largest_batch,
            deadline=seconds, fits=fits, execution=Execution.COMPILED_GRAPH,
        )  # fmt: skip

    return run


def prompts_of(records):
    return [each.workload.sequence_length for each in records if each.workload.phase is Phase.PREFILL]


def test_two_hundred_seconds_of_compiled_points_reach_memory_s_end_in_every_context(within):
    records = within(205.0)  # of 220, what starting the process and building the model leaves
    for context in (128, 512, 2048, 8192, 32_768):
        assert len(batches(records, context)) >= 4, context
        assert len(batches(records, context, Skip)) == 1, context
    assert len(prompts_of(records)) >= 4


def test_a_sweep_cut_off_early_has_a_model_of_decode_and_of_prompts(within):
    records = within(80.0)
    decode = [each for each in records if isinstance(each, Run) and each.workload.phase is Phase.DECODE]
    assert len(decode) >= 6
    assert {each.workload.sequence_length for each in decode} == {128, 32_768}
    assert len(prompts_of(records)) >= 4


def test_without_a_budget_compiled_batches_rise_by_fours_and_none_is_left_out(within):
    records = within(None)
    powers = [batch for batch in batches(records, 128) if batch & (batch - 1) == 0]
    assert powers[:4] == [1, 16, 256, 4096]
    assert sorted(powers) == [4**power for power in range(8)]


def test_the_context_of_which_least_is_known_is_filled_in_first(swept):
    found = swept(FakeRunner(FakeDevice()))
    filled = [each.workload for each in found if isinstance(each, Run) and each.workload.batch_size == 2]
    assert [each.sequence_length for each in filled] == [8192, 1024, 128]


def sweep_of(monkeypatch, runner, workloads, *, done=()):
    monkeypatch.setattr(serve_worker, "ArmRunner", lambda request: runner)
    monkeypatch.setattr(serve_worker, "definition", lambda name: Definition(fixed_state=False))
    monkeypatch.setattr(MemoryLimit, "_fits", lambda self, workload: runner.needed(workload) <= runner.device.total)
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cuda", workloads=workloads, done=done,
        settings=Settings(), ceilings=False, deadline_seconds=None,
    )  # fmt: skip
    return sent(lambda pipe: serve_worker.run_sweep(request, pipe))


def both_implementations():
    one = synthetic_run().workload
    decode = replace(one, phase=Phase.DECODE, batch_size=1, sequence_length=128)
    return tuple(
        replace(decode, implementation=name, batch_size=batch) for name in ("fused", "planar") for batch in (1, 4)
    )


@pytest.mark.parametrize("available", [True, False])
def test_the_first_implementation_that_the_device_can_run_is_swept(monkeypatch, available):
    def build(self):
        if self._workloads[0].implementation == "fused" and not available:
            raise UnsupportedError("the fused implementation needs something else")
        return SimpleNamespace(model=None)

    monkeypatch.setattr(serve_worker.ArmSweep, "_build", build)
    records = sweep_of(monkeypatch, FakeRunner(FakeDevice()), both_implementations())
    runs = {each.workload.implementation for each in records if isinstance(each, Run)}
    refused = [each for each in records if isinstance(each, Skip) and each.kind is SkipKind.UNSUPPORTED]
    assert runs == ({"fused"} if available else {"planar"})
    assert [each.reason for each in refused] == ([] if available else ["the fused implementation needs something else"])


def test_an_arm_that_cannot_be_built_is_one_skip_and_is_not_said_again(monkeypatch):
    def build(self):
        raise MemoryError

    monkeypatch.setattr(serve_worker.ArmSweep, "_build", build)
    workloads = both_implementations()[:2]
    (skip,) = sweep_of(monkeypatch, FakeRunner(FakeDevice()), workloads)
    assert (skip.kind, skip.workload) == (SkipKind.OUT_OF_MEMORY, workloads[0])
    assert sweep_of(monkeypatch, FakeRunner(FakeDevice()), workloads, done=(workloads[0].key,)) == []


def test_a_fixed_state_seeks_its_memory_once(swept):
    runner = FakeRunner(FakeDevice(), fixed_state=True)
    records = swept(runner)
    assert len(batches(records, 128, Skip)) == 1
    assert sorted(batches(records, 8192)) == [1, 16, 256]
    assert not batches(records, 1024)


def test_a_limit_that_cannot_be_measured_is_lowered_until_it_can(swept):
    runner = FakeRunner(FakeDevice(), extra_bytes=30_000_000)
    records = swept(runner, contexts=(1024,))
    skips = [each for each in records if isinstance(each, Skip)]
    assert {each.kind for each in skips} == {SkipKind.OUT_OF_MEMORY}  # though the capture called it unsupported
    assert max(batches(records, 1024)) < min(each.workload.batch_size for each in skips)


def test_a_kernel_that_fails_on_large_sizes_ends_its_line_alone(swept):
    def fits(self, workload):
        self.tried = workload.batch_size
        if workload.sequence_length == 1024:
            raise RuntimeError("an illegal memory access was encountered\nmore")
        return False

    records = swept(FakeRunner(FakeDevice()), contexts=(128, 1024), fits=fits)
    (crash,) = [each for each in records if isinstance(each, Skip) and each.workload.sequence_length == 1024]
    assert crash.kind is SkipKind.CRASHED
    assert "illegal memory access was encountered" in crash.reason
    assert batches(records, 128)


def test_nothing_is_begun_after_the_deadline(swept):
    assert swept(FakeRunner(FakeDevice()), deadline=time.perf_counter() - 1) == []


def test_a_resumed_sweep_measures_only_what_is_missing(swept):
    records = swept(FakeRunner(FakeDevice()), contexts=(128,), done=lambda each: each.batch_size in (1, 4, 16384))
    assert not {1, 4} & set(batches(records, 128))
    assert batches(records, 128, Skip) == []  # its last batch is done: the end of memory is known
    assert {16, 64} <= set(batches(records, 128))


def test_a_cpu_never_fills_its_memory(swept):
    device = FakeDevice(total=40_000_000, kind="cpu")
    records = swept(FakeRunner(device), contexts=(128,))
    assert max(batches(records, 128)) * KAPPA * 129 <= 20_000_000
    (skip,) = [each for each in records if isinstance(each, Skip)]
    assert "half of the machine's free memory; not tried" in skip.reason


@settings(max_examples=200)
@given(true=st.integers(1, 200_000), known=st.integers(1, 200_000), error=st.floats(0.5, 2.0))
def test_bisection_brackets_the_limit_whatever_the_prediction(true, known, error):
    known = min(known, true)
    tries = []

    class Limit(MemoryLimit):
        def __init__(self):
            self._free_bytes = true * error

        def _needed_bytes_each(self, workload, peaks):
            return 1.0

        def _fits(self, workload):
            tries.append(workload.batch_size)
            return workload.batch_size <= true

    low, high = Limit().search(synthetic_run().workload, known, {})
    assert known <= low <= true < high
    assert high - low <= max(1, int(0.02 * low))
    assert len(tries) <= 32
