from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.pricing.rates.hourly_rates import UnknownRate
from tests.cli.answers import one_sentence

if TYPE_CHECKING:
    from click.testing import Result

SWEEP = Path(__file__).parents[2] / "reports" / "2026-11-23-nvidia-h200-serving"
ARMS = ("Llama · compiled + graph", "PAM fused · graph", "PAM fused (bfloat16 state) · graph")


def simulate(*arguments: str, files: tuple[str, ...] = ("1b/llama.jsonl", "1b/pam.jsonl")) -> Result:
    paths = [str(SWEEP / file) for file in files]
    return CliRunner().invoke(
        app,
        ["simulate", *paths, "--price", "2", "--requests", "800", "--no-crossover", *arguments],
        env={"COLUMNS": "250"},
    )


@pytest.fixture(scope="module")
def answer() -> dict[str, object]:
    result = simulate("--arrivals", "poisson:12/s", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def rows(answer: dict[str, object], step_times: str = "median") -> dict[str, dict[str, float]]:
    found = answer["rows"]
    assert isinstance(found, list)
    return {row["arm"]: row for row in found if row["step_times"] == step_times}


def test_every_arm_has_a_row_for_each_end_of_the_step_times(answer: dict[str, object]) -> None:
    fast, median, slow = (rows(answer, end) for end in ("fast", "median", "slow"))
    assert set(fast) == set(median) == set(slow) == set(ARMS)
    for arm in ARMS:
        assert fast[arm]["highest_requests_per_second"] >= 0.99 * median[arm]["highest_requests_per_second"]
        assert slow[arm]["highest_requests_per_second"] <= 1.01 * median[arm]["highest_requests_per_second"]
        assert fast[arm]["seconds_per_output_token_p95"] < slow[arm]["seconds_per_output_token_p95"]


def test_one_replica_holds_twelve_a_second_and_no_more_than_cost_says(answer: dict[str, object]) -> None:
    for row in rows(answer).values():
        assert row["highest_requests_per_second"] <= row["steady_requests_per_second"]
        assert row["highest_requests_per_second"] > 0.8 * row["steady_requests_per_second"]
        assert (row["replica_count"], row["steady_replica_count"]) == (1, 1)
        assert row["usd_per_month"] == row["steady_usd_per_month"] == 2 * 730
        assert row["holds"]
        # The prompt alone at least, and a step with it at most in most cases: not cost's device in full use.
        assert row["seconds_to_first_token_p95"] < row["steady_seconds_to_first_token"]


def test_the_same_seed_prints_the_same_answer() -> None:
    first, again, other = (
        simulate("--arrivals", "bursty:60/s", "--seed", seed, "--json", files=("1b/pam.jsonl",)).stdout
        for seed in ("3", "3", "4")
    )
    assert first == again
    assert first != other


def test_the_terminal_says_what_differs_from_cost_before_the_tables() -> None:
    result = simulate("--arrivals", "poisson:12/s")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Serving under load (simulated): 12.0 requests a second")
    assert all(any(line.startswith(f"{arm}: ") for line in lines[1:4]) for arm in ARMS)
    assert "a steady batch of 1\u202f456" in result.stdout
    assert result.stdout.index("a steady batch") < result.stdout.index("What users wait")
    assert "fixed states that cannot outgrow the memory" in result.stdout


def test_a_day_rents_fewer_replicas_at_night_and_cost_rents_those_of_the_peak() -> None:
    shares = ",".join(["1"] * 12 + ["3"] * 12)
    result = simulate(
        "--arrivals", "poisson:90/s", "--day-profile", shares, "--start-up", "30m", "--json", files=("1b/pam.jsonl",)
    )
    assert result.exit_code == 0, result.output
    for row in rows(json.loads(result.stdout)).values():
        night, peak = -(-45 // row["highest_requests_per_second"]), -(-135 // row["highest_requests_per_second"])
        assert (row["least_replica_count"], row["replica_count"]) == (night, peak)
        assert row["replica_hours_per_day"] == 12 * night + 12 * peak + 0.5 * (peak - night)
        assert row["usd_per_month"] < row["steady_usd_per_month"]


def test_caches_are_recomputed_or_reserved_for_and_only_they() -> None:
    counts = {}
    for policy in ("recompute", "reserve"):
        result = simulate(
            "--arrivals", "poisson:400/s", "--replicas", "1", "--kv-policy", policy, "--json", "--max-batch", "400",
            "--input-tokens", "lognormal:13000:sigma=0.4", "--output-tokens", "800", "--slo-tpot", "500ms",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        counts[policy] = {arm: row["preemption_count"] for arm, row in rows(json.loads(result.stdout)).items()}
    assert counts["recompute"][ARMS[0]] > 0
    assert counts["reserve"] == dict.fromkeys(ARMS, 0)
    assert counts["recompute"][ARMS[1]] == counts["recompute"][ARMS[2]] == 0


def test_a_trace_brings_its_own_times_and_lengths(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time,input_tokens,output_tokens\n" + "".join(f"{n / 10},{100 + n},{20}\n" for n in range(300)))
    result = simulate("--arrivals", str(trace), "--json", files=("1b/pam.jsonl",))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["request_count"], found["measured_from"], found["mean_output_tokens"]) == (300, 0, 20.0)
    assert found["requests_per_second"] == pytest.approx(10.0)


def test_a_kept_prefix_is_read_once_and_takes_its_bytes() -> None:
    plain, kept = (
        json.loads(simulate("--arrivals", "poisson:12/s", "--max-batch", "64", "--json", *options).stdout)
        for options in ((), ("--shared-prefix", "1200:share=0.5:count=4"))
    )
    assert (kept["prefix_tokens"], kept["prefix_policy"], plain["prefix_policy"]) == (1200, "pinned", None)
    before, after = rows(plain), rows(kept)
    # Four states of 15.9 MB in float32 and half of that in bfloat16; four times 1,200 tokens of 32 KiB.
    assert after[ARMS[1]]["prefix_bytes"] == 2 * after[ARMS[2]]["prefix_bytes"] == 4 * 24 * 16 * 72**2 * 2 * 4
    assert after[ARMS[0]]["prefix_bytes"] == pytest.approx(4 * 1_200 * 32_768, rel=0.002)  # and what a step copies
    for arm in ARMS:
        # Half of the prompts share 1,200 of their 1,500 tokens: four tenths.
        assert after[arm]["reused_prompt_ratio"] == pytest.approx(0.4, abs=0.03)
        assert before[arm]["reused_prompt_ratio"] == 0
        assert after[arm]["highest_requests_per_second"] > 1.02 * before[arm]["highest_requests_per_second"]
    told = simulate(
        "--arrivals", "poisson:12/s", "--shared-prefix", "1200:share=0.5:count=4", "--requests", "300",
        files=("1b/pam.jsonl",),
    ).stdout  # fmt: skip
    assert "prompts begin with one of 4 prefixes of 1\u202f200 tokens" in told
    assert re.search(r"as 4\d\s% of the prompts' tokens lie in kept prefixes and are not read", told)


def test_first_tokens_later_and_sooner_than_the_model_of_cost_have_their_own_reason() -> None:
    sooner = simulate("--arrivals", "poisson:5/s", "--max-batch", "100", files=("1b/pam.jsonl",)).stdout
    later = simulate(
        "--arrivals",
        "bursty:40/s:cv=6",
        "--input-tokens",
        "lognormal:1500",
        "--max-batch",
        "100",
        files=("1b/pam.jsonl",),
    ).stdout
    assert "as a step carries" in sooner
    assert "prompts queue where requests come close together" not in sooner
    assert "as prompts queue where requests come close together" in later


def test_many_replicas_are_written_in_one_way() -> None:
    told = simulate("--arrivals", "poisson:1e7/s", "--requests", "300", files=("1b/pam.jsonl",)).stdout
    assert len(re.findall(r"\d\u202f\d{3} replicas and .* in place of \d+\u202f\d{3} and ", told)) == 2


def test_lengths_that_vary_are_named_where_a_cache_pays_for_them() -> None:
    result = simulate(
        "--arrivals", "poisson:5/s", "--input-tokens", "lognormal:1500", "--output-tokens", "lognormal:300"
    )
    told = {line.partition(":")[0]: line for line in result.stdout.splitlines()[1:4]}
    assert "lengths vary, so that a token is decoded at" in told[ARMS[0]]
    assert all("lengths vary" not in told[arm] for arm in ARMS[1:])
    assert "lengths vary" not in simulate("--arrivals", "poisson:5/s").stdout


def test_a_batch_held_small_is_the_reason_of_its_low_rate() -> None:
    told = simulate("--arrivals", "poisson:2/s", "--max-batch", "4", files=("1b/pam.jsonl",)).stdout
    assert told.count("because no more than 4 sequences may be served at once") == 2


def test_an_arm_without_a_known_rate_has_replicas_and_no_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = UnknownRate(option="on-demand", reason="no rate of it is listed")
    monkeypatch.setattr("pamprof.cli.simulate.ways_of_paying", lambda *_, **__: (unknown,))
    result = simulate("--arrivals", "poisson:60/s", "--json", files=("1b/pam.jsonl",))
    assert result.exit_code == 0, result.output
    for row in rows(json.loads(result.stdout)).values():
        assert (row["replica_count"], row["usd_per_month"], row["steady_usd_per_month"]) == (2, None, None)
    told = simulate("--arrivals", "poisson:60/s", files=("1b/pam.jsonl",)).stdout
    assert "no rate is known, so there is no bill" in told
    assert "no rate is known: no rate of it is listed" in told


def test_a_level_that_no_arm_holds_is_infeasible_with_its_limit() -> None:
    result = simulate("--arrivals", "poisson:12/s", "--slo-tpot", "100us")
    assert result.exit_code == 0
    assert result.stdout.count("infeasible: time per output token") >= 3


def test_an_arm_is_held_to_the_percentile_and_not_to_its_mean_request() -> None:
    # A prompt of 9,000 tokens takes PAM 68 ms, more than the 50 ms allowed; two fifths of log-normal ones are shorter.
    arguments = ("--input-tokens", "lognormal:9000:sigma=1", "--slo-ttft", "50ms", "--requests", "300", "--percentile")
    found = rows(
        json.loads(simulate("--arrivals", "poisson:2/s", *arguments, "40", "--json", files=("1b/pam.jsonl",)).stdout)
    )
    for arm in ARMS[1:]:
        assert found[arm]["steady_replica_count"] is None
        assert found[arm]["refusal"] is None
        assert found[arm]["level_seconds_to_first_token"] <= 0.05
        assert found[arm]["replica_count"] == math.ceil(2 / found[arm]["highest_requests_per_second"])
    told = simulate("--arrivals", "poisson:2/s", *arguments, "40", files=("1b/pam.jsonl",)).stdout
    assert "within the limits at percentile 40, although the request of mean lengths is infeasible: time to" in told


def test_an_interval_is_open_where_only_the_slow_end_holds_no_rate() -> None:
    # One sequence at once: 1.1320 ms a token of the float32 state at the median of the step times, 1.1334 at the slow
    # end; the bfloat16 state takes 1.1166 there.
    arguments = ("--arrivals", "poisson:0.1/s", "--max-batch", "1", "--slo-tpot", "1.1327ms")
    result = simulate(*arguments, "--json", files=("1b/pam.jsonl",))
    assert result.exit_code == 0, result.output
    slow, median = (rows(json.loads(result.stdout), end) for end in ("slow", "median"))
    assert (median[ARMS[1]]["replica_count"], median[ARMS[1]]["refusal"]) == (1, None)
    assert (slow[ARMS[1]]["replica_count"], slow[ARMS[1]]["usd_per_month"]) == (None, None)
    assert slow[ARMS[1]]["refusal"].startswith("infeasible: time per output token, missed at every rate tried with all")
    assert (slow[ARMS[2]]["replica_count"], slow[ARMS[2]]["refusal"]) == (1, None)
    told = simulate(*arguments, files=("1b/pam.jsonl",)).stdout
    assert "1 [1, open]" in told
    assert "$1\u202f460 [1\u202f460, open]" in told
    assert "at the slow end of their intervals, so that replicas and bill are open above" in told


def test_doubts_about_rates_are_told_once(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(
        "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on\n"
        "acme,big,eu-1,on-demand,H200,8,16.00,contract 7,2025-01-20\n"
    )
    arguments = [str(SWEEP / "1b/pam.jsonl"), "--requests", "200", "--arrivals", "poisson:12/s", "--prices", str(own)]
    result = CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    assert "pamprof: warning: acme" in result.stderr
    assert "days ago" in result.stderr
    assert "days ago" not in result.stdout


def test_the_crossover_is_told_in_sentence_table_and_json() -> None:
    arguments = ("--arrivals", "poisson:150/s", "--requests", "300", "--max-batch", "64", "--crossover")
    text = simulate(*arguments).stdout
    assert re.search(r"At prompts of 1.500 tokens Llama · compiled \+ graph needs fewer replicas, and so dollars", text)
    assert "From which load on replicas differ" in text
    found = json.loads(simulate(*arguments, "--json").stdout)
    asked = next(row for row in found["load_crossovers"] if row["mean_input_tokens"] == 1500)
    assert asked["fewer_replicas"] == ARMS[0]
    assert asked["first_requests_per_second"] == min(
        asked["subject_requests_per_second"], asked["rival_requests_per_second"]
    )
    assert asked["rival_requests_per_second"] == rows(found)[ARMS[0]]["highest_requests_per_second"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--arrivals", "poisson:12"), "--arrivals 'poisson:12' is no stream of requests"),
        (("--arrivals", "poisson:0/s"), "0 requests a second never arrive"),
        (("--arrivals", "poisson:12/s:cv=3"), "is no stream of requests"),
        (("--arrivals", "bursty:12/s:cv=1e6"), "give a variation of 0 to 100"),
        (("--arrivals", "none.csv"), "pamprof: none.csv cannot be read as a trace: No such file or directory"),
        (("--input-tokens", "many"), "--input-tokens 'many' is no length"),
        (("--input-tokens", "trace"), "--input-tokens trace needs a trace"),
        (("--output-tokens", "0"), "answers of 0 tokens generate nothing"),
        (("--output-tokens", "1500:sigma=1"), "is no length"),
        (("--shared-prefix", "half"), "--shared-prefix 'half' is none"),
        (("--shared-prefix", "10.5"), "--shared-prefix '10.5' is none"),
        (("--shared-prefix", "1000:share=2"), "a share above 0 to 1"),
        (
            ("--shared-prefix", "5000"),
            "no prompt goes on after a prefix of 5\u202f000 tokens, the longest has 1\u202f500",
        ),
        (("--shared-prefix", "1500"), "no prompt goes on after a prefix of 1\u202f500 tokens"),
        (("--percentile", "0"), "--percentile 0 is none"),
        (("--slo-ttft", "2"), "--slo-ttft '2' is not a duration above zero"),
        (("--kv-policy", "swap"), "--kv-policy 'swap' is none; give recompute or reserve"),
        (("--day-profile", "1,2,3"), "a day's profile of 3 numbers is none"),
        (("--day-profile", "1,x"), "has something else than numbers"),
        (("--start-up", "soon"), "--start-up 'soon' is no duration"),
        (("--requests", "1"), "1 requests are no simulation"),
        (("--requests", "1000000000"), "give 2 to 10000000"),
        (("--seed", "-1"), "seed -1 lies below 0"),
        (("--max-batch", "0"), "serves nothing"),
        (("--chunk-tokens", "0"), "serves nothing"),
        (("--replicas", "0"), "0 replicas serve nothing"),
        (("--minimum-replicas", "0"), "0 replicas serve nothing"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    given = arguments if "--arrivals" in arguments else ("--arrivals", "poisson:12/s", *arguments)
    result = simulate(*given, files=("1b/pam.jsonl",))
    assert said in one_sentence(result, 1 if "none.csv" in given else 2)


@pytest.mark.parametrize(
    "command", [("simulate", "--arrivals", "poisson:12/s", "--requests", "50"), ("cost", "--tokens-per-day", "1e9")]
)
def test_records_of_a_comparison_are_refused_where_nothing_of_serving_is_known(command: tuple[str, ...]) -> None:
    records = SWEEP.parent / "2026-11-23-nvidia-h200-fused"
    result = CliRunner().invoke(app, [*command, str(records), "--price", "2"])
    told = one_sentence(result, 1)
    assert "a prompt of 1\u202f500 tokens lies beyond what was measured" in told
    assert told.endswith("give records of pamprof serve-sweep")


def test_a_predicted_gpu_is_one_more_device_and_marked_as_modelled() -> None:
    few = ("--arrivals", "poisson:12/s", "--requests", "50")
    result = simulate(*few, "--predict", "L40S,MI300X", "--json", files=("1b/llama.jsonl",))
    assert result.exit_code == 0, result.output
    assert "MI300X refused" in result.stderr
    found = rows(json.loads(result.stdout))
    assert list(found) == [ARMS[0], f"{ARMS[0]}, L40S modelled from H200"]
    measured, carried = found.values()
    assert carried["basis"] == "modelled"
    assert measured["basis"] != "modelled"
    assert carried["highest_requests_per_second"] < measured["highest_requests_per_second"]
    refused = simulate(*few, "--predict", "MI300X", files=("1b/llama.jsonl",))
    assert "AMD part" in one_sentence(refused, 1)


SERVED = Path(__file__).parents[1] / "analysis" / "simulation" / "served"


def test_what_others_measured_stands_beside_what_is_simulated() -> None:
    measured = [word for path in sorted(SERVED.glob("*.json")) for word in ("--measured", str(path))]
    asked = ("--arrivals", "poisson:30/s", "--slo-ttft", "300ms", *measured)
    result = simulate(*asked, files=("1b/pam.jsonl",))
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "Measured of real servers" in text
    assert "holds the limits up to 12.0 requests a second, read between measured rates, held back by" in text
    assert "3 replicas for the requests asked for" in text  # of 12 a second for 30
    assert "qwen3-0.6b (aiperf): two runs at different rates with percentile 95 make a curve; 1 run here" in text
    result = simulate(*asked, "--json", files=("1b/pam.jsonl",))
    rows = json.loads(result.stdout)["measured_elsewhere"]
    assert [(row["tool"], row["requests_per_second"], row["holds"]) for row in rows] == [
        ("aiperf", 6.25, True), ("vLLM bench", 4.0, True), ("vLLM bench", 8.0, True), ("vLLM bench", 16.0, False),
    ]  # fmt: skip


def test_a_measured_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"requests": 3}')
    result = simulate("--arrivals", "poisson:30/s", "--measured", str(path), files=("1b/pam.jsonl",))
    assert "neither a result of vllm bench serve" in one_sentence(result, 1)
