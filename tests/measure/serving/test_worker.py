"""The sweep's walk over a device that is a formula: where it goes, where it ends, and what it records."""

import os
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.errors import UnsupportedError
from pamprof.measure.serving import memory_limit as serve_limit, visit as serve_visit, worker as serve_worker
from pamprof.measure.serving.memory_limit import MemoryLimit
from pamprof.measure.serving.plan import SweepAxes, candidates
from pamprof.measure.serving.request import CUDA_AXES
from pamprof.measure.session.answering import Pipe
from pamprof.measure.session.matched_arms import PlannedArm
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.wire import GroupRequest, decode_event
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
        return SimpleNamespace(
            total_bytes=self.total, used_bytes=WEIGHTS, allocated_bytes=WEIGHTS, reserved_bytes=WEIGHTS
        )

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

    fixed_seconds = 0.0
    seconds_per_byte = 1e-9

    def __init__(
        self, device, *, fixed_state=False, extra_bytes=0, per_sequence=0.0, copied=0.0, hidden=0.0, crashes_at=None
    ):
        self.device = device
        self.fixed_state = fixed_state
        self.extra_bytes = extra_bytes  # what measuring needs beside the step itself
        self.per_sequence = per_sequence
        self.copied = copied  # of the state, by a step
        self.hidden = hidden  # of what is needed, by preparing a step, and not seen in the records
        self.crashes_at = crashes_at  # and at every larger batch
        self.watched = []
        self.kept = set()

    def needed(self, workload):
        each = STATE if self.fixed_state else KAPPA * (workload.sequence_length + 1)
        return int(WEIGHTS + workload.batch_size * ((1 + self.copied) * each + STEP))

    def measure(self, workload, reference, *, kept, watch):
        self.kept.add(id(kept))
        if self.crashes_at is not None and workload.batch_size >= self.crashes_at:
            raise RuntimeError("the kernel cannot run so many\nmore")
        taken = (1 + self.hidden) * self.needed(workload) + self.extra_bytes
        if workload.phase is Phase.DECODE and taken > self.device.total:
            raise UnsupportedError("the step cannot be captured") from MemoryError()
        seconds = self.fixed_seconds + self.seconds_per_byte * (20 * WEIGHTS + self.needed(workload))
        seconds += self.per_sequence * workload.batch_size
        pairs = SimpleNamespace(arm=SimpleNamespace(wall_time_seconds=[seconds] * 5))
        if watch(pairs):
            self.watched.append((workload.phase, workload.sequence_length, workload.batch_size))
        run = synthetic_run(workload, reference=workload)
        timing = replace(run.timing, wall_time_seconds=(seconds,) * 5, reference_wall_time_seconds=(seconds,) * 5)
        memory = replace(run.memory, peak_bytes=self.needed(workload), reserved_bytes=self.needed(workload))
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
        monkeypatch.setattr(serve_visit, "gc", SimpleNamespace(collect=lambda: 0))  # a test's heap is large
        monkeypatch.setattr(serve_worker.ArmSweep, "_build", lambda self: SimpleNamespace(model=None))
        monkeypatch.setattr(
            MemoryLimit, "_fits", fits or (lambda self, workload: runner.needed(workload) <= runner.device.total)
        )
        axes = SweepAxes(contexts=contexts, prompts=prompts, largest_batch=largest_batch)
        arm = PlannedArm(definition=definition, spec=synthetic_spec("transformer"), facts=None)
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


def never_tried(self, workload):
    raise AssertionError(f"batch {workload.batch_size} was bisected")


def note_of(records, batch):
    (run,) = [each for each in records if isinstance(each, Run) and each.workload.batch_size == batch]
    return run.notes[-1]


@pytest.mark.parametrize("copied", [0.0, 0.15])
@pytest.mark.parametrize("context", [128, 1024, 8192])
@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.COMPILED_GRAPH])
def test_every_line_ends_four_percent_below_memory_s_end_without_a_failure(
    swept, monkeypatch, context, copied, execution
):
    monkeypatch.setattr(serve_visit, "plain_regions", lambda model: None)
    runner = FakeRunner(FakeDevice(), copied=copied)
    records = swept(runner, contexts=(context,), fits=never_tried, execution=execution)
    assert not batches(records, context, Skip)
    largest, true = max(batches(records, context)), limit(runner, context)
    assert 0.95 * true - 1 <= largest <= 0.965 * true
    assert note_of(records, largest).startswith("the end of memory, predicted from the memory of ")


def test_what_preparing_a_step_takes_besides_costs_one_failure_and_a_clearly_lower_try(swept):
    runner = FakeRunner(FakeDevice(), hidden=0.1)
    records = swept(runner, contexts=(1024,), fits=never_tried)
    (skip,) = [each for each in records if isinstance(each, Skip)]
    refused, largest = skip.workload.batch_size, max(batches(records, 1024))
    assert skip.kind is SkipKind.OUT_OF_MEMORY
    assert "predicted from the memory of" in skip.reason
    assert largest == int(0.85 * refused)
    assert note_of(records, largest).startswith("0.85 of the end of memory, predicted from the memory of ")
    assert f"where {refused:,} sequences did not fit" in note_of(records, largest)


def test_a_prediction_that_fails_twice_is_given_up(swept):
    records = swept(FakeRunner(FakeDevice(), hidden=0.3), contexts=(1024,), fits=never_tried)
    refused = batches(records, 1024, Skip)
    assert len(refused) == 2
    assert max(batches(records, 1024)) == 256  # as far as the grid was raised before
    assert max(batches(records, 1024)) < min(refused)


def test_a_context_with_one_batch_borrows_from_the_others(swept):
    # One sequence of 256k tokens takes 262 MB of 1 GB: of the grid, 1 alone fits.
    runner = FakeRunner(FakeDevice(), copied=0.15)
    records = swept(runner, contexts=(1024, 1 << 18), fits=never_tried)
    assert batches(records, 1 << 18) == [1, 3, 2]
    (run,) = [each for each in records if isinstance(each, Run) and each.workload.batch_size == 3]
    assert run.notes[-1] == "the end of memory, predicted from the memory of other contexts"


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.COMPILED_GRAPH])
def test_with_nothing_to_predict_from_memory_s_end_is_bisected_and_said_to_be(swept, monkeypatch, execution):
    monkeypatch.setattr(serve_visit, "plain_regions", lambda model: None)
    runner = FakeRunner(FakeDevice())
    records = swept(runner, contexts=(1 << 18,), execution=execution)
    (skip,) = [each for each in records if isinstance(each, Skip)]
    compiled = execution is Execution.COMPILED_GRAPH
    assert skip.reason.startswith(f"found by bisection{' with the step not compiled' if compiled else ''}: 4 sequences")
    assert batches(records, 1 << 18)[:2] == [1, 2 if compiled else 3]  # the uncompiled bound is only that
    assert note_of(records, 2 if compiled else 3) == "the end of memory, found by bisection"


@pytest.mark.parametrize("crashes_at", [1000, 2000, 5000])
def test_a_batch_that_crashes_ends_its_line_one_batch_lower_without_a_search(swept, crashes_at):
    runner = FakeRunner(FakeDevice(total=1_000_000_000_000), crashes_at=crashes_at)
    records = swept(runner, contexts=(128,), fits=never_tried)
    skips = [each for each in records if isinstance(each, Skip)]
    assert {each.kind for each in skips} == {SkipKind.CRASHED}
    assert "the kernel cannot run so many" in skips[0].reason
    coarse = {1000: 1024, 2000: 4096, 5000: 16_384}[crashes_at]
    reached = {1000: 512, 2000: 2048, 5000: 8192}[crashes_at]
    assert batches(records, 128, Skip)[0] == coarse
    assert (reached in batches(records, 128)) is (reached < crashes_at)
    assert max(batches(records, 128)) < crashes_at
    assert len(skips) <= 2


def test_a_step_slower_than_anybody_waits_for_ends_its_line(swept):
    runner = FakeRunner(FakeDevice(), per_sequence=0.05)
    runner.fixed_seconds = 0.5
    records = swept(runner, contexts=(128,), fits=never_tried)
    assert max(batches(records, 128)) == 16  # 1.3 s; memory would hold thousands


def test_second_powers_of_two_come_first_and_the_rest_is_filled_in(swept):
    records = swept(FakeRunner(FakeDevice()), contexts=(1024,))
    found = batches(records, 1024)
    coarse = found[: found.index(2)]
    assert coarse[:4] == [1, 4, 16, 64]
    assert sorted(found)[:7] == [1, 2, 4, 8, 16, 32, 64]
    assert len(found) == len(set(found))


def test_a_flat_line_is_not_raised_further_but_its_memory_is_still_found(swept):
    runner = FakeRunner(FakeDevice(), per_sequence=0.2)  # each sequence takes 0.2 s: tokens per second stay at 5
    runner.seconds_per_byte = 1e-12
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
    monkeypatch.setattr(serve_visit, "plain_regions", undone.append)
    swept(FakeRunner(FakeDevice()))
    assert not undone
    records = swept(FakeRunner(FakeDevice()), execution=Execution.COMPILED_GRAPH)
    assert len(undone) == len(records)


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
    """Points take ``point_seconds`` of a clock that nobody waits for, failures ``failure_seconds``."""

    point_seconds = 4.0  # of a compiled point of 100M parameters on an H200, compiling included, by its records
    failure_seconds = 2.5
    seconds_per_byte = 1e-10
    now = 0.0

    def measure(self, workload, reference, *, kept, watch):
        self.now += self.failure_seconds
        found = super().measure(workload, reference, kept=kept, watch=watch)
        self.now += self.point_seconds - self.failure_seconds
        return found


@pytest.fixture
def within(swept, monkeypatch):
    """The default sweep of a GPU, cut off by a budget: keys and values of a 100M transformer's proportions to it."""

    def run(seconds, **faults):
        # 3.8M tokens of cache: 36 KiB a token (two of 768 channels in 12 layers, two bytes each) in 140 GB.
        runner = SlowRunner(FakeDevice(total=3_800_000 * KAPPA), **faults)
        monkeypatch.setattr(serve_visit, "time", SimpleNamespace(perf_counter=lambda: runner.now))
        monkeypatch.setattr(serve_visit, "plain_regions", lambda model: None)
        return swept(
            runner, contexts=CUDA_AXES.contexts, prompts=CUDA_AXES.prompts, largest_batch=CUDA_AXES.largest_batch,
            deadline=seconds, fits=never_tried, execution=Execution.COMPILED_GRAPH,
        )  # fmt: skip

    return run


def prompts_of(records):
    return [each.workload.sequence_length for each in records if each.workload.phase is Phase.PREFILL]


def powers(records, context, factor):
    """Which powers of ``factor`` below the largest measured batch of ``context`` are missing."""
    found = batches(records, context)
    return [factor**power for power in range(17) if factor**power < max(found) and factor**power not in found]


@pytest.mark.parametrize("faults", [{}, {"copied": 0.15, "hidden": 0.1, "crashes_at": 60_000}])
def test_two_hundred_seconds_of_compiled_points_leave_no_gap_at_the_ends_and_none_of_sixteen_between(within, faults):
    records = within(187.0, **faults)  # of 200, what starting the process and building the model leaves
    for context in (128, 512, 2048, 8192, 32_768):
        assert not powers(records, context, 4 if context in (128, 32_768) else 16), context
        assert max(batches(records, context)) * context > 0.7 * 3_800_000 / (1 + faults.get("copied", 0)) or faults
    assert prompts_of(records) == list(CUDA_AXES.prompts)
    for context in (512, 2048, 8192, 32_768):
        assert "the end of memory" in note_at(records, context, max(batches(records, context)))


def note_at(records, context, batch):
    (run,) = [
        each
        for each in records
        if isinstance(each, Run) and (each.workload.sequence_length, each.workload.batch_size) == (context, batch)
    ]
    return run.notes[-1]


def test_a_sweep_cut_off_early_has_a_model_of_decode_and_of_prompts(within):
    records = within(80.0)
    decode = [each for each in records if isinstance(each, Run) and each.workload.phase is Phase.DECODE]
    assert len(decode) >= 6
    assert {each.workload.sequence_length for each in decode} >= {128, 32_768}
    assert len(prompts_of(records)) >= 4


def test_without_a_budget_compiled_batches_rise_by_fours_and_none_is_left_out(within):
    records = within(None)
    powers = [batch for batch in batches(records, 128) if batch & (batch - 1) == 0]
    assert powers[:4] == [1, 16, 256, 4096]
    assert sorted(powers) == [4**power for power in range(8)]


def test_the_ends_are_filled_in_first_and_of_them_the_one_of_which_least_is_known(swept):
    found = swept(FakeRunner(FakeDevice()))
    filled = [each.workload for each in found if isinstance(each, Run) and each.workload.batch_size == 2]
    assert [each.sequence_length for each in filled] == [8192, 128, 1024]


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
    ends = [each for each in records if isinstance(each, Run) and "the end of memory" in each.notes[-1]]
    assert [each.workload.sequence_length for each in ends] == [128]
    assert sorted(batches(records, 8192)) == [1, 16, 256]
    assert not batches(records, 1024)


def test_a_kernel_that_fails_where_memory_is_bisected_ends_its_line_alone(swept):
    def fits(self, workload):
        self.tried = workload.batch_size
        raise RuntimeError("an illegal memory access was encountered\nmore")

    records = swept(FakeRunner(FakeDevice()), contexts=(128, 1 << 18), largest_batch=1, fits=fits)
    (first, second) = [each for each in records if isinstance(each, Skip)]
    assert {first.kind, second.kind} == {SkipKind.CRASHED}
    assert "illegal memory access was encountered" in first.reason
    assert batches(records, 128) == batches(records, 1 << 18) == [1]


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
            pass

        def predicted(self, workload):
            return int(true * error)

        def _fits(self, workload):
            tries.append(workload.batch_size)
            return workload.batch_size <= true

    low, high = Limit().search(synthetic_run().workload, known)
    assert known <= low <= true < high
    assert high - low <= max(1, int(0.02 * low))
    assert len(tries) <= 32
