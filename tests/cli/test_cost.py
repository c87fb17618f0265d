import csv
import io
import json
import math
import socket
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.cli.cost_options import duration_seconds, positive_number, shares
from pamprof.errors import UsageError
from pamprof.records import Execution, Phase
from pamprof.records.codec import encode
from tests.cli.answers import damage_last_line, one_sentence
from tests.pricing.serving.formula_curves import KAPPA, STATE_BYTES, pam_curve, transformer_curve
from tests.render.serving.records import sweep_records
from tests.synthetic import synthetic_run, synthetic_session, synthetic_workload


@pytest.fixture
def cost(tmp_path, monkeypatch):
    """Run the command on the 100M pair's records, with curves that follow a formula."""

    def refuse(*_, **__):
        raise AssertionError("pamprof cost opened a socket")

    curves = (pam_curve(width=0.01), transformer_curve(width=0.01))
    monkeypatch.setattr(
        "pamprof.analysis.serving.from_records.serving_curves", lambda runs, skips: curves if runs else ()
    )
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    runs = [run for curve in curves for run in curve.runs]
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, (synthetic_session(), *runs))))

    def run(*arguments):
        return CliRunner().invoke(app, ["cost", "runs.jsonl", "--tokens-per-day", "1e12", *arguments])

    return run


OWNED = ("--capex", "40000", "--life-years", "4", "--kwh-price", "0.1", "--pue", "1.3")


def test_the_decision_comes_first_and_every_table_follows(cost):
    result = cost("--price", "0.40")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("What serving costs: 1.00T tokens a day")
    assert "PAM planar · graph is cheaper than transformer · graph" in lines[1]
    for title in ("Arms", "Monthly bills", "Crossover", "Crossover by bytes", "Cost against speed", "What moves"):
        assert any(line.startswith(title) for line in lines), title
    assert "sessions 5e55104a" in result.stdout


def test_replicas_and_first_tokens_are_simulated_unless_a_steady_batch_is_asked_for(tmp_path):
    sweep = sweep_records()
    runs = [run for run in sweep.runs if run.workload.spec.layer == "transformer"]
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, (*sweep.sessions, *sweep.skips, *runs))))
    arguments = ["cost", str(tmp_path), "--tokens-per-day", "1e11", "--price", "2"]
    (loaded,), (steady,) = (
        json.loads(CliRunner().invoke(app, [*arguments, "--json", *more]).stdout)["bills"]
        for more in ((), ("--steady",))
    )
    assert (loaded["replicas_from"], steady["replicas_from"]) == ("simulated", "steady batch")
    assert loaded["seconds_to_first_token_basis"] == "simulated"
    for name in ("replica_count", "usd_per_month", "seconds_to_first_token"):
        assert loaded[f"steady_{name}"] == steady[f"steady_{name}"] == steady[name]
    peak = 1e11 / 1800 / 86_400 * 3
    assert loaded["replica_count"] == math.ceil(peak / loaded["held_requests_per_second"])
    assert loaded["held_requests_per_second"] < steady["held_requests_per_second"]
    told = CliRunner().invoke(app, [*arguments, "--markdown"]).stdout
    assert "## Under load and in a steady batch, 100M parameters on NVIDIA H200" in told
    assert "| to first token, p95 (simulated) |" in told
    assert "--percentile 0 is none" in one_sentence(CliRunner().invoke(app, [*arguments, "--percentile", "0"]), 2)


def test_json_and_csv_carry_the_same_bills_under_their_focus_names(cost):
    arguments = ("--mix", "on-demand=0.4,spot=0.6", *OWNED)
    found = json.loads(cost(*arguments, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(cost(*arguments, "--csv").stdout)))
    assert [row["purchase_option"] for row in found["bills"]] == [row["purchase_option"] for row in rows]
    assert {row["purchase_option"] for row in rows} == {"on-demand", "spot", "reserved-3yr-market", "mixed", "owned"}
    assert {row["PricingCategory"] for row in rows} == {"Standard", "Dynamic", "Committed", "Other"}
    for bill, row in zip(found["bills"], rows, strict=True):
        assert row["BillingCurrency"] == "USD"
        assert float(row["EffectiveCost"]) == pytest.approx(bill["usd_per_month"])
        assert float(row["PricingQuantity"]) == pytest.approx(bill["replica_count"] * 730)
        assert bill["usd_per_month_market_low"] <= bill["usd_per_month"] <= bill["usd_per_month_market_high"]
        assert row["session_ids"] == "5e55104a"
    (decision,) = found["decisions"]
    assert decision["outcome"] == "cheaper"
    assert decision["cost_ratio_low"] <= decision["cost_ratio"] <= decision["cost_ratio_high"] < 1
    assert {row["quantity"] for row in found["crossovers"]} == {
        "request cost", "decode cost", "capacity", "memory", "decode traffic",
    }  # fmt: skip
    assert found["front"]
    assert {row["change_ratio"] for row in found["sensitivities"]} == {-0.2, 0.2}


def test_another_currency_is_shown_with_its_rate_and_its_day(cost):
    result = cost("--price", "0.40", "--currency", "EUR", "--exchange-rate", "0.92")
    assert "$" not in result.stdout
    assert "EUR" in result.stdout
    assert "1 USD = 0.92 EUR, as stated for 20" in result.stdout
    found = json.loads(cost("--price", "0.40", "--currency", "EUR", "--exchange-rate", "0.92", "--json").stdout)
    bill = found["bills"][0]
    assert (bill["BillingCurrency"], found["exchange_rate_per_usd"]) == ("EUR", 0.92)
    assert bill["EffectiveCost"] == pytest.approx(bill["usd_per_month"] * 0.92)
    assert bill["ListUnitPrice"] == pytest.approx(0.40 * 0.92)
    assert "needs" not in one_sentence(cost("--currency", "EUR"), 2)


def test_a_limit_that_cannot_be_met_has_no_price_and_says_which(cost):
    found = json.loads(cost("--price", "0.40", "--slo-tpot", "550us", "--json").stdout)
    by_arm = {row["arm"]: row for row in found["bills"]}
    late = by_arm["transformer · graph"]
    assert late["infeasible"].startswith("infeasible: time per output token, ")
    assert (late["EffectiveCost"], late["BillingCurrency"]) == (None, None)
    assert by_arm["PAM planar · graph"]["EffectiveCost"] > 0
    assert found["decisions"][0]["outcome"] == "infeasible"
    text = cost("--price", "0.40", "--slo-ttft", "1ms")
    assert "infeasible: time to first token" in text.stdout


def test_an_api_is_broken_even_with_and_needs_both_prices(cost):
    result = cost("--price", "0.40", "--api-price-input", "1", "--api-price-output", "4")
    assert "no more expensive than an API at $1.00 in and $4.00 out per million from" in result.stdout
    assert "both --api-price-input and --api-price-output" in one_sentence(cost("--api-price-input", "1"), 2)


def test_owned_hardware_takes_the_measured_power_unless_told(cost):
    bills = json.loads(cost(*OWNED, "--json").stdout)["bills"]
    measured = next(row for row in bills if row["purchase_option"] == "owned")
    assert "W (measured)" in measured["price_provenance"]
    told = json.loads(cost(*OWNED, "--watts", "700", "--json").stdout)["bills"]
    assert any("700 W (given by the user)" in row["price_provenance"] for row in told)


def test_quality_stands_beside_cost_and_is_called_a_model(cost):
    result = cost("--price", "0.40", "--perplexity", "pam=30.0", "--perplexity", "transformer=27.1", "--markdown")
    assert "## Quality beside cost" in result.stdout
    assert "1.22×" in result.stdout
    assert "Modelled: what reaching perplexity 27.1 would take" in result.stdout


def test_old_rates_are_warned_of_and_fail_when_strict(cost):
    lenient = cost()
    assert lenient.exit_code == 0
    assert "pamprof: warning: semianalysis-tco" in lenient.stderr
    strict = cost("--strict")
    assert strict.exit_code == 1
    assert "--strict asks for none" in strict.stderr
    assert strict.stdout == ""
    assert cost("--strict", "--price", "1").exit_code == 0


def test_a_price_list_of_ones_own_is_used(cost, tmp_path):
    (tmp_path / "own.csv").write_text(
        "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on\n"
        "acme,big,eu-1,on-demand,H200,8,16.00,contract 7,2026-11-20\n"
        "acme,big,eu-1,committed-1yr,H200,8,12.00,contract 7,2026-11-20\n"
    )
    bills = json.loads(cost("--prices", "own.csv", "--json").stdout)["bills"]
    assert {(row["purchase_option"], row["usd_per_device_hour"]) for row in bills} == {
        ("on-demand", 2.0), ("committed-1yr", 1.5),
    }  # fmt: skip
    assert {row["ProviderName"] for row in bills} == {"acme"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--slo-tpot", "50"), "write it with its unit"),
        (("--slo-ttft", "0s"), "duration above zero"),
        (("--peak", "0.5"), "give 1 or more"),
        (("--duty", "0"), "at most 1"),
        (("--output-tokens", "0"), "1 or more output tokens"),
        (("--mix", "on-demand"), "not of the form"),
        (("--mix", "on-demand=0.5,spot=0.6"), "do not add up to 1"),
        (("--json", "--csv"), "exclude each other"),
        ((*OWNED, "--pue", "0.5"), "PUE 0.5"),
        (("--capex", "1000"), "--life-years, --kwh-price and --pue"),
        (("--api-price-input", "-1", "--api-price-output", "2"), "has no price"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(cost, arguments, words):
    result = cost(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_records_without_a_sweep_say_how_to_make_one(cost, tmp_path):
    (tmp_path / "runs.jsonl").write_bytes(encode(synthetic_session()))
    assert "serve-sweep" in one_sentence(cost("--price", "1"), 1)


def test_durations_numbers_and_shares_are_read_with_their_units():
    assert [duration_seconds(text, "-") for text in ("50ms", "2 s", "1.5min", "20us")] == pytest.approx(
        [0.05, 2.0, 90.0, 20e-6]
    )
    assert positive_number("1e9", "-") == 1e9
    assert shares("on-demand=0.4, spot=0.6") == (("on-demand", 0.4), ("spot", 0.6))
    for text in ("1e999", "nan", "-1"):
        with pytest.raises(UsageError):
            positive_number(text, "-")


def swept(layer, implementation, curve, prefill):
    """What a sweep would have recorded of a curve: batches of powers of two at five contexts, prompts at batch 1."""
    places = [
        (Phase.DECODE, 1 << exponent, context, curve.step(1 << exponent, context))
        for context in (128, 512, 2048, 8192, 32768)
        for exponent in range(0, 9, 2)
    ]
    places += [(Phase.PREFILL, 1, prompt, prefill(prompt)) for prompt in (128, 512, 2048, 8192)]
    return [
        synthetic_run(
            synthetic_workload(layer, implementation, Execution.GRAPH, phase, batch, sequence_length=length),
            wall_time_seconds=tuple(seconds * (1 + 1e-4 * (n % 3 - 1)) for n in range(9)),
        )
        for phase, batch, length, seconds in places
    ]


def test_arms_swept_into_different_folders_are_decided_as_if_swept_into_one(tmp_path):
    arms = {
        "pam": swept("pam", "planar", pam_curve(), lambda prompt: prompt * 2e-6),
        "cache": swept("transformer", "sdpa", transformer_curve(), lambda prompt: prompt * 2e-6),
    }
    apart = []
    for name, runs in arms.items():
        session = replace(synthetic_session(), session_id=name)
        (tmp_path / name).mkdir()
        lines = [encode(session), *(encode(replace(run, session_id=name)) for run in runs)]
        (tmp_path / name / "runs.jsonl").write_bytes(b"".join(lines))
        apart += lines
    (tmp_path / "runs.jsonl").write_bytes(b"".join(apart))

    def decided(*folders):
        arguments = ["cost", *map(str, folders), "--tokens-per-day", "1e12", "--price", "0.40", "--json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    together = decided(tmp_path)
    assert decided(tmp_path / "pam", tmp_path / "cache") == together
    assert [row["outcome"] for row in together["decisions"]] == ["cheaper"]
    assert {row["session_ids"] for row in together["bills"]} == {"pam", "cache"}


def test_a_recorded_sweep_is_decided_as_its_formula_says(tmp_path):
    runs = swept("pam", "planar", pam_curve(), lambda prompt: prompt * 2e-6)
    runs += swept("transformer", "sdpa", transformer_curve(), lambda prompt: prompt * 2e-6)
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, runs)))
    arguments = ["cost", str(tmp_path), "--tokens-per-day", "1e12", "--price", "0.40", "--slo-tpot", "5ms", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    crossover = next(row for row in found["crossovers"] if row["quantity"] == "decode cost")
    assert crossover["tokens"] == pytest.approx(2 * STATE_BYTES / KAPPA, rel=0.1)
    pam = next(row for row in found["bills"] if row["arm"].startswith("PAM"))
    assert pam["basis"] == "interpolated"
    exact = pam_curve().step(pam["batch_size"], 1650) * 300 / pam["batch_size"] + 1500 * 2e-6
    assert pam["device_seconds_per_request"] == pytest.approx(exact, rel=0.02)
    assert pam["usage_blended_usd_per_million_tokens"] == pytest.approx(exact * 0.40 / 3600 / 1800 * 1e6, rel=0.02)
    assert found["decisions"][0]["outcome"] == "cheaper"


def test_a_bill_from_damaged_records_is_refused(cost, tmp_path):
    line = damage_last_line(tmp_path / "runs.jsonl")
    for arguments in ((), ("--json",), ("--csv",), ("--markdown",), ("-o", "out")):
        result = cost("--price", "0.40", *arguments)
        sentence = one_sentence(result, 1)
        assert f"runs.jsonl: 1 line could not be read: {line}: the record does not match its checksum" in sentence
        assert "--skip-damaged" in sentence
        assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_bill_without_the_damaged_lines_says_so_in_every_form(cost, tmp_path):
    whole = list(csv.DictReader(io.StringIO(cost("--price", "0.40", "--csv").stdout.lstrip("\ufeff"))))
    assert {row["unreadable_line_count"] for row in whole} == {"0"}
    words = f"1 line could not be read: {damage_last_line(tmp_path / 'runs.jsonl')}"
    answers = {
        form: cost("--price", "0.40", "--skip-damaged", *form)
        for form in ((), ("--json",), ("--csv",), ("--markdown",))
    }
    for result in answers.values():
        assert result.exit_code == 0
        assert f"pamprof: warning: runs.jsonl: {words}" in result.stderr
    assert words in answers[()].stdout.splitlines()[1]
    assert f"> **{words}" in answers["--markdown",].stdout
    found = json.loads(answers["--json",].stdout)
    assert found["alerts"][0].startswith(words)
    assert [words.endswith(text.split(":")[0]) for text in found["unreadable_lines"]] == [True]
    rows = list(csv.DictReader(io.StringIO(answers["--csv",].stdout.lstrip("\ufeff"))))
    assert {row["unreadable_line_count"] for row in rows} == {"1"}


def test_a_cost_page_without_the_damaged_lines_says_so_on_top(tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.serving.page.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    sweep, path = sweep_records(), tmp_path / "runs.jsonl"
    path.write_bytes(b"".join(map(encode, (*sweep.sessions, *sweep.skips, *sweep.runs))))
    words = f"1 line could not be read: {damage_last_line(path)}"
    arguments = ["cost", str(path), "--tokens-per-day", "1e9", "--price", "2", "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert CliRunner().invoke(app, [*arguments, "--skip-damaged"]).exit_code == 0
    assert f'<p class="alert" role="note">{words}' in (tmp_path / "out" / "cost.html").read_text(encoding="utf-8")


def test_bills_with_names_beyond_ascii_begin_with_the_mark_that_spreadsheets_need(cost):
    table = cost("--price", "0.40", "--csv").stdout_bytes
    assert table.startswith(b"\xef\xbb\xbfarm,")
    (row, *_) = csv.DictReader(io.StringIO(table.decode("utf-8-sig")))
    assert row["arm"].startswith("PAM planar · ")


def test_doubts_about_rates_stand_in_markdown_and_json(cost):
    markdown, found = cost("--markdown").stdout, json.loads(cost("--json").stdout)
    (alert,) = found["alerts"]
    assert "the source names no date" in alert or "days ago" in alert or "no day" in alert
    assert markdown.count("> **") == 1


def test_a_predicted_gpu_is_one_more_device_and_marked_as_modelled(tmp_path):
    records = sweep_records()
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"".join(map(encode, (*records.sessions, *records.runs))))
    result = CliRunner().invoke(
        app, ["cost", str(path), "--tokens-per-day", "1e9", "--price", "2", "--predict", "L40S,H200", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert "pamprof: --predict H200: measured already, so nothing is predicted of it\n" in result.stderr
    assert "--predict L40S" not in result.stderr
    found = json.loads(result.stdout)
    bills = {bill["arm"]: bill["device_name"] for bill in found["bills"]}
    assert set(bills.values()) == {"NVIDIA H200", "NVIDIA L40S"}
    assert {arm for arm, device in bills.items() if device == "NVIDIA L40S"} == {
        f"{arm}, L40S modelled from H200" for arm, device in bills.items() if device == "NVIDIA H200"
    }
    on_l40s = [row["basis"] for row in found["front"] if bills[row["arm"]] == "NVIDIA L40S"]
    assert set(on_l40s) == {"modelled"}
