"""The cost page's script: the words and constants it shares with Python, its modules, and the data it starts on."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving import crossover, operating_point, sentences as curve_sentences
from pamprof.analysis.serving.curve import LARGEST_MODEL_ERROR
from pamprof.pricing.rates.currency import USD
from pamprof.pricing.rates.hourly_rates import HOURS_PER_YEAR
from pamprof.pricing.serving import arithmetic, context_table, sentences as decision_sentences
from pamprof.pricing.serving.decision import CostOutcome
from pamprof.pricing.serving.sensitivity import CHANGE, Input
from pamprof.render.serving import sentences as page_sentences
from pamprof.render.serving.form import FIELDS, LARGEST_BOUND_TOLD
from pamprof.render.serving.script_data import script_json
from pamprof.render.serving.view import ARM_COLUMNS, LEFT_ARM_COLUMNS, MODELLED_ARM_COLUMNS
from pamprof.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from pamprof.render.serving.script_data import Json

# In this order: each uses those before it.
_WORDS = "words"
MODULES = (_WORDS, "curves", "points", "study", "form", "page")


def serving_script(data: str) -> str:
    """The page's arithmetic and form, started on ``data``, JSON that may stand inside a ``<script>``."""
    modules = (_module(name) for name in MODULES if name != _WORDS)
    return "\n".join((words_script(_texts()), *modules, f"const costData = {data};\ncostPage.start(costData);"))


def words_script(texts: Mapping[str, Json]) -> str:
    """Numbers as people read them and ``texts`` to be filled, for this script and others."""
    shared = f"const costText = {script_json(dict(texts))};\nconst costConstants = {script_json(_constants())};"
    return f"{shared}\n{_module(_WORDS)}"


def _module(name: str) -> str:
    return files("pamprof.render").joinpath("templates", "serving", f"{name}.js").read_text(encoding="utf-8")


def _texts() -> dict[str, Json]:
    """Every template by its name; equal names in two modules would hide one of them."""
    texts: dict[str, Json] = {}
    for module in (curve_sentences, decision_sentences, page_sentences):
        found = _templates(module)
        shared = texts.keys() & found.keys()
        if shared:
            raise ValueError(f"sentence {min(shared)} is written in two modules; rename one")
        texts.update(found)
    return texts


def _templates(module: ModuleType) -> dict[str, str]:
    return {name: clean(text) for name, text in vars(module).items() if name.isupper() and isinstance(text, str)}


def _constants() -> dict[str, Json]:
    return {
        "arm_column_count": len(ARM_COLUMNS),
        "basis": {basis.name: basis.value for basis in Basis},
        "basis_order": [basis.value for basis in Basis],
        "byte_steps": _pairs(units.BYTE_STEPS),
        "cents_below_usd": units.CENTS_BELOW_USD,
        "cents_from_usd": units.CENTS_FROM_USD,
        "change": CHANGE,
        "default_currency": USD.code,
        "directions": {
            "ALWAYS_CHEAPER": crossover.ALWAYS_CHEAPER,
            "ALWAYS_MORE_EXPENSIVE": crossover.ALWAYS_MORE_EXPENSIVE,
            "CHEAPER_ABOVE": crossover.CHEAPER_ABOVE,
            "UNKNOWN": crossover.UNKNOWN_DIRECTION,
        },
        "digits": units.DIGITS,
        "fields": [asdict(field) for field in FIELDS],
        "holds": {"CACHE": context_table.CACHE, "STATE": context_table.STATE},
        "hours_per_day": arithmetic.HOURS_PER_DAY,
        "hours_per_month": units.HOURS_PER_MONTH,
        "hours_per_year": HOURS_PER_YEAR,
        "inputs": {name.name: name.value for name in Input},
        "largest_bound_told": LARGEST_BOUND_TOLD,
        "largest_model_error": LARGEST_MODEL_ERROR,
        "left_arm_columns": list(LEFT_ARM_COLUMNS),
        "modelled_arm_columns": list(MODELLED_ARM_COLUMNS),
        "limits": {
            "GAINS_NOTHING": operating_point.GAINS_NOTHING,
            "LARGEST_BATCH_KNOWN": operating_point.LARGEST_BATCH_KNOWN,
            "MEMORY": operating_point.MEMORY,
            "TIME_PER_OUTPUT_TOKEN": operating_point.TIME_PER_OUTPUT_TOKEN,
            "TIME_TO_FIRST_TOKEN": operating_point.TIME_TO_FIRST_TOKEN,
        },
        "million": arithmetic.MILLION,
        "minutes_from_seconds": units.MINUTES_FROM_SECONDS,
        "most_decimals": units.MOST_DECIMALS,
        "outcomes": {outcome.name: outcome.value for outcome in CostOutcome},
        "percent_digits": units.PERCENT_DIGITS,
        "rate_decimals": units.RATE_DECIMALS,
        "second_steps": _pairs(units.SECOND_STEPS),
        "seconds_per_day": arithmetic.SECONDS_PER_DAY,
        "seconds_per_hour": arithmetic.SECONDS_PER_HOUR,
        "si_steps": _pairs(units.SI_STEPS),
        "steps_between": crossover.STEPS_BETWEEN,
        "thin_space": clean(units.THIN_SPACE),
        "tokens_of_k": units.TOKENS_OF_K,
        "unknown": units.UNKNOWN,
    }


def _pairs(steps: tuple[tuple[float, str], ...]) -> list[Json]:
    return [[size, unit] for size, unit in steps]
