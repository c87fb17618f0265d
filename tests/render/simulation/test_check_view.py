"""What ``pamprof serve-check`` says of a record: how far off, whether the machine was busy, and how it was served."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis.simulation.checked import CheckedLoad, checked_load
from pamprof.records import PredictedLoad, ServeCheck, ServerPolicy
from pamprof.render.simulation.check_view import COLUMNS, CheckView, check_view
from tests.synthetic import synthetic_run, synthetic_workload


def served(count: int = 40, *, expected_seconds: float | None = 1.0, bytes_per_token: float = 0.0) -> CheckedLoad:
    """Requests that each wait twice as long as predicted, 20.8 ms in place of 10.4, and take 5 ms more for a token."""
    arrivals = tuple(n / 10 for n in range(count))
    run = synthetic_run(synthetic_workload("pam"))

    def later(seconds: float) -> tuple[float, ...]:
        return tuple(arrived + seconds for arrived in arrivals)

    return checked_load(
        ServeCheck(
            session_id="s", started_at="2026-11-28T12:00:00+00:00", command="pamprof serve-check",
            environment=run.environment, unknowns=(), title="PAM", workload=run.workload, load="half",
            arrivals="poisson", seed=0, requests_per_second=10.0, highest_requests_per_second=20.0,
            limit_seconds_to_first_token=0.2, limit_seconds_per_output_token=0.05, percentile=95.0,
            policy=ServerPolicy(
                largest_batch=32, chunk_tokens=2048, memory_policy="recompute", room_bytes=1e6,
                bytes_per_sequence=1e3, bytes_per_token=bytes_per_token,
            ),
            steps=None,
            prediction=PredictedLoad(
                file="prediction.json", sha256="0", written_at="2026-11-28T11:59:59+00:00", source="steps",
                first_seconds=later(0.0104), finish_seconds=later(0.0154),
            ),
            measured_from=0, arrival_seconds=arrivals, input_tokens=(10,) * count, output_tokens=(2,) * count,
            first_seconds=later(0.0208), finish_seconds=later(0.0258), token_count=2 * count, step_count=count,
            piece_count=count, decode_step_count=count, busy_seconds=1.1, device_seconds=1.0, preemption_count=0,
            interrupted=False, expected_seconds=expected_seconds,
        )
    )  # fmt: skip


def view(load: CheckedLoad) -> CheckView:
    return check_view([load])


def test_how_far_off_is_a_sentence_with_a_minus_sign() -> None:
    assert view(served()).sentences == (
        "PAM at half (poisson), 10.0 requests a second: of four percentiles of the times to the first and per output "
        "token, the prediction is furthest off in the time to the first token, p50: 10.4 ms predicted, 20.8 ms "
        "measured (−50.0\u202f%)",
    )


@pytest.mark.parametrize(("count", "told"), [(99, False), (100, True)])
def test_the_99th_percentile_needs_a_hundred_requests(count: int, told: bool) -> None:
    (predicted, measured, _) = view(served(count)).tables[0].rows
    place = COLUMNS.index("to first token p99")
    assert (predicted[place], measured[place]) == (("10.4 ms", "20.8 ms") if told else ("–", "–"))


def test_steps_that_took_twice_what_was_timed_are_one_doubt() -> None:
    (doubt,) = view(served(expected_seconds=0.5)).alerts  # 1.1 s of work
    assert doubt.startswith("Steps took 2.20× (PAM at half (poisson)) of what the prediction has for them: the machine")
    (doubt,) = view(served(expected_seconds=2.2)).alerts
    assert doubt.startswith("Steps took 0.500×")
    assert view(served(expected_seconds=1.0)).alerts == view(served(expected_seconds=None)).alerts == ()
    busy = served(expected_seconds=0.5)
    other = replace(busy, check=replace(busy.check, load="80%"))
    assert len(check_view([busy, served(), other]).alerts) == 1


def test_a_fixed_state_has_no_caches() -> None:
    state, cache = (view(served(bytes_per_token=size)).notes[1] for size in (0.0, 8.0))
    assert state.startswith(
        "PAM: up to 32 sequences at once, 2\u202f048 prompt tokens a step, fixed states that cannot outgrow the memory"
    )
    assert "2\u202f048 prompt tokens a step, caches by recompute;" in cache
