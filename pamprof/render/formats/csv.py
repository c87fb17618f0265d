"""``measurements.csv``: one row a run, units in the column names, FOCUS names for the price columns.

Rows of other machines than the one a report tells of come after its own, each with the ratios of its machine. A run of
another environment that joins the report's machine by its ratio is one row, among those of that machine.

Billing columns are named after the FinOps Open Cost and Usage Specification (FOCUS 1.x, focus.finops.org):
BillingCurrency, ProviderName, ResourceType, RegionId, PricingCategory, PricingUnit, ListUnitPrice, EffectiveCost. Here
EffectiveCost is per million tokens, as ``effective_cost_unit`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import processes_of
from pamprof.analysis.comparison.machines import by_machine, machine_of
from pamprof.pricing.rates.hourly_rates import pricing_category
from pamprof.render.comparison.inputs import gather, gather_machine
from pamprof.render.comparison.metrics import csv_values
from pamprof.render.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas import DataFrame

    from pamprof.analysis.comparison.machines import MachineKey
    from pamprof.analysis.comparison.results import Comparison, PointAnalysis, RoofPlace, Summary
    from pamprof.analysis.comparison.story import Analysis
    from pamprof.records import Interval, PriceQuote
    from pamprof.records.store import RecordFile
    from pamprof.render.comparison.inputs import ReportInputs

Value = str | int | float | bool | None

# Columns by what they hold, for those of which nothing is known.
_YES_OR_NO = ("power_coupled", "paired", "energy_valid")
_WHOLE = ("_count", "_bytes", "_per_step", "_width")
_FRACTIONS = ("_ratio", "_seconds", "_per_token", "_median", "_low", "_high", "_rate", "Price", "Cost")

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def for_spreadsheets(text: str) -> str:
    """CSV text that a spreadsheet decodes as UTF-8: a byte order mark in front of anything beyond ASCII."""
    return text if text.isascii() else f"\ufeff{text}"


def guard(text: str) -> str:
    """``text`` so that no spreadsheet takes it for a formula: control characters replaced, an apostrophe in front."""
    return f"'{clean(text)}" if text.startswith(_FORMULA_STARTS) else clean(text)


def measurements_csv(
    records: RecordFile,
    analysis: Analysis,
    *,
    quote: PriceQuote | None = None,
    quote_unknown_reason: str | None = None,
) -> str:
    """The file's text. Unknown numbers are empty cells, their reasons stand in ``unknown_reasons``."""
    import pandas as pd

    rows = _rows(records, analysis, quote, quote_unknown_reason, text=guard)
    frame = pd.DataFrame.from_records(rows, columns=list(rows[0]) if rows else ["key"])
    return for_spreadsheets(str(frame.convert_dtypes().to_csv(index=False, lineterminator="\n")))


def measurements(records: RecordFile, analysis: Analysis, *, quote: PriceQuote | None = None) -> DataFrame:
    """The same as a frame; an unknown value is ``NA``, and a column has its type even where all of it is unknown."""
    import pandas as pd

    rows = _rows(records, analysis, quote, None, text=clean)
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    types = {name: _dtype(name, values) for name, values in columns.items()}
    return pd.DataFrame(columns, dtype="object").astype(types)


def _rows(
    records: RecordFile,
    analysis: Analysis,
    quote: PriceQuote | None,
    quote_unknown_reason: str | None,
    *,
    text: Callable[[str], str],
) -> list[dict[str, Value]]:
    told = gather(records, analysis, quote=quote, quote_reason=quote_unknown_reason)
    machine = None if told.environment is None else machine_of(told.environment)
    others = (
        gather_machine(part, told.environment, quote=quote, quote_reason=quote_unknown_reason)
        for part in by_machine(records).values()
        if machine_of(part.runs[0].environment) != machine
    )
    rows: dict[tuple[MachineKey, str], dict[str, Value]] = {}  # what joined the machine told of has its row there
    for inputs in (told, *others):
        for point in inputs.analysis.points:
            for s in point.summaries:
                measured = machine_of(s.run.environment), s.workload.key
                if measured not in rows:
                    rows[measured] = _row(inputs, point, s)
    return [
        {name: text(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows.values()
    ]


def _dtype(name: str, values: Sequence[Value]) -> str:
    """The nullable type of a column: that of its values, and by its name where there is none."""
    kinds = {type(value) for value in values if value is not None}
    if kinds:
        by_kind = ((str, "string"), (bool, "boolean"), (float, "Float64"))
        return next((dtype for kind, dtype in by_kind if kind in kinds), "Int64")
    if name in _YES_OR_NO:
        return "boolean"
    return "Int64" if name.endswith(_WHOLE) else "Float64" if name.endswith(_FRACTIONS) else "string"


def _joined(values: tuple[str, ...] | None) -> str | None:
    """Texts in one cell; an empty cell where nothing was recorded."""
    return None if values is None else "; ".join(values)


def _row(inputs: ReportInputs, point: PointAnalysis, summary: Summary) -> dict[str, Value]:
    run = summary.run
    workload, spec, environment = run.workload, run.workload.spec, run.environment
    comparison = point.comparison_of(summary.workload)
    energy = run.monitor.energy if run.monitor is not None else None
    rung = next((s for s in point.ladder.steps if s.workload == workload), None) if point.ladder is not None else None
    return {
        "key": workload.key,
        "layer": spec.layer,
        "implementation": workload.implementation,
        "execution": str(workload.execution),
        "phase": str(workload.phase),
        "scope": str(workload.scope),
        "batch_size": workload.batch_size,
        "sequence_length_tokens": workload.sequence_length,
        "dtype": str(workload.dtype),
        "model_dim": spec.model_dim,
        "heads": spec.heads,
        "head_dim": spec.head_dim,
        "depth": spec.depth,
        "hidden_dim": spec.hidden_dim,
        "vocabulary_size": spec.vocabulary_size,
        "maximum_sequence_length_tokens": spec.maximum_sequence_length,
        "activation": spec.activation,
        "chunk_size_tokens": spec.chunk_size,
        "dropout": spec.dropout,
        "parameter_count": run.parameter_count,
        "session_id": run.session_id,
        "group_id": run.group_id,
        "started_at": run.started_at,
        "device_name": environment.device_name,
        "driver_version": environment.driver_version,
        "torch_version": environment.torch_version,
        "pamprof_version": environment.pamprof_version,
        "steps_per_sample": run.timing.steps_per_sample,
        "stop_reason": str(run.timing.stop_reason),
        **csv_values(inputs, point, summary),
        **_interval("sampled_step", "seconds", summary.sampled_step_seconds),
        **_interval("device_step", "seconds", summary.device_seconds),
        **_interval("matrix_flops_per_second", "", summary.flops_per_second),
        **_interval("model_flops_utilisation", "ratio", summary.model_flops_utilisation),
        **_roof(summary.roof),
        "confidence": summary.step_seconds.confidence,
        "baseline_key": point.baseline.workload.key,
        "flops_against_baseline_ratio": comparison.flop_ratio if comparison else None,
        **_interval("efficiency_against_baseline", "ratio", comparison.efficiency_ratio if comparison else None),
        "ladder_rung": rung.label if rung else None,
        **_interval("ladder_factor", "ratio", rung.factor if rung else None),
        "verdict": str(comparison.verdict) if comparison else "baseline",
        "paired": comparison.paired if comparison else None,
        "matrix_flop_count_per_step": run.flops.matrix_flop_count,
        "recomputed_matrix_flop_count_per_step": run.flops.recomputed_matrix_flop_count,
        "elementwise_flop_count_per_step": run.flops.elementwise_flop_count,
        "flop_count_complete": run.flops.complete,
        "operator_count_per_step": run.flops.operator_count,
        "kernel_byte_count_per_step": run.flops.kernel_byte_count,
        "attention_operators": _joined(run.flops.attention_operators),
        "logits_width": run.logits_width,
        "parameter_bytes": run.memory.parameter_bytes,
        "gradient_bytes": run.memory.gradient_bytes,
        "optimizer_bytes": run.memory.optimizer_bytes,
        "saved_activation_bytes": run.memory.saved_activation_bytes,
        "state_bytes": run.memory.state_bytes,
        "state_kind": run.memory.state_kind,
        "transient_bytes": run.memory.transient_bytes,
        "short_lived_bytes": run.memory.short_lived_bytes,
        "workspace_bytes": run.memory.workspace_bytes,
        "unaccounted_bytes": run.memory.unaccounted_bytes,
        "process_peak_bytes": run.memory.process_peak_bytes,
        "energy_valid": energy.valid if energy is not None else None,
        "oracle_relative_error": run.gate.relative_error,
        "doubts": "; ".join(str(doubt.kind) for doubt in summary.doubts),
        "notes": "; ".join(run.notes),
        "kernel_shares": "; ".join(f"{share.share_ratio:.3g} {share.kernel}" for share in run.kernel_shares or ()),
        "kernel_configurations": _joined(run.kernel_configurations),
        "refused_configurations": _joined(run.refused_configurations),
        "unknown_reasons": "; ".join(f"{u.field}: {u.reason}" for u in run.unknowns),
        **_price(inputs, summary),
        **_processes(summary, comparison),
        "effort": None if (effort := inputs.efforts.get(run.session_id)) is None else str(effort),
        "unreadable_line_count": len(inputs.records.problems),
    }


def _processes(summary: Summary, comparison: Comparison | None) -> dict[str, Value]:
    ratios = None if comparison is None else comparison.processes
    return {
        "processes": ratios.process_count if ratios else len(processes_of(summary.run)),
        "paired_ratio": ratios.paired.median if ratios else None,
        "alone_ratio": ratios.alone.median if ratios and ratios.alone else None,
        "power_coupled": ratios.power_coupled if ratios else None,
        "process_spread_ratio": ratios.spread_ratio if ratios else None,
    }


def _interval(name: str, unit: str, interval: Interval | None) -> dict[str, Value]:
    ending = f"_{unit}" if unit else ""
    return {
        f"{name}_median{ending}": interval.median if interval else None,
        f"{name}_low{ending}": interval.low if interval else None,
        f"{name}_high{ending}": interval.high if interval else None,
    }


def _roof(place: RoofPlace | None) -> dict[str, Value]:
    ceiling, missing = (None, None) if place is None else (place.ceiling, place.missing_ceiling)
    return {
        "roof_ceiling": None if ceiling is None else str(ceiling),
        "roof_missing_ceiling": None if missing is None else str(missing),
        "least_read_bytes_per_step": None if place is None else place.read_bytes,
        "least_write_bytes_per_step": None if place is None else place.write_bytes,
    }


def _price(inputs: ReportInputs, summary: Summary) -> dict[str, Value]:
    cost = inputs.cost(summary)
    rate = cost.price if cost is not None else None
    return {
        "BillingCurrency": "USD" if rate is not None else None,
        "ProviderName": rate.provider if rate else None,
        "ResourceType": rate.instance if rate else None,
        "RegionId": rate.region if rate else None,
        "PricingCategory": pricing_category(rate.purchase_option) if rate else None,
        "PricingUnit": "Hours" if rate else None,
        "ListUnitPrice": float(rate.usd_per_device_hour) if rate else None,
        "EffectiveCost": cost.usd_per_million_tokens.median if cost else None,
        "effective_cost_unit": "USD per million tokens" if cost else None,
        "usd_per_million_tokens_low": cost.usd_per_million_tokens.low if cost else None,
        "usd_per_million_tokens_high": cost.usd_per_million_tokens.high if cost else None,
        "usd_per_million_tokens_lowest_rate": cost.at_lowest_rate.median if cost else None,
        "usd_per_million_tokens_highest_rate": cost.at_highest_rate.median if cost else None,
        "cost_basis": str(cost.basis) if cost else None,
        "purchase_option": rate.purchase_option if rate else None,
        "price_observed": (rate.observed_text or None) if rate else None,
        "price_source": rate.source if rate else None,
        "price_unknown_reason": None if rate else inputs.quote_reason,
        "priced_vcpu_count": rate.used_vcpu_count if rate else None,
        "machine_vcpu_count": rate.vcpu_count if rate else None,
        "machine_choice": cost.quote.machine_choice if cost else None,
    }
