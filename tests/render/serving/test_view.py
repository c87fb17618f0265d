from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from pamprof.analysis.comparison.results import Basis
from pamprof.pricing.rates.currency import USD
from pamprof.pricing.rates.hourly_rates import Owned, owned_rate
from pamprof.pricing.serving.study import Request, ServingStudy, study
from pamprof.records import Interval, Perplexity
from pamprof.render.serving.bill_table import money
from pamprof.render.serving.export import bill_rows, serving_csv, serving_export
from pamprof.render.serving.view import basis_words, render_serving_markdown, serving_view
from tests.pricing.serving.formula_curves import FormulaCurve, pam_curve, transformer_curve
from tests.pricing.serving.test_bill import SLO, demand, rate

DEVICE = "NVIDIA H200"
OWNED = Owned(
    capital_usd=40_000, life_years=4, usd_per_kilowatt_hour=0.1, power_usage_effectiveness=1.3, watts=600,
    watts_source="measured",
)  # fmt: skip


def made(*curves: FormulaCurve, tokens_per_day: float = 1e12, **changes: object) -> ServingStudy:
    request = Request(**{"demand": demand(tokens_per_day, peak_factor=3.0), "limits": SLO, "owned": OWNED, **changes})
    rates = {DEVICE: (rate(2.0, low=1.0, high=4.0), owned_rate(OWNED))}
    figures = [Perplexity(layer="pam", value=30.0, source="a"), Perplexity(layer="transformer", value=27.1, source="b")]
    return study(curves or (pam_curve(width=0.01), transformer_curve(width=0.01)), request, rates, perplexities=figures)


def cells(found: ServingStudy, title: str) -> list[dict[str, str]]:
    (table,) = (table for table in serving_view(found).tables if table.title.startswith(title))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_every_table_has_as_many_cells_as_columns() -> None:
    for table in serving_view(made(api_usd_per_million=(1.0, 4.0))).tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert max(table.right, default=0) < len(table.columns)


def test_a_bill_is_told_with_the_measurements_and_the_markets_span() -> None:
    row = next(row for row in cells(made(), "Monthly bills") if row["arm"] == "transformer · graph")
    assert row["paid"] == "on-demand"
    assert "[" in row["replicas"]
    assert " to " in row["over the market"]


def test_a_modelled_number_looks_different_in_every_format() -> None:
    found = made(pam_curve(basis=Basis.MODELLED), transformer_curve())
    assert {row["basis"] for row in cells(found, "Arms")} == {"modelled (error up to 10\u202f%)", "measured"}
    assert {row["basis"] for row in bill_rows(found)} == {"modelled", "measured"}
    assert "modelled (error up to 10" in render_serving_markdown(serving_view(found))
    assert basis_words(Basis.MODELLED, None) == "modelled"


def test_an_infeasible_arm_has_dashes_and_its_reason() -> None:
    found = made(pam_curve(), transformer_curve(fits=lambda _: 0))
    row = cells(found, "Arms")[-1]
    assert (row["batch"], row["held back by"], row["a month"]) == ("–", "infeasible: memory", "–")
    arms = next(table for table in serving_view(found).tables if table.title.startswith("Arms"))
    assert arms.notes[1:] == (
        "transformer · graph: infeasible: memory, no sequence of 1\u202f799 tokens fits beside the weights",
    )
    assert bill_rows(found)[-1]["EffectiveCost"] is None


def test_markdown_holds_the_decision_and_no_markup_of_a_title() -> None:
    text = render_serving_markdown(serving_view(made(replace(pam_curve(), title="PAM <b> | x"), transformer_curve())))
    assert text.startswith("# What serving costs\n")
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "PAM \\<b\\> \\| x is cheaper" in text


def test_acting_characters_in_a_title_do_not_reach_the_terminal() -> None:
    view = serving_view(made(replace(pam_curve(), title="PAM\x1b[31m"), transformer_curve()))
    assert "\x1b" not in str(view)


def test_a_title_that_is_a_formula_is_no_formula_in_a_spreadsheet() -> None:
    text = serving_csv(made(replace(pam_curve(), title="=1+1"), transformer_curve()))
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert rows[0]["arm"] == "'=1+1"


def test_the_export_tells_the_demand_and_all_parts() -> None:
    found = serving_export(made())
    assert (found["input_tokens"], found["output_tokens"], found["peak_factor"]) == (1500, 300, 3.0)
    for part in ("bills", "decisions", "crossovers", "front", "sensitivities", "quality"):
        assert found[part], part


def test_arms_without_a_rival_decide_nothing_and_say_so() -> None:
    view = serving_view(made(pam_curve()))
    assert "nothing to decide" in view.decisions[0]
    assert not any(table.title.startswith("Crossover") for table in view.tables)


def test_money_carries_its_interval_without_a_second_sign() -> None:
    assert money(Interval(low=1.5, median=2.0, high=2.5, confidence=0.95), USD) == "$2.00 [1.50, 2.50]"
    assert money(Interval.exact(2.0), USD) == "$2.00"


@pytest.mark.parametrize(("tokens", "word"), [(1e6, "their bills are equal"), (1e13, "saves")])
def test_the_sentence_says_equal_bills_below_the_first_replica_and_savings_above(tokens: float, word: str) -> None:
    assert word in serving_view(made(tokens_per_day=tokens)).decisions[0]


def test_a_displayed_rate_times_the_hours_gives_the_displayed_bill() -> None:
    study_at = made(pam_curve(), transformer_curve(), tokens_per_day=1e9)
    found = study_at.classes[0]
    rates = {DEVICE: (rate(6.3055),)}
    curves = [arm.deployment.curve for arm in found.arms]
    rows = cells(study(curves, study_at.request, rates), "Monthly bills")
    assert {row["a device-hour"] for row in rows} == {"$6.3055"}
    for row in rows:
        replicas = int(row["replicas"].split(" [")[0])
        paid = float(row["a month"].split(" [")[0].strip("$").replace("\u2009", "").replace("\u202f", ""))
        assert paid == pytest.approx(6.3055 * 730 * replicas, abs=0.5)


def test_sentences_about_what_a_device_carries_name_whose_number_it_is() -> None:
    view = serving_view(made())
    (carried,) = (note for note in view.notes if "one device carries" in note)
    assert carried.count(" tokens a day with ") == 2
    assert "with PAM planar · graph (measured)" in carried
    assert "with transformer · graph (measured)" in carried
    (equal,) = (note for note in view.notes if "cost the same up to" in note)
    assert "PAM planar · graph and transformer · graph cost the same up to" in equal


def test_the_idle_time_to_first_token_is_called_so_and_the_other_is_modelled() -> None:
    row = next(row for row in cells(made(), "Arms") if row["arm"] == "PAM planar · graph")
    bill = next(row for row in bill_rows(made()) if row["arm"] == "PAM planar · graph")
    assert row["prompt alone on an idle device"] == "3.00 ms"  # 1,500 tokens of 2 us
    assert bill["idle_seconds_to_first_token"] == pytest.approx(3e-3)
    # Prompts fill a step of about 50 ms before memory does, and as many again are waited for.
    assert bill["seconds_to_first_token"] > bill["seconds_per_output_token"] > 10 * 3e-3 / 2
    assert bill["seconds_to_first_token_basis"] == "modelled"
    arms = next(table for table in serving_view(made()).tables if table.title.startswith("Arms"))
    assert [arms.columns[n] for n in arms.modelled] == ["to first token (modelled)"]
