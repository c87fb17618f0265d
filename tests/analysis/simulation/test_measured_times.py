from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.simulation.measured_times import CurveTable, End, MeasuredTimes, sequence_memory
from pamprof.errors import UnsupportedError
from pamprof.records.store import read_records

if TYPE_CHECKING:
    from pamprof.analysis.serving.curve import ServingCurve

SWEEP = Path(__file__).parents[3] / "reports" / "2026-11-23-nvidia-h200-serving" / "1b"
ARMS = ("llama", "pam")


@cache
def curve(layer: str) -> ServingCurve:
    records = read_records(SWEEP / f"{layer}.jsonl")
    return serving_curves(records.runs, records.skips)[0]


@pytest.mark.parametrize("layer", ARMS)
def test_steps_and_prompts_are_the_curves_own_within_a_thousandth_at_every_end(layer: str) -> None:
    found, random = curve(layer), Random(4)
    table = CurveTable(curve=found, longest_context=30_000)
    compared = 0
    for end in End:
        times = MeasuredTimes(table, end)
        for _ in range(60):
            batch, context = int(2 ** random.uniform(0, 7)), int(2 ** random.uniform(7.1, 14.8))
            if found.maximum_batch(context).value < batch:
                continue
            step, prompt = found.decode_seconds(batch, context), found.prefill_seconds(context)
            assert step.interval is not None
            assert prompt.interval is not None
            ends = [
                {End.FAST: i.low, End.MEDIAN: i.median, End.SLOW: i.high}[end] for i in (step.interval, prompt.interval)
            ]
            assert times.decode(batch, context)[0] == pytest.approx(ends[0], rel=1e-3)
            assert times.prompt(0, context) == pytest.approx(ends[1], rel=1e-3)
            compared += 1
    assert compared > 100


def test_a_step_grows_with_the_context_of_a_cache_and_not_of_a_fixed_state() -> None:
    for layer in ARMS:
        found = curve(layer)
        times = MeasuredTimes(CurveTable(curve=found, longest_context=8_192), End.MEDIAN)
        seconds, growth, tokens = times.decode(64, 3_000.0)
        if found.fixed_state:
            assert (growth, tokens) == (0.0, inf)
            assert seconds == times.decode(64, 200.0)[0] == found.decode_seconds(64, 2_048).value
        else:
            assert growth > 0
            assert 1 <= tokens < 400
            assert times.decode(64, 3_001.0)[0] == pytest.approx(seconds + growth, rel=1e-6)


@pytest.mark.parametrize("layer", ARMS)
def test_a_prompt_in_chunks_takes_its_own_time_and_the_fixed_time_once_more_a_chunk(layer: str) -> None:
    found = curve(layer)
    times = MeasuredTimes(CurveTable(curve=found, longest_context=8_192), End.MEDIAN)
    points = [(length, interval.median) for length, interval in found.prompts.points] if found.prompts else []
    (short, first), (long, second) = points[:2]
    fixed = first - (second - first) / (long - short) * short
    whole = times.prompt(0, 8_192)
    chunks = sum(times.prompt(start, start + 2_048) for start in range(0, 8_192, 2_048))
    assert whole == found.prefill_seconds(8_192).value
    assert chunks == pytest.approx(whole + 3 * fixed, rel=1e-9)
    assert 0 < fixed < times.prompt(0, 16) < first


def test_a_sweep_without_prompts_serves_requests_without_one_and_refuses_others() -> None:
    times = MeasuredTimes(CurveTable(curve=replace(curve("pam"), prompts=None), longest_context=2_048), End.MEDIAN)
    assert times.decode(8, 500.0)[0] == curve("pam").decode_seconds(8, 2_048).value
    with pytest.raises(UnsupportedError, match="no prompt was measured"):
        times.prompt(0, 100)


def test_memory_is_the_curves_and_beyond_what_was_measured_the_basis_says_so() -> None:
    state, cache_ = (sequence_memory(curve(layer)) for layer in ("pam", "llama"))
    assert state.bytes_per_token == 0
    assert cache_.bytes_per_token > 32_768
    for layer, memory in (("pam", state), ("llama", cache_)):
        fits = curve(layer).memory.sequences_that_fit(1_799)
        assert fits == int(memory.room_bytes // memory.kept_bytes(1_799))
    for context, basis in ((2_048.0, Basis.MEASURED), (100_000.0, Basis.MODELLED), (64.0, Basis.MODELLED)):
        table = CurveTable(curve=curve("pam"), longest_context=120_000)
        MeasuredTimes(table, End.MEDIAN).decode(64, context)
        assert table.basis is basis
