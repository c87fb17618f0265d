"""The tables behind a decision: crossovers by curve and by bytes, the front, the tornado, quality beside cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.run_cost import PAPER_RUN_TOKENS
from pamprof.pricing.serving.bill import STEADY
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import with_brackets

if TYPE_CHECKING:
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.quality import QualityRow
    from pamprof.pricing.serving.sensitivity import ChangedBill
    from pamprof.pricing.serving.study import ServingStudy, SizeClass, StudyArm

_TORNADO_ROWS = 10


def crossover_table(found: SizeClass, name: str) -> TableView | None:
    """Where the curves cross; None without a pair of arms."""
    crossings = found.crossings
    if crossings is None:
        return None
    rows = (
        ("a whole request, by prompt length", crossings.request),
        ("one decoded token, by context", crossings.decode),
        ("sequences that fit, by context", crossings.capacity),
    )
    return TableView(
        title=f"Crossover, {name}",
        summary=f"From which length {crossings.subject} needs less than {crossings.rival}, read off the curves.",
        columns=("what is compared", "tokens", "direction and range", "basis"),
        right=frozenset({1}),
        rows=tuple(
            (what, with_brackets(at.tokens), at.sentence, at.basis.value if at.first is not None else units.UNKNOWN)
            for what, at in rows
        ),
        notes=(),
    )


def formula_table(found: SizeClass, name: str) -> TableView | None:
    """Crossovers by bytes alone; None without both kinds of arm."""
    if not found.contexts:
        return None
    return TableView(
        title=f"Crossover by bytes, {name}",
        summary="Modelled: equal memory at S/kappa tokens of context, equal decode traffic at 2 S/kappa.",
        columns=("fixed state", "S", "cache", "kappa, bytes a token", "equal memory", "equal traffic"),
        right=frozenset({1, 3, 4, 5}),
        rows=tuple(
            (
                row.state,
                units.binary_bytes(row.state_bytes),
                row.cache,
                units.significant(row.cache_bytes_per_token, 6),
                units.significant(row.memory_tokens, 4),
                units.significant(row.traffic_tokens, 4),
            )
            for row in found.contexts
        ),
        notes=(),
        modelled=frozenset({4, 5}),
    )


def front_table(found: SizeClass, currency: Currency, name: str) -> TableView | None:
    """Cost against time per output token, of the two arms decided between; None where neither has a front."""
    rows = []
    decided = None if found.decision is None else {found.decision.subject, found.decision.rival}
    for arm in found.arms:
        if decided is not None and arm.deployment.curve.title not in decided:
            continue
        rate = next((bill.rate for bill in arm.deployment.bills), None)
        for point in arm.front:
            per_million = None
            if rate is not None:
                tokens = arm.deployment.demand.tokens_per_request
                per_million = point.device_seconds.median * rate.usd_per_hour / 3600 / tokens * 1e6
            rows.append(
                (
                    arm.deployment.curve.title,
                    units.whole(point.batch_size),
                    units.seconds(point.seconds_per_output_token.median),
                    currency.text(per_million),
                    point.basis.value,
                )
            )
    if not rows:
        return None
    return TableView(
        title=f"Cost against speed, {name}",
        summary=f"Batches that no other beats in both; {currency.code} per million tokens of working time.",
        columns=("arm", "batch", "per output token", "a million tokens", "basis"),
        right=frozenset({1, 2, 3}),
        rows=tuple(rows),
        notes=(),
    )


def sensitivity_table(found: SizeClass, currency: Currency, name: str) -> TableView | None:
    """The largest swings of the cheapest arm's bill; None where nothing is feasible."""
    arm = found.arms[0]
    if not arm.sensitivities:
        return None
    return TableView(
        title=f"What moves the bill, {name}",
        summary=(
            f"{arm.deployment.curve.title}: each input a fifth lower and a fifth higher, all else equal."
            f"{kept_words(arm)}"
        ),
        columns=("input", "bill, lower", "bill, higher", "per million, lower", "per million, higher", "basis"),
        right=frozenset({1, 2, 3, 4}),
        rows=tuple(
            (
                row.name,
                _bill(row.lower, currency),
                _bill(row.higher, currency),
                currency.text(row.lower.usage_usd_per_million_tokens),
                currency.text(row.higher.usage_usd_per_million_tokens),
                row.basis or units.UNKNOWN,
            )
            for row in arm.sensitivities[:_TORNADO_ROWS]
        ),
        notes=tuple(
            dict.fromkeys(
                f"{row.name}: {outcome.reason}"
                for row in arm.sensitivities[:_TORNADO_ROWS]
                for outcome in (row.lower, row.higher)
                if outcome.reason
            )
        ),
    )


def kept_words(arm: StudyArm) -> str:
    """What is presumed of changed inputs under load; empty in a steady batch."""
    if arm.deployment.held == STEADY:
        return ""
    return (
        f" Under load a device is taken to hold {units.percent(arm.deployment.held.median, 3)} of a steady batch's "
        "rate after the change, as before it."
    )


def quality_table(study: ServingStudy) -> TableView | None:
    """Perplexity beside cost; None where none is known."""
    if not study.quality:
        return None
    needed = next((row.needed for row in study.quality if row.needed is not None), None)
    goal = study.quality[0].goal
    return TableView(
        title="Quality beside cost",
        summary=f"Equal size is not equal quality. Modelled: what reaching perplexity {goal:.1f} would take.",
        columns=("layer", "perplexity", "parameters needed", "training cost", "tokens grown alike", "training run"),
        right=frozenset({1, 2, 3, 4, 5}),
        rows=tuple(_quality_row(row) for row in study.quality),
        notes=(
            *dict.fromkeys(f"Perplexity of {row.title}: {row.source}" for row in study.quality),
            *((f"Scaling: {needed.source}; {needed.limits}",) if needed is not None else ()),
            f"Training run: device-hours of {units.si(PAPER_RUN_TOKENS)} tokens at the fastest training measured",
        ),
        modelled=frozenset({2, 3, 4}),
    )


def _quality_row(row: QualityRow) -> tuple[str, ...]:
    needed = row.needed
    if row.perplexity == row.goal:
        factors = (units.ratio(1.0), units.ratio(1.0), units.ratio(1.0))
    elif needed is None:
        factors = ("no exponent known", units.UNKNOWN, units.UNKNOWN)
    else:
        factors = (
            units.ratio(needed.parameter_factor),
            units.ratio(needed.training_cost_factor),
            units.ratio(needed.training_cost_factor_with_tokens),
        )
    hours = f"{with_brackets(row.training_hours)} h" if row.training_hours is not None else "not measured"
    return (row.title, f"{row.perplexity:.1f}", *factors, hours)


def _bill(outcome: ChangedBill, currency: Currency) -> str:
    return currency.text(outcome.usd_per_month)
