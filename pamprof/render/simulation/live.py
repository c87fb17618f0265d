"""The live inputs of the page on serving under load: another rate and other limits, read off the simulated rates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from pamprof import units
from pamprof.analysis.serving.operating_point import TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN
from pamprof.analysis.simulation.highest_rate import THROUGHPUT
from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.rate_grid import rate_grid
from pamprof.pricing.serving.fleet import CONSTANT_DEMAND
from pamprof.render.serving.script import words_script
from pamprof.render.serving.script_data import script_json
from pamprof.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.analysis.simulation.rate_grid import RateGrid, TimeLine
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.load_study import LoadStudy
    from pamprof.render.serving.script_data import Json

COLUMNS = (
    "arm", "highest rate a replica", "held back by", "replicas", "a month", "to first token", "per output token",
    "these times: off by",
)  # fmt: skip
_TEXTS = {
    "LOAD_FAULT": "more than 0, at most 1e9",
    "LOAD_NEVER": "missed at every rate",
    "LOAD_ERROR": "{error} at most",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveInputs:
    """What the page's form begins with, and what it computes from.

    Attributes:
        columns: Of the answer.
        rate_unit: Of the rate that is typed.
        percentile: Of the times.
        largest_error: Of reading between rates, over all arms, times and rates, as a text.
        script: The whole script.
    """

    columns: tuple[str, ...]
    rate_unit: str
    percentile: str
    largest_error: str
    script: Markup


def live_inputs(study: LoadStudy, currency: Currency) -> LiveInputs | None:
    """The inputs of a study; None where no arm holds the limits at any rate."""
    grids = {
        arm.title: grid
        for arm in study.arms
        if arm.loaded is not None
        and End.MEDIAN in arm.highest
        and (grid := rate_grid(arm.loaded, arm.highest[End.MEDIAN], arm.metrics)) is not None
    }
    if not grids:
        return None
    lines = [line for grid in grids.values() for line in (grid.first, grid.each) if line is not None]
    data = script_json(load_data(study, grids, currency))
    module = files("pamprof.render").joinpath("templates", "simulation_live.js").read_text(encoding="utf-8")
    return LiveInputs(
        columns=COLUMNS,
        rate_unit="a second" if study.question.profile == CONSTANT_DEMAND else "a second, the same at every hour",
        percentile=f"{study.question.level.percentile:g}",
        largest_error=units.percent(max(error for line in lines for error in line.errors)),
        script=Markup(f"{words_script(_TEXTS)}\n{module}\nloadPage.start({data});"),
    )


def load_data(study: LoadStudy, grids: Mapping[str, RateGrid], currency: Currency) -> dict[str, Json]:
    """Grids, rates and the question, as JSON."""
    question = study.question
    limits = question.level.limits
    return {
        "arms": [
            {
                "title": clean(arm.title),
                "rates": list(grids[arm.title].rates),
                "first": _line(grids[arm.title].first),
                "each": _line(grids[arm.title].each),
                "highest": arm.highest[End.MEDIAN].requests_per_second,
                "bound": arm.highest[End.MEDIAN].bound,
                "usd_per_hour": None if arm.rate is None else float(arm.rate.usd_per_hour),
            }
            for arm in study.arms
            if arm.title in grids
        ],
        "minimum_replicas": question.minimum_replicas,
        "replicas": question.replicas,
        "currency": {"code": currency.code, "units_per_usd": float(currency.units_per_usd)},
        "bounds": {"first": TIME_TO_FIRST_TOKEN, "each": TIME_PER_OUTPUT_TOKEN, "throughput": THROUGHPUT},
        "begins": {
            "rate": float(f"{question.requests.per_second:.6g}"),
            "first": limits.seconds_to_first_token,
            "each": float(f"{1000 * limits.seconds_per_output_token:.12g}"),
        },
    }


def _line(line: TimeLine | None) -> Json:
    return None if line is None else {"values": list(line.values), "errors": list(line.errors)}
