"""Results of other tools: read as they write them, joined to curves, refused with a sentence where they are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pamprof.analysis.serving.operating_point import TIME_TO_FIRST_TOKEN
from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.measured_elsewhere import ServedElsewhere, curves_of, read_served_elsewhere
from pamprof.errors import RecordError

SERVED = Path(__file__).parent / "served"
VLLM = [SERVED / f"vllm-{rate}qps.json" for rate in (4, 8, 16)]
AIPERF = SERVED / "profile_export_aiperf.json"


def read(path: Path, percentile: float = 95.0) -> ServedElsewhere:
    (found,) = read_served_elsewhere(path, percentile)
    return found


def changed(path: Path, folder: Path, **values: Any) -> Path:
    document = {**json.loads(path.read_text()), **values}
    made = folder / "changed.json"
    made.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))
    return made


def test_a_result_of_vllm_is_read_in_seconds() -> None:
    found = read(VLLM[1])
    assert (found.tool, found.model) == ("vLLM bench", "meta-llama/Llama-3.1-8B-Instruct")
    assert (found.requests_per_second, found.completed_per_second, found.request_count) == (8.0, 7.9, 1000)
    assert (found.input_tokens, found.output_tokens) == (1500.0, 300.0)
    assert found.first == {50.0: 0.08, 95.0: 0.2, 99.0: pytest.approx(0.3107)}
    assert found.each == {50.0: 0.013, 95.0: 0.02, 99.0: pytest.approx(0.0241)}
    assert found.end_to_end == {}


def test_a_summary_of_aiperf_is_read_in_seconds() -> None:
    found = read(AIPERF)
    assert (found.tool, found.model) == ("aiperf", "qwen3-0.6b")
    assert (found.requests_per_second, found.request_count) == (6.25, 500)
    assert (found.input_tokens, found.output_tokens) == (1500.0, 280.0)
    assert found.first[95.0] == pytest.approx(0.18)
    assert found.each[99.0] == pytest.approx(0.019)
    assert found.end_to_end[50.0] == pytest.approx(2.98)
    assert 90.0 in read(AIPERF, 90.0).first


def test_an_unlimited_rate_is_the_one_that_was_completed(tmp_path: Path) -> None:
    assert read(changed(VLLM[0], tmp_path, request_rate="inf")).requests_per_second == 3.97


def test_details_give_percentiles_that_the_summary_lacks(tmp_path: Path) -> None:
    path = changed(
        VLLM[0], tmp_path, p95_ttft_ms=..., p95_tpot_ms=..., p99_ttft_ms=..., p50_ttft_ms=..., median_ttft_ms=10.0,
        ttfts=[0.01, 0.02, 0.03, 0.0], itls=[[0.001, 0.003], [0.004], [], []],
    )  # fmt: skip
    found = read(path)
    assert found.first == {50.0: 0.02, 95.0: 0.03, 99.0: 0.03}  # the fourth request failed
    assert found.each[95.0] == 0.004
    assert found.end_to_end[99.0] == 0.03


def test_results_that_were_appended_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "appended.json"
    path.write_text("\n".join(each.read_text() for each in VLLM))
    assert [run.requests_per_second for run in read_served_elsewhere(path, 95.0)] == [4.0, 8.0, 16.0]


def test_runs_of_one_model_are_a_curve_whose_limit_lies_between_two_of_them() -> None:
    curves = curves_of([read(path) for path in (VLLM[2], AIPERF, VLLM[0], VLLM[1])], 95.0)
    assert [(curve.model, len(curve.runs)) for curve in curves] == [
        ("meta-llama/Llama-3.1-8B-Instruct", 3), ("qwen3-0.6b", 1),
    ]  # fmt: skip
    grid = curves[0].grid
    assert grid is not None
    # The first token takes 25 ms times the rate in all three, so that nothing is lost between them.
    rate, bound, error = grid.highest_within(Limits(seconds_to_first_token=0.3, seconds_per_output_token=1.0))
    assert (rate, bound, error) == (pytest.approx(12.0), TIME_TO_FIRST_TOKEN, pytest.approx(0.0, abs=1e-12))
    assert curves[1].grid is None


def test_a_percentile_that_no_file_has_makes_no_curve() -> None:
    (curve,) = curves_of([read(path, 97.0) for path in VLLM], 97.0)
    assert curve.grid is None
    assert len(curve.runs) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty; give what vllm bench serve or aiperf wrote"),
        ("{", "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        ('{"a": 1}', "neither a result of vllm bench serve"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_result_is_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=words):
        read(path)


@pytest.mark.parametrize(
    ("path", "values", "words"),
    [
        (VLLM[0], {"request_rate": -1.0}, "request_rate is -1.0, not a number from 1e-09"),
        (VLLM[0], {"request_throughput": ...}, "request_throughput is None"),
        (VLLM[0], {"completed": 0}, "completed is 0"),
        (VLLM[0], {"p95_ttft_ms": "fast"}, "p95_ttft_ms is 'fast'"),
        (VLLM[0], {"p99_ttft_ms": float("nan")}, "p99_ttft_ms is nan"),
        (VLLM[0], {"p95_ttft_ms": 1e6}, "percentiles of ttft fall"),
        (VLLM[0], {"ttfts": [-1.0], "itls": [[]]}, r"ttfts\[0\] is -1.0"),
        (AIPERF, {"request_count": ...}, "request_count.avg is None"),
        (AIPERF, {"time_to_first_token": {"unit": "fortnights", "p95": 1.0}}, "is in 'fortnights'"),
        (AIPERF, {"request_throughput": {"unit": "requests/sec", "avg": True}}, "request_throughput.avg is True"),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_its_name(
    path: Path, values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match=words):
        read(changed(path, tmp_path, **values))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read as a serving result"):
        read(tmp_path / "none.json")
