from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pamprof.analysis.simulation.trace import read_trace
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests, with_lengths
from pamprof.errors import PamprofError
from tests.analysis.simulation.servers import requests

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.analysis.simulation.requests import Requests


def drawn(*, seed: int = 1, variation: float = 1.0, sigma: float = 1.0, rate: float = 8.0) -> Requests:
    arrivals = Arrivals(per_second=rate, variation=variation)
    return draw_requests(40_000, arrivals, Lengths(mean=1_500, sigma=sigma), Lengths(mean=300), seed=seed)


@pytest.mark.parametrize("variation", [0.0, 1.0, 3.0])
def test_gaps_have_the_rate_and_the_variation_that_were_asked_for(variation: float) -> None:
    gaps = np.diff(drawn(variation=variation).arrival_seconds)
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05, abs=1e-9)


def test_lengths_have_their_mean_and_spread_and_do_not_depend_on_the_arrivals() -> None:
    found = drawn()
    assert found.mean_input_tokens == pytest.approx(1_500, rel=0.03)
    assert np.log(found.input_tokens).std() == pytest.approx(1.0, rel=0.02)
    assert set(found.output_tokens) == {300}
    np.testing.assert_array_equal(found.input_tokens, drawn(variation=3.0, rate=1.0).input_tokens)
    assert not np.array_equal(found.input_tokens, drawn(seed=2).input_tokens)


def test_the_mean_asked_for_is_served_however_few_requests_are_drawn() -> None:
    # Without scaling the sample of seed 0 has 308 in the mean.
    found = draw_requests(
        10_000, Arrivals(per_second=8), Lengths(mean=1_500, sigma=1), Lengths(mean=300, sigma=1), seed=0
    )
    assert found.mean_input_tokens == pytest.approx(1_500, abs=0.1)
    assert found.mean_output_tokens == pytest.approx(300, abs=0.1)


@pytest.mark.parametrize(
    ("variation", "sigma", "words"),
    [
        (0.0, 0.0, ("evenly spaced", "lengths all alike")),
        (1.0, 1.0, ("at random (Poisson)", "prompts log-normal (sigma 1), answers all alike")),
        (5.0, 0.8, ("in bursts (cv 5)", "prompts log-normal (sigma 0.8), answers all alike")),
    ],
)
def test_requests_say_how_they_were_drawn(variation: float, sigma: float, words: tuple[str, str]) -> None:
    found = drawn(variation=variation, sigma=sigma)
    assert (found.arrival_words, found.length_words) == words
    same = with_lengths(found, None, Lengths(mean=20, sigma=sigma), seed=1)
    assert same.length_words == f"lengths {same.input_words}"


def test_most_tokens_are_decoded_in_long_requests() -> None:
    # Ten tokens at 0 to 9 of context and thirty at 100 to 129.
    found = requests([1.0, 2.0], [0, 100], [10, 30])
    assert found.mean_decode_context == pytest.approx((sum(range(10)) + sum(range(100, 130))) / 40)


def test_requests_are_repeated_with_a_mean_gap_between_rounds() -> None:
    found = requests([0.0, 1.0, 3.0], [1, 2, 3], [4, 5, 6]).at_least(7, measured_from=2)
    gap = 1 / found.per_second
    assert list(found.input_tokens) == [1, 2, 3, 1, 2, 3, 1]
    np.testing.assert_allclose(np.diff(found.arrival_seconds), [1, 2, gap, 1, 2, gap])
    assert (found.measured_from, len(found.at_least(5, measured_from=1))) == (2, 7)


def test_another_rate_brings_the_same_requests_with_gaps_in_proportion() -> None:
    np.testing.assert_allclose(drawn(rate=8.0).at_rate(2.0).arrival_seconds, drawn(rate=2.0).arrival_seconds)


PLAIN = "time,input_tokens,output_tokens\n3.5,20,4\n1.5,10,2\n2.5,0,1\n9,5,0\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
)
BURST_GPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n"
)


def test_a_trace_is_sorted_begins_at_0_and_leaves_out_what_generates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(PLAIN)
    found = read_trace(path)
    assert list(found.arrival_seconds) == [0.0, 1.0, 2.0]
    assert (list(found.input_tokens), list(found.output_tokens)) == ([10, 0, 20], [2, 1, 4])
    assert (found.per_second, found.measured_from) == (1.0, 0)
    fixed = with_lengths(found, Lengths(mean=7), None, seed=1)
    assert (list(fixed.input_tokens), list(fixed.output_tokens)) == ([7, 7, 7], [2, 1, 4])


def test_public_traces_are_read_as_they_are(tmp_path: Path) -> None:
    azure, burst = tmp_path / "azure.csv", tmp_path / "burst.csv.gz"
    azure.write_text(AZURE)
    burst.write_bytes(gzip.compress(BURST_GPT.encode()))
    assert read_trace(azure).arrival_seconds[1] == pytest.approx(4.314579, abs=1e-5)
    assert list(read_trace(azure).output_tokens) == [44, 109]
    assert list(read_trace(burst).input_tokens) == [472, 1087]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column 'time' among none"),
        ("time;input_tokens;output_tokens\n1;2;3\n", "must be separated by commas"),
        ("time,input_tokens\n1,2\n", "has no column 'output_tokens' among time, input_tokens"),
        ("time,input_tokens,output_tokens\n1,2,3\nsoon,2,3\n", "line 3: 'soon, 2, 3' is no request"),
        ("time,input_tokens,output_tokens\n1,2.5,3\n", "line 2: '1, 2.5, 3' is no request"),
        ("time,input_tokens,output_tokens\n1,2\n", "line 2: '1, 2, ' is no request"),
        ("time,input_tokens,output_tokens\n1,2,3\n1,2,3\n", "no two requests at different times"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(PamprofError, match=said):
        read_trace(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PamprofError, match="cannot be read as a trace"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PamprofError, match="cannot be read as a trace"):
        read_trace(tmp_path / "bytes.csv")
    (tmp_path / "broken.csv.gz").write_bytes(b"time,input")
    with pytest.raises(PamprofError, match="cannot be read as a trace"):
        read_trace(tmp_path / "broken.csv.gz")


def test_a_damaged_archive_an_open_quote_and_absurd_numbers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"time,input,output\n" + b"0,1,1\n1,2,2\n" * 500))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "damaged.csv.gz").write_bytes(packed)
    head = "time,input,output\n0,1,1\n"
    (tmp_path / "quote.csv").write_text(f'{head}1,"{"2" * 140_000}')
    (tmp_path / "tokens.csv").write_text(f"{head}1,1e30,1\n")
    (tmp_path / "time.csv").write_text(f"{head}1e400,1,1\n")
    for name, said in (
        ("damaged.csv.gz", "cannot be read as a trace"),
        ("quote.csv", "a quote that is not closed"),
        ("tokens.csv", "line 3: '1, 1e30, 1' is no request"),
        ("time.csv", "line 3: '1e400, 1, 1' is no request"),
    ):
        with pytest.raises(PamprofError, match=said):
            read_trace(tmp_path / name)
    with pytest.raises(PamprofError, match="are no load; give 1e-06 to 1e\\+09"):
        Arrivals(per_second=1e-305)
    with pytest.raises(PamprofError, match="give a mean of 0 to 1,000,000,000 tokens"):
        Lengths(mean=1e30)
    longest = draw_requests(2_000, Arrivals(per_second=1.0), Lengths(mean=1e9, sigma=4.6), Lengths(mean=1), seed=0)
    assert int(longest.input_tokens.max()) == 10**9
