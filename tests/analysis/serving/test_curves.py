"""Serving curves: interpolation inside the measured hull, a marked model beyond it, infeasible where memory ends."""

from dataclasses import replace
from math import sqrt

import pytest
from hypothesis import given, settings, strategies as st

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.grid import Line, interpolate
from pamprof.analysis.serving.operating_point import operating_point
from pamprof.analysis.serving.terms import Limits, Traffic
from pamprof.errors import UnsupportedError
from pamprof.records import Dtype, Execution, Interval, Phase, Scope, Skip, SkipKind
from tests.synthetic import synthetic_run, synthetic_workload

GIB = 2**30
WEIGHTS = 200_000_000
KAPPA = 32_256
STATE = 3_145_728
STEP_BYTES = 150_000
CAPACITY = 8 * GIB
CONTEXTS = (128, 512, 2048, 8192)
BANDWIDTH, RATE, FIXED = 3e12, 4e14, 3e-4


def step_seconds(batch, context, fixed_state):
    moved = WEIGHTS + batch * (2 * STATE if fixed_state else KAPPA * (context + 1))
    flop = batch * (331e6 if fixed_state else 206e6 + 32_256 * context)
    return max(moved / BANDWIDTH, flop / RATE) + FIXED


def kept(context, fixed_state):
    return STATE if fixed_state else KAPPA * (context + 1)


def fits(context, fixed_state):
    return (CAPACITY - WEIGHTS) // (kept(context, fixed_state) + STEP_BYTES)


def decode_run(batch, context, *, fixed_state, seconds=None, **spec):
    workload = synthetic_workload(
        layer="pam" if fixed_state else "transformer",
        execution=Execution.GRAPH,
        phase=Phase.DECODE,
        batch_size=batch,
        sequence_length=context,
    )
    workload = replace(workload, spec=replace(workload.spec, **spec))
    took = step_seconds(batch, context, fixed_state) if seconds is None else seconds
    run = synthetic_run(workload, reference=workload, step_seconds=took)
    samples = tuple(took * (1 + 0.001 * (number % 3 - 1)) for number in range(30))
    flop = batch * (331_000_000 if fixed_state else 206_000_000 + 32_256 * context)
    state = batch * kept(context, fixed_state)
    return replace(
        run,
        timing=replace(run.timing, wall_time_seconds=samples, reference_wall_time_seconds=samples),
        flops=replace(run.flops, matrix_flop_count=flop),
        memory=replace(
            run.memory,
            peak_bytes=WEIGHTS + state + batch * STEP_BYTES,
            parameter_bytes=WEIGHTS,
            state_bytes=state,
            state_kind="state" if fixed_state else "kv-cache",
        ),
    )


def prefill_run(length, *, fixed_state=False):
    workload = synthetic_workload(
        layer="pam" if fixed_state else "transformer",
        execution=Execution.GRAPH,
        phase=Phase.PREFILL,
        batch_size=1,
        sequence_length=length,
    )
    run = synthetic_run(workload, reference=workload)
    flop = 206_000_000 * length + 16_128 * length**2
    samples = (flop / RATE + FIXED,) * 10
    return replace(
        run,
        timing=replace(run.timing, wall_time_seconds=samples, reference_wall_time_seconds=samples),
        flops=replace(run.flops, matrix_flop_count=flop),
    )


def batches_up_to(last):
    return [1 << power for power in range(20) if 1 << power < last] + [last]


def cache_runs():
    return [
        decode_run(batch, context, fixed_state=False)
        for context in CONTEXTS
        for batch in batches_up_to(fits(context, False))
    ] + [prefill_run(length) for length in CONTEXTS]


def cache_skips():
    runs = {context: decode_run(fits(context, False) + 1, context, fixed_state=False) for context in CONTEXTS}
    return [
        Skip(
            session_id="s", started_at="2026-11-22T12:00:00+00:00", workload=run.workload,
            kind=SkipKind.OUT_OF_MEMORY, reason="too large",
        )
        for run in runs.values()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cache_curve():
    (curve,) = serving_curves(cache_runs(), cache_skips())
    return curve


@pytest.fixture(scope="module")
def state_curve():
    runs = [decode_run(batch, 128, fixed_state=True) for batch in batches_up_to(fits(0, True))]
    runs += [decode_run(batch, 65_536, fixed_state=True) for batch in (1, 64, 1024)]
    (curve,) = serving_curves([*runs, *(prefill_run(length, fixed_state=True) for length in CONTEXTS)])
    return curve


def test_measured_place_answers_with_its_own_median_and_interval(cache_curve):
    found = cache_curve.decode_seconds(64, 2048)
    assert found.basis == Basis.MEASURED
    assert found.value == pytest.approx(step_seconds(64, 2048, False), rel=2e-3)
    assert found.interval.low <= found.value <= found.interval.high
    assert found.error is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_interpolation_stays_near_the_truth_inside_the_hull(cache_curve, data):
    context = data.draw(st.integers(CONTEXTS[0], CONTEXTS[-1]))
    batch = data.draw(st.integers(1, int(0.8 * fits(context, False))))
    found = cache_curve.decode_seconds(batch, context)
    assert found.value == pytest.approx(step_seconds(batch, context, False), rel=0.2)
    if found.basis == Basis.MODELLED:
        assert found.error < 0.05


def test_place_between_measured_ones_is_interpolated_with_its_error(cache_curve):
    found = cache_curve.decode_seconds(96, 1024)
    assert found.basis == Basis.INTERPOLATED
    assert 0 < found.error < 0.2


def line(context, *places):
    return Line(context=context, points=tuple((batch, Interval.exact(took)) for batch, took in places))


def test_an_interpolated_time_holds_logarithmic_and_affine_interpolation():
    # Twice the time at four times the batch: half way in the logarithm the root of 2, affine a third of the way.
    assert line(100, (1, 1.0), (4, 2.0)).at(2).median == pytest.approx(sqrt(2))
    assert line(100, (1, 1.0), (4, 2.0)).at(2, affine=True).median == pytest.approx(4 / 3)
    lines = (line(100, (1, 1.0), (4, 2.0)), line(400, (1, 10.0), (4, 20.0)))
    assert interpolate(lines, 2, 200).median == pytest.approx(sqrt(2) * sqrt(10))
    # Between the contexts a third of the way from 4/3 to 40/3.
    assert interpolate(lines, 2, 200, affine=True).median == pytest.approx(4 / 3 * (2 / 3 + 10 / 3))
    runs = [decode_run(batch, 128, fixed_state=False, seconds=took) for batch, took in ((1, 1e-3), (4, 2e-3))]
    found = serving_curves(runs)[0].decode_seconds(2, 128)
    assert (found.basis, found.value) == (Basis.INTERPOLATED, pytest.approx(1e-3 * sqrt(2), rel=1e-6))
    assert found.affine.median == pytest.approx(4e-3 / 3, rel=1e-6)
    assert found.interval.low == found.affine.low < found.affine.median < found.value < found.interval.high


def test_dollars_hold_what_affine_interpolation_leads_to_with_its_own_batch():
    took = {1: 0.9e-3, 4: 1e-3, 16: 2e-3}
    runs = [decode_run(batch, at, fixed_state=True, seconds=took[batch]) for batch in took for at in (128, 65_536)]
    (curve,) = serving_curves(runs)
    limits = Limits(seconds_per_output_token=1.51e-3, seconds_to_first_token=1.0)
    point = operating_point(curve, Traffic(input_tokens=0, output_tokens=1000), limits)
    # The root of batch / 4 is 1.51 at 9.1; 1 + (batch - 4) / 12 is 1.51 at 10.1, where a token takes 1.5 ms / 10.
    assert (point.batch_size, point.basis) == (9, Basis.INTERPOLATED)
    assert point.decode_seconds.median == pytest.approx(1000 * 1.5e-3 / 9, rel=1e-6)
    assert point.decode_seconds.low == pytest.approx(1000 * 1.5e-3 / 10, rel=2e-3)
    assert point.seconds_per_output_token.median < 1.51e-3


def test_a_fixed_states_room_is_measured_where_memory_ended_and_inferred_elsewhere():
    runs = [decode_run(batch, at, fixed_state=True) for batch in (1, 4) for at in (128, 8192)]
    full = Skip(
        session_id="s", started_at=runs[0].started_at, kind=SkipKind.OUT_OF_MEMORY, reason="too large",
        workload=decode_run(5, 128, fixed_state=True).workload,
    )  # fmt: skip
    (curve,) = serving_curves(runs, [full])
    found = [curve.maximum_batch(context) for context in (128, 512, 16_384)]
    assert [answer.value for answer in found] == [4, 4, 4]
    assert [answer.basis for answer in found] == [Basis.MEASURED, Basis.INTERPOLATED, Basis.MODELLED]


def test_a_batch_measured_at_two_contexts_is_measured_where_the_number_comes_from():
    noisy, quiet = decode_run(8, 128, fixed_state=True), decode_run(8, 8192, fixed_state=True)
    samples = tuple(value * (1 + 0.02 * (n % 3 - 1)) for n, value in enumerate(noisy.timing.wall_time_seconds))
    noisy = replace(noisy, timing=replace(noisy.timing, wall_time_seconds=samples))
    (curve,) = serving_curves([noisy, quiet, decode_run(1, 128, fixed_state=True)])
    assert curve.decode_seconds(8, 8192).basis is Basis.MEASURED
    assert curve.decode_seconds(8, 128).basis is Basis.INTERPOLATED  # by the narrower interval, of the other context


def test_interpolated_value_lies_between_its_corners(cache_curve):
    corners = [step_seconds(batch, context, False) for batch in (64, 128) for context in (512, 2048)]
    assert min(corners) < cache_curve.decode_seconds(96, 1024).value < max(corners)


def test_place_beyond_the_hull_is_a_marked_model_with_its_error(cache_curve):
    found = cache_curve.decode_seconds(4, 16_384)
    assert found.basis == "modelled"
    assert found.value == pytest.approx(step_seconds(4, 16_384, False), rel=0.1)
    assert found.interval.high / found.value - 1 == pytest.approx(found.error)


def test_model_recovers_the_rates_the_steps_were_made_with(cache_curve):
    model = cache_curve.decode_model
    assert model.bytes_per_second == pytest.approx(BANDWIDTH, rel=0.05)
    assert model.fixed_seconds == pytest.approx(FIXED, rel=0.1)
    assert model.fit.median_error <= model.fit.largest_error < 0.03


def test_model_that_is_off_by_more_than_thirty_percent_is_refused():
    runs = [
        decode_run(batch, 128, fixed_state=False, seconds=seconds)
        for batch, seconds in ((1, 1e-3), (2, 9e-3), (4, 1e-3), (8, 9e-3), (16, 1e-3), (32, 9e-3))
    ]
    (curve,) = serving_curves(runs)
    with pytest.raises(UnsupportedError, match=r"off by up to .* more than 30 %; measure there"):
        curve.decode_seconds(3, 4096)


def test_too_few_steps_give_no_model():
    (curve,) = serving_curves([decode_run(batch, 128, fixed_state=False) for batch in (1, 4)])
    assert curve.decode_seconds(2, 128).basis == Basis.INTERPOLATED
    with pytest.raises(UnsupportedError, match="too little for a model"):
        curve.decode_seconds(8, 128)


def test_batch_beyond_memory_is_infeasible_with_the_binding_numbers(cache_curve):
    with pytest.raises(UnsupportedError, match=r"infeasible: memory, 100000 sequences of 8k tokens .* \d+ fit"):
        cache_curve.decode_seconds(100_000, 8192)


@pytest.mark.parametrize("context", CONTEXTS)
def test_maximum_batch_is_measured_where_batches_were_raised_until_memory_ended(cache_curve, context):
    found = cache_curve.maximum_batch(context)
    assert (found.value, found.basis) == (fits(context, False), Basis.MEASURED)


def test_maximum_batch_between_measured_limits_follows_the_bytes(cache_curve):
    found = cache_curve.maximum_batch(1024)
    assert found.basis == Basis.INTERPOLATED
    assert found.value == pytest.approx(fits(1024, False), rel=0.01)
    assert found.error < 0.01


def test_maximum_batch_without_skips_is_a_model_of_the_device_memory():
    (curve,) = serving_curves(cache_runs())
    found = curve.maximum_batch(2048)
    assert found.basis == Basis.MODELLED
    taken = curve.memory.bytes_of(int(found.value), 2048)
    assert taken <= curve.memory.capacity_bytes <= curve.environment.device_memory_bytes


def small_device(run):
    """The run on a device whose memory is that of the synthetic steps, all of it for tensors."""
    return replace(
        run,
        environment=replace(run.environment, device_memory_bytes=CAPACITY),
        memory=replace(run.memory, device_used_bytes=run.memory.peak_bytes, reserved_bytes=run.memory.peak_bytes),
    )


def not_fitting(batch, context):
    return Skip(
        session_id="s", started_at="2026-11-22T12:00:00+00:00", kind=SkipKind.OUT_OF_MEMORY, reason="too large",
        workload=decode_run(batch, context, fixed_state=False).workload,
    )  # fmt: skip


def test_a_batch_that_fills_the_memory_is_its_measured_end_without_any_that_failed():
    most = fits(2048, False)
    for share, measured in ((0.95, True), (0.8, False)):
        batch = int(share * most)
        runs = [decode_run(each, 2048, fixed_state=False) for each in (1, 16, batch)]
        (curve,) = serving_curves([small_device(run) for run in runs])
        found = curve.maximum_batch(2048)
        assert (found.basis == Basis.MEASURED) is measured
        if measured:
            assert found.value == batch
            assert most <= found.interval.high <= 1.05 * most  # what no run showed, the bytes allow


def test_a_batch_that_failed_far_beyond_those_that_ran_leaves_the_end_to_the_model():
    most = fits(2048, False)
    runs = [small_device(decode_run(each, 2048, fixed_state=False)) for each in (1, 16, most // 2)]
    (near,) = serving_curves(runs, [not_fitting(int(0.6 * most), 2048)])
    assert near.maximum_batch(2048).basis == Basis.MEASURED
    (far,) = serving_curves(runs, [not_fitting(int(0.7 * most), 2048)])
    found = far.maximum_batch(2048)
    assert found.basis == Basis.MODELLED
    assert most // 2 <= found.value < int(0.7 * most)  # never what was seen not to fit
    (none,) = serving_curves(runs)
    assert none.maximum_batch(2048).value == pytest.approx(0.96 * most, rel=0.02)


def test_what_a_step_copies_of_the_cache_grows_with_the_context():
    runs = []
    for context in (128, 2048):
        for batch in (1, 16, 256):
            run = decode_run(batch, context, fixed_state=False)
            copied = int(0.15 * run.memory.state_bytes)
            runs.append(replace(run, memory=replace(run.memory, peak_bytes=run.memory.peak_bytes + copied)))
    (curve,) = serving_curves(runs)
    needed = WEIGHTS + 64 * (1.15 * KAPPA * 8193 + STEP_BYTES)
    assert curve.memory.bytes_of(64, 8192) == pytest.approx(needed, rel=1e-6)
    assert curve.memory.error < 1e-6


def test_memory_is_counted_between_measured_places(cache_curve):
    needed = WEIGHTS + 100 * (KAPPA * 1025 + STEP_BYTES)
    assert cache_curve.memory.bytes_of(100, 1024) == pytest.approx(needed, rel=1e-6)
    assert cache_curve.memory.error < 1e-6


def test_fixed_state_is_one_curve_over_its_contexts_and_states_how_constant(state_curve):
    assert state_curve.fixed_state
    assert state_curve.context_deviation < 1e-9
    at_short, at_long = (state_curve.decode_seconds(32, context) for context in (128, 16_384))
    assert at_short.value == at_long.value
    assert (at_short.basis, at_long.basis) == (Basis.MEASURED, Basis.INTERPOLATED)
    assert state_curve.decode_seconds(32, 10**6).basis == Basis.MODELLED


def test_contexts_of_a_fixed_state_that_disagree_stay_apart():
    runs = [decode_run(batch, 128, fixed_state=True, seconds=1e-3) for batch in (1, 2, 4)]
    runs += [decode_run(batch, 8192, fixed_state=True, seconds=2e-3) for batch in (1, 2, 4)]
    (curve,) = serving_curves(runs)
    assert curve.context_deviation == pytest.approx(1.0)
    assert curve.decode_seconds(2, 1024).value == pytest.approx(1e-3 * sqrt(2), rel=1e-2)


def test_prompts_interpolate_and_extrapolate_by_their_flops(cache_curve):
    assert cache_curve.prefill_seconds(2048).basis == Basis.MEASURED
    assert cache_curve.prefill_seconds(1000).basis == Basis.INTERPOLATED
    beyond = cache_curve.prefill_seconds(32_768)
    assert beyond.basis == Basis.MODELLED
    truth = (206_000_000 * 32_768 + 16_128 * 32_768**2) / RATE + FIXED
    assert beyond.value == pytest.approx(truth, rel=0.01)


def test_curve_without_prompts_refuses_to_guess_one():
    (curve,) = serving_curves([decode_run(1, 128, fixed_state=True)])
    with pytest.raises(UnsupportedError, match="a prompt of 100 tokens lies beyond"):
        curve.prefill_seconds(100)


def test_arms_devices_and_state_dtypes_are_curves_of_their_own():
    runs = [
        decode_run(1, 128, fixed_state=True),
        decode_run(1, 128, fixed_state=True, state_dtype=Dtype.BFLOAT16),
        decode_run(1, 128, fixed_state=False),
        decode_run(1, 128, fixed_state=False, depth=24),
    ]
    elsewhere = replace(runs[0], environment=replace(runs[0].environment, device_name="NVIDIA L4"))
    titles = [curve.title for curve in serving_curves([*runs, elsewhere])]
    assert len(titles) == len(set(titles)) == 5
    assert "PAM planar (bfloat16 state) · graph, 100M, NVIDIA H200" in titles


@pytest.mark.parametrize("count", [320_000, 5_000_000, 1_030_000_000])
def test_where_sizes_tell_some_arms_apart_every_arm_says_its_size(count):
    runs = [
        decode_run(1, 128, fixed_state=True),
        decode_run(1, 128, fixed_state=False),
        replace(decode_run(1, 128, fixed_state=True, depth=24), parameter_count=count),
    ]
    titles = [curve.title for curve in serving_curves(runs)]
    own = units.si(runs[0].parameter_count, digits=2)
    assert titles == [
        f"PAM planar · graph, {own}",
        f"transformer · graph, {own}",
        f"PAM planar · graph, {units.si(count, digits=2)}",
    ]
    assert ", 0" not in "".join(titles)


def test_arms_that_their_names_tell_apart_say_nothing_else():
    runs = [decode_run(1, 128, fixed_state=True), decode_run(1, 128, fixed_state=False)]
    assert [curve.title for curve in serving_curves(runs)] == ["PAM planar · graph", "transformer · graph"]


def test_memory_that_ended_on_one_machine_ends_nothing_on_another():
    here = [decode_run(batch, 128, fixed_state=False) for batch in (1, 4, 16)]
    elsewhere = [
        replace(run, session_id="b", environment=replace(run.environment, device_name="NVIDIA L4")) for run in here
    ]
    full = Skip(
        session_id="b",
        started_at=here[0].started_at,
        workload=replace(here[0].workload, batch_size=20),
        kind=SkipKind.OUT_OF_MEMORY,
        reason="found by bisection",
    )
    limits = {curve.environment.device_name: curve.limits for curve in serving_curves([*here, *elsewhere], [full])}
    assert limits == {"NVIDIA H200": (), "NVIDIA L4": ((128, 16, 20),)}
    (alone,) = serving_curves(here, [replace(full, session_id="of a session without a run")])
    assert alone.limits == ((128, 16, 20),)


def test_of_a_workload_measured_twice_the_later_run_counts():
    old = decode_run(1, 128, fixed_state=True, seconds=5e-3)
    new = replace(decode_run(1, 128, fixed_state=True, seconds=1e-3), started_at="2027-01-01T00:00:00+00:00")
    (curve,) = serving_curves([new, old])
    assert curve.decode_seconds(1, 128).value == pytest.approx(1e-3, rel=1e-2)
    assert curve.runs == (new,)


def test_single_blocks_and_training_make_no_curve():
    run = decode_run(1, 128, fixed_state=True)
    block = replace(run, workload=replace(run.workload, scope=Scope.LAYER))
    train = replace(run, workload=replace(run.workload, phase=Phase.TRAIN))
    assert serving_curves([block, train]) == ()


def power_law_lines(ends):
    def at(batch, context):
        return Interval.exact(1e-5 * batch**0.7 * context**0.4)

    return [
        Line(context=context, points=tuple((batch, at(batch, context)) for batch in batches_up_to(end)))
        for context, end in ends
    ]


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 999), context=st.integers(128, 8192))
def test_power_law_is_interpolated_exactly_up_to_the_edge_of_memory(batch, context):
    lines = power_law_lines([(128, 1000), (1024, 125), (8192, 15)])
    found = interpolate(lines, batch, context)
    if found is not None:
        assert found.median == pytest.approx(1e-5 * batch**0.7 * context**0.4, rel=1e-9)
    elif batch * context < 0.9 * 8192 * 15:
        pytest.fail("a place well inside the hull has no answer")


def test_nothing_is_interpolated_beyond_the_edge():
    lines = power_law_lines([(128, 1000), (1024, 125)])
    assert interpolate(lines, 900, 512) is None
    assert interpolate(lines, 1, 64) is None
    assert interpolate(lines, 1, 2048) is None


def test_a_place_is_worked_out_once_and_by_each_curve_for_itself(cache_curve):
    first = cache_curve.decode_seconds(60, 2000)
    assert cache_curve.decode_seconds(60, 2000) is first
    one_line = tuple(line for line in cache_curve.decode_lines if line.context == 2048)
    elsewhere = replace(cache_curve, decode_lines=one_line, decode_model=None)
    with pytest.raises(UnsupportedError):
        elsewhere.decode_seconds(60, 2000)
