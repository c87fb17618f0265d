"""What the live cost page computes from: curves as measured points and fitted numbers, rates, and the first scenario.

Everything is JSON of plain numbers; an interval is ``[low, median, high, confidence]`` and a point of a line has its
batch or prompt length before it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.grid import largest_left_out_error
from pamprof.pricing.rates.hourly_rates import OWNED, Rate
from pamprof.pricing.rates.price_choice import label_of
from pamprof.pricing.serving.context_table import holds
from pamprof.records import LayerRole, Phase
from pamprof.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.grid import Line
    from pamprof.analysis.serving.memory import ServingMemory
    from pamprof.analysis.serving.roofline import DecodeRoofline, PrefillRoofline
    from pamprof.pricing.rates.hourly_rates import UnknownRate
    from pamprof.pricing.serving.study import Request, ServingStudy

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def page_data(
    study: ServingStudy,
    curves: Sequence[ServingCurve],
    rates: Mapping[str, Sequence[Rate | UnknownRate]],
    names: Sequence[str],
) -> dict[str, Json]:
    """Classes with their arms and rates, the scenario the study was asked in, and its currency.

    Args:
        study: Its classes, in their order.
        curves: The curves it was made from.
        rates: Every way of paying that the page offers, by the device's reported name.
        names: The classes' names for people.
    """
    by_title = {curve.title: curve for curve in curves}
    classes: list[Json] = []
    for found, name in zip(study.classes, names, strict=True):
        offered = [*found.rates, *rates.get(found.environment.device_name, ())]
        subjects = {arm.deployment.curve.title: arm.layer.role is LayerRole.SUBJECT for arm in found.arms}
        members = [curve for curve in by_title.values() if curve.title in subjects]
        # The study's own order before it ranks them, which arms of equal cost keep.
        members.sort(key=lambda curve: curve.runs[0].parameter_count)
        classes.append(
            {
                "name": name,
                "rates": _rates(offered),
                "arms": [curve_data(curve, is_subject=subjects[curve.title]) for curve in members],
            }
        )
    return {"classes": classes, "scenario": scenario_data(study.request), "currency": _currency(study.request)}


def script_json(data: Json) -> str:
    """JSON that stays text inside a ``<script>``: nothing in it can end the element, begin a comment or a new line."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def curve_data(curve: ServingCurve, *, is_subject: bool) -> dict[str, Json]:
    """All that a curve answers from, and whether its layer is a subject of the comparison."""
    decode = sorted({run.workload.sequence_length for run in curve.runs if run.workload.phase is Phase.DECODE})
    prompts = sorted({run.workload.sequence_length for run in curve.runs if run.workload.phase is Phase.PREFILL})
    return {
        "title": clean(curve.title),
        "is_subject": is_subject,
        "holds": holds(curve),
        "fixed_state": curve.fixed_state,
        "one_line": curve.fixed_state and len(curve.decode_lines) == 1,
        "context_range": list(curve.context_range),
        "contexts": list(decode),
        "prompt_lengths": list(prompts),
        "decode_lines": [{"context": line.context, "points": _points(line)} for line in curve.decode_lines],
        "decode_error": largest_left_out_error(curve.decode_lines),
        "measured": [
            {"context": line.context, "batches": _measured_batches(curve, line)} for line in curve.measured_lines
        ],
        "prompts": None if curve.prompts is None else _points(curve.prompts),
        "prompt_error": None if curve.prompts is None else largest_left_out_error((curve.prompts,)),
        "carried": None if curve.carried is None else [curve.carried.low_ratio, curve.carried.high_ratio],
        "limits": [list(limit) for limit in curve.limits],
        "limit_error": curve.limit_error,
        "memory": _memory(curve.memory),
        "decode_model": _decode_model(curve.decode_model),
        "prefill_model": _prefill_model(curve.prefill_model),
    }


def _measured_batches(curve: ServingCurve, line: Line) -> list[Json]:
    """Batches at which the curve answers with what was measured there."""
    return [batch for batch, _ in line.points if curve.decode_seconds(batch, line.context).basis is Basis.MEASURED]


def scenario_data(request: Request) -> dict[str, Json]:
    """The scenario a page begins with."""
    demand, limits, owned = request.demand, request.limits, request.owned
    return {
        "demand": {
            "input_tokens": demand.input_tokens,
            "output_tokens": demand.output_tokens,
            "tokens_per_day": demand.tokens_per_day,
            "peak_factor": demand.peak_factor,
            "duty": demand.duty,
            "minimum_replicas": demand.minimum_replicas,
        },
        "limits": {
            "seconds_per_output_token": limits.seconds_per_output_token,
            "seconds_to_first_token": limits.seconds_to_first_token,
        },
        "api": None if request.api_usd_per_million is None else list(request.api_usd_per_million),
        "owned": None
        if owned is None
        else {
            "capital_usd": owned.capital_usd,
            "life_years": owned.life_years,
            "usd_per_kilowatt_hour": owned.usd_per_kilowatt_hour,
            "power_usage_effectiveness": owned.power_usage_effectiveness,
            "watts": owned.watts,
        },
    }


def _currency(request: Request) -> dict[str, Json]:
    return {"code": request.currency.code, "units_per_usd": float(request.currency.units_per_usd)}


def _rates(offered: Sequence[Rate | UnknownRate]) -> list[Json]:
    """Each way of paying once; owned hardware has inputs of its own and is left out."""
    found: dict[str, Json] = {}
    for rate in offered:
        if not isinstance(rate, Rate) or rate.option == OWNED:
            continue
        label = clean(label_of(rate))
        found.setdefault(
            label,
            {
                "label": label,
                "provenance": clean(rate.provenance),
                "low": rate.low,
                "usd_per_hour": rate.usd_per_hour,
                "high": rate.high,
            },
        )
    return list(found.values())


def _points(line: Line) -> list[Json]:
    return [[batch, found.low, found.median, found.high, found.confidence] for batch, found in line.points]


def _memory(memory: ServingMemory) -> dict[str, Json]:
    return {
        **asdict(memory.state),
        "constant_bytes": memory.constant_bytes,
        "step_bytes_per_sequence": memory.step_bytes_per_sequence,
        "capacity_bytes": memory.capacity_bytes,
    }


def _decode_model(model: DecodeRoofline | None) -> Json:
    if model is None:
        return None
    return {
        **asdict(model.state),
        "weight_bytes": model.weight_bytes,
        "flops": list(model.flops),
        "bytes_per_second": model.bytes_per_second,
        "flops_per_second": model.flops_per_second,
        "fixed_seconds": model.fixed_seconds,
        "fit": asdict(model.fit),
    }


def _prefill_model(model: PrefillRoofline | None) -> Json:
    return None if model is None else asdict(model)
