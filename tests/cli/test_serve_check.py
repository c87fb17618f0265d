"""The check as users run it: a tiny model on a CPU, served by the clock, its prediction on the disk before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pamprof
from pamprof.cli import app
from pamprof.records.store import RecordFile, read_records
from tests.cli.answers import one_sentence

REPOSITORY = Path(pamprof.__file__).parents[1]
SMALL = [
    "serve-check", "--device", "cpu", "--preset", "tiny", "--requests", "12", "--max-batch", "4", "--sampling", "0.05s",
    "--input-tokens", "lognormal:20", "--output-tokens", "lognormal:4", "--chunk-tokens", "16",
]  # fmt: skip
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{n / 50},{5 + n % 9},{1 + n % 5}\n" for n in range(12))


def check(*arguments: str) -> object:
    return CliRunner().invoke(app, [*SMALL, *arguments], env={"COLUMNS": "250"})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str], RecordFile]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "trace.csv").write_text(TRACE)
    arms = ["--layer", "pam,llama", "--load", "half,trace.csv:trace"]
    result = subprocess.run(
        [sys.executable, "-m", "pamprof", *SMALL, *arms, "-o", "out"],
        capture_output=True, text=True, cwd=folder, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "250"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "out", result, read_records(folder / "out" / "runs.jsonl")


def test_every_request_is_served_once_and_all_its_tokens_are_given_out(served) -> None:
    _, _, records = served
    assert [(check.title, check.load) for check in records.serve_checks] == [
        ("PAM (planar)", "half"), ("PAM (planar)", "trace"), ("Llama", "half"), ("Llama", "trace"),
    ]  # fmt: skip
    for check in records.serve_checks:
        assert len(check.arrival_seconds) == 12
        assert check.token_count == sum(check.output_tokens)
        for times in (check, check.prediction):
            for arrived, first, finish, tokens in zip(
                check.arrival_seconds, times.first_seconds, times.finish_seconds, check.output_tokens, strict=True
            ):
                assert arrived < first <= finish + 1e-6
                assert (first == finish) == (tokens == 1)
        assert not check.interrupted


def test_no_first_token_comes_before_its_prompt_can_be_read(served) -> None:
    _, _, records = served
    for check in records.serve_checks:
        shortest = min(check.steps.read_seconds)
        waits = [first - arrived for arrived, first in zip(check.arrival_seconds, check.first_seconds, strict=True)]
        assert min(waits) > shortest / 4  # an idle machine reads faster than it did while it was sampled
        assert check.piece_count >= 12
        assert check.device_seconds <= check.busy_seconds


def test_the_prediction_was_on_the_disk_before_the_server_began(served) -> None:
    folder, _, records = served
    for check in records.serve_checks:
        content = (folder / check.prediction.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == check.prediction.sha256
        told = json.loads(content)
        assert told["written_at"] == check.prediction.written_at <= check.started_at
        assert told["first_seconds"] == list(check.prediction.first_seconds)
        assert told["requests_per_second"] == check.requests_per_second
    halves = [check for check in records.serve_checks if check.load == "half"]
    for check in halves:
        assert check.requests_per_second == pytest.approx(check.highest_requests_per_second / 2)


def test_predicted_and_measured_stand_side_by_side(served) -> None:
    folder, result, _ = served
    assert "off by" in result.stdout
    assert "loop's own share" in result.stdout
    page = (folder / "serve-check.html").read_text()
    assert "as served and as predicted" in page
    assert "style=" not in page.partition("<body")[2].replace("<style", "")
    assert (folder / "check-1.png").stat().st_size > 10_000


def test_the_report_of_the_records_is_the_same_page(served, tmp_path: Path) -> None:
    folder, _, _ = served
    result = CliRunner().invoke(app, ["report", str(folder), "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "serve-check.html").read_bytes() == (folder / "serve-check.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--load", "most"], "--load 'most' is no load"),
        (["--load", "trace"], "--load 'trace' is no load"),
        (["--load", "0%"], "--load '0%' is no load"),
        (["--arrivals", "poisson:12/s"], "says a rate, which --load says here; write poisson"),
        (["--memory", "much"], "--memory 'much' is no size"),
        (["--input-tokens", "0"], "give every request 1 or more input tokens"),
        (["--kv-policy", "swap"], "swap"),
        (["--slo-ttft", "soon"], "soon"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = check(*arguments, "-o", str(tmp_path / "out"))
    assert words in one_sentence(result, 2)


def test_a_memory_that_holds_no_request_is_refused_before_anything_is_timed(tmp_path: Path) -> None:
    result = check("--memory", "1KiB", "--layer", "pam", "-o", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert "1.00 KiB hold no sequence of PAM (planar): one of " in result.stderr.splitlines()[-1]
    assert result.stderr.endswith("give --memory of more\n")
    assert not (tmp_path / "out").exists()  # so that the folder can be named again
    assert "predicted" not in result.stderr


def test_records_are_never_mixed_with_earlier_ones(served) -> None:
    folder, _, _ = served
    assert "choose another --output-dir" in one_sentence(check("-o", str(folder)), 2)
