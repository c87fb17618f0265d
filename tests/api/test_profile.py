"""A training loop profiled: figures derived by hand, and a loop left as it was."""

import re

import pytest
import torch
from torch import nn
from torch.optim import optimizer as hooks
from torch.utils._python_dispatch import _get_current_dispatch_mode

import pamprof
from pamprof.errors import UsageError
from pamprof.measure.training.ends import StepClock
from pamprof.records import Dtype
from pamprof.records.store import read_records

ROWS, WIDTH = 8, 64
WEIGHT = WIDTH * WIDTH * 4
# Forward, and the gradient of the weight; the input needs none.
FLOPS = 2 * 2 * ROWS * WIDTH * WIDTH


class Loop:
    """A linear layer without bias under SGD with momentum."""

    def __init__(self):
        self.layer = nn.Linear(WIDTH, WIDTH, bias=False)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1, momentum=0.9)
        self.inputs = torch.randn(ROWS, WIDTH)

    def gradients(self):
        self.layer(self.inputs).square().mean().backward()

    def train(self, micro_batches=1):
        self.optimizer.zero_grad()
        for _ in range(micro_batches):
            self.gradients()
        self.optimizer.step()


@pytest.fixture(scope="module")
def run():
    loop = Loop()
    with pamprof.profile(tokens=ROWS, price=3.6) as run:
        for _ in range(12):
            loop.train()
    return run


def ending(run, steps, error):
    """A profiled loop of so many steps that ends with an error."""
    loop = Loop()
    with run:
        for _ in range(steps):
            loop.train()
        raise error


def reasons(run):
    return {unknown.field: unknown.reason for unknown in run.record.unknowns}


def test_every_step_but_the_first_and_the_counted_one_has_a_time(run):
    assert len(run.record.step_seconds) == 10
    assert run.record.untimed_steps == 2
    assert min(run.record.step_seconds) > 0


def test_flops_are_those_of_one_step(run):
    assert run.record.flops.matrix_flop_count == FLOPS
    assert run.record.flops.complete
    assert run.record.parameter_count == WIDTH * WIDTH


def test_the_peak_is_made_of_its_parts(run):
    memory = run.record.memory
    assert (memory.parameter_bytes, memory.optimizer_bytes) == (WEIGHT, WEIGHT)
    assert (memory.saved_activation_bytes, memory.input_bytes) == (ROWS * WIDTH * 4, 0)  # autograd saves the input
    # At its fullest: weight, momentum, the weight's gradient, input, gradient of the output, scalars.
    assert 0 <= memory.peak_bytes - (3 * WEIGHT + 2 * ROWS * WIDTH * 4) < 64
    assert memory.unaccounted_bytes == 0


def test_an_input_is_one_part_even_where_it_is_read_before_autograd_saves_it():
    loop, mask = Loop(), torch.ones(ROWS, WIDTH)
    with pamprof.profile() as run:
        for _ in range(3):
            loop.inputs.isnan()
            loop.optimizer.zero_grad()
            (loop.layer(loop.inputs) + mask).sum().backward()
            loop.optimizer.step()
    memory = run.record.memory
    assert (memory.saved_activation_bytes, memory.input_bytes) == (ROWS * WIDTH * 4, ROWS * WIDTH * 4)
    assert memory.unaccounted_bytes == 0


def test_tokens_and_dollars_follow_from_the_median_step(run):
    (row,) = run.to_frame().to_dict("records")
    step = row["step_median_seconds"]
    assert row["tokens_per_second_median"] == pytest.approx(ROWS / step)
    assert row["usd_per_step"] == pytest.approx(step * 3.6 / 3600)
    assert row["usd_per_million_tokens"] == pytest.approx(step * 3.6 / 3600 / ROWS * 1e6)
    assert set(run.to_frame().dtypes.astype(str)) == {"Float64", "Int64", "string"}
    assert (row["micro_batch_count"], row["timed_step_count"], row["tokens_per_step"]) == (1, 10, ROWS)


def test_the_machine_is_watched_during_the_timed_steps_alone(run):
    monitor = run.record.monitor
    assert monitor.steps == 10
    assert monitor.window_seconds == pytest.approx(sum(run.record.step_seconds), rel=0.5)


def test_text_and_notebook_show_the_same_figures(run):
    assert "Peak memory" in repr(run)
    assert str(run).splitlines()[0].startswith("Training loop · ")
    page = run._repr_html_()
    for line in repr(run).splitlines()[1:4]:
        assert re.split(r"\s{2,}", line.strip())[1].split(" ")[0] in page
    assert "<script" not in page


def test_a_saved_profile_is_a_record_like_any_other(run, tmp_path):
    path = run.save(tmp_path / "runs.jsonl")
    assert run.save(path) == path
    assert read_records(path).profiles == (run.record, run.record)


def test_micro_batches_make_one_step():
    loop = Loop()
    with pamprof.profile(tokens=ROWS, accumulate=3) as run:
        for _ in range(5):
            loop.train(micro_batches=3)
    assert run.record.tokens_per_step == 3 * ROWS
    assert run.record.flops.matrix_flop_count == 3 * FLOPS
    assert len(run.record.step_seconds) == 3


def test_a_step_ends_where_the_loop_says_so():
    loop = Loop()
    with pamprof.profile(tokens=ROWS) as run:
        for _ in range(5):
            loop.train()
            loop.train()
            run.step()
    assert len(run.record.step_seconds) == 3
    assert run.record.flops.matrix_flop_count == 2 * FLOPS
    assert run.record.memory.optimizer_bytes == WEIGHT


def test_a_loop_without_an_optimizer_of_torch_says_where_steps_end_and_what_it_trains():
    loop = Loop()
    with pamprof.profile(tokens=ROWS, model=loop.layer) as run:
        for _ in range(4):
            loop.gradients()
            with torch.no_grad():
                loop.layer.weight -= 0.1 * loop.layer.weight.grad
            loop.layer.weight.grad = None
            run.step()
    assert run.record.memory.parameter_bytes == WEIGHT
    assert run.record.memory.optimizer_bytes == 0
    assert run.record.flops.matrix_flop_count == FLOPS


def test_of_two_optimizers_the_first_ends_the_steps():
    first, second = Loop(), Loop()
    with pamprof.profile() as run:
        for _ in range(4):
            first.train()
            second.train()
    assert len(run.record.step_seconds) == 2
    assert run.record.flops.matrix_flop_count == 2 * FLOPS


def test_two_optimizers_are_one_step_where_the_loop_says_so():
    first, second = Loop(), Loop()
    with pamprof.profile() as run:
        for _ in range(4):
            first.train()
            second.train()
            run.step()
    memory = run.record.memory
    assert (memory.parameter_bytes, memory.optimizer_bytes) == (2 * WEIGHT, 2 * WEIGHT)
    assert len(run.record.step_seconds) == 2


def test_parameters_that_are_frozen_belong_to_the_model():
    loop = Loop()
    frozen = nn.Linear(WIDTH, WIDTH, bias=False).requires_grad_(False)
    model = nn.Sequential(frozen, loop.layer)
    with pamprof.profile() as run:
        for _ in range(3):
            loop.optimizer.zero_grad()
            model(loop.inputs).sum().backward()
            loop.optimizer.step()
    assert run.record.memory.parameter_bytes == 2 * WEIGHT
    assert run.record.parameter_count == 2 * WIDTH * WIDTH


def test_half_precision_under_autocast_is_noticed():
    loop = Loop()
    with pamprof.profile() as run:
        for _ in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loop.layer(loop.layer(loop.inputs)).sum()
            loss.backward()
            loop.optimizer.step()
    assert run.record.dtype is Dtype.BFLOAT16


def test_compiled_code_is_counted_as_eager_and_not_compiled_again():
    loop = Loop()
    compiled = torch.compile(loop.layer, backend="eager")
    from torch._dynamo.utils import counters

    frames = []
    with pamprof.profile() as run:
        for _ in range(5):
            loop.optimizer.zero_grad()
            compiled(loop.inputs).sum().backward()
            loop.optimizer.step()
            frames.append(counters["frames"]["total"])
    assert run.record.compiled
    assert run.record.flops.matrix_flop_count == FLOPS
    assert frames[0] == frames[-1]


def test_without_counting_nothing_is_followed():
    loop = Loop()
    with pamprof.profile(count=False) as run:
        for _ in range(4):
            loop.train()
            assert _get_current_dispatch_mode() is None
    assert len(run.record.step_seconds) == 3
    assert run.record.flops is run.record.memory is None
    assert reasons(run)["flops"] == "no step was to be counted (count=False)"


@pytest.mark.parametrize(
    ("steps", "said"), [(0, "no step was seen to end"), (1, "ended after 1 step,"), (2, "2 steps")]
)
def test_a_loop_too_short_to_time_says_so(steps, said):
    loop = Loop()
    with pamprof.profile(tokens=ROWS) as run:
        for _ in range(steps):
            loop.train()
    assert run.record.step_seconds == ()
    assert said in reasons(run)["step_seconds"]
    assert said in repr(run)
    assert run.to_frame()["step_median_seconds"].isna().all()
    assert _get_current_dispatch_mode() is None


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_loop_that_fails_is_left_as_it_was(steps):
    before, run = dict(hooks._global_optimizer_post_hooks), pamprof.profile()
    with pytest.raises(ZeroDivisionError):
        ending(run, steps, ZeroDivisionError)
    assert _get_current_dispatch_mode() is None
    assert dict(hooks._global_optimizer_post_hooks) == before
    with pytest.raises(UsageError, match="not over"):
        _ = run.record
    assert run._repr_html_() is None  # a notebook then shows the text
    assert repr(run) == "pamprof.profile(…), not over"


def test_an_interrupted_loop_keeps_its_steps():
    run = pamprof.profile()
    with pytest.raises(KeyboardInterrupt):
        ending(run, 5, KeyboardInterrupt)
    assert len(run.record.step_seconds) == 3


@pytest.mark.parametrize("given", [{"tokens": 0}, {"accumulate": 0}, {"tokens": -1}])
def test_numbers_that_cannot_be_are_refused(given):
    with pytest.raises(UsageError, match="give 1 or more"):
        pamprof.profile(**given)


def test_a_step_outside_the_loop_is_refused(run):
    with pytest.raises(UsageError, match="inside the with"):
        run.step()
    with pytest.raises(UsageError, match="one loop"), run:
        pass


class Events:
    """A device whose events are one second apart, and are read once it was waited for."""

    kind, waited, marks = "cuda", 0, 0

    def synchronise(self):
        self.waited += 1

    def start_timer(self):
        self.marks += 1
        return self.marks

    def stop_timer(self, started):
        return lambda: float(started)


def test_events_are_read_in_order_and_seldom(monkeypatch):
    monkeypatch.setattr("pamprof.measure.training.ends._MOST_OPEN", 4)
    device = Events()
    clock = StepClock(device)
    for _ in range(10):
        clock.mark()
    assert device.waited == 2
    assert clock.times() == tuple(map(float, range(1, 11)))
