"""A load study as sentences and tables: what users wait, what one device holds, what the fleet costs, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.prefixes import PREFIX_POLICY
from pamprof.pricing.serving.fleet import CONSTANT_DEMAND
from pamprof.render.formats.table_view import TableView
from pamprof.render.serving.bill_table import OPEN, market_words, money
from pamprof.render.simulation.crossings import crossing_sentences, crossing_table
from pamprof.render.simulation.differences import difference
from pamprof.render.simulation.export import open_end
from pamprof.render.simulation.measured_view import measured_table
from pamprof.render.text import cleaned, device_label, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.simulation.measured_elsewhere import MeasuredCurve
    from pamprof.analysis.simulation.metrics import Percentiles
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.load_crossings import LoadCrossing
    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadStudy

TIME_COLUMNS = (
    "arm", "requests/s a replica", "to first token p50", "p95", "p99", "per output token p50", "p95", "p99",
    "end to end p50", "p95", "p99", "good requests/s", "busy", "sequences a step", "preempted, refused",
)  # fmt: skip
_TIME_LABELS = tuple(
    f"{TIME_COLUMNS[at - (at - 2) % 3].removesuffix(' p50')} {name}" if name in ("p95", "p99") else name
    for at, name in enumerate(TIME_COLUMNS)
)
FLEET_COLUMNS = (
    "arm", "highest rate a replica", "held back by", "replicas", "a month", "over the market", "steady: replicas",
    "steady: a month", "basis",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadView:
    """What is shown: a heading, what was asked for, doubts, a sentence an arm and a pair, tables, how it was made."""

    title: str
    asked: str
    alerts: tuple[str, ...]
    differences: tuple[str, ...]
    crossings: tuple[str, ...]
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]


def load_view(
    study: LoadStudy,
    currency: Currency,
    *,
    alerts: Sequence[str] = (),
    seed: int,
    crossings: Sequence[LoadCrossing] = (),
    measured: Sequence[MeasuredCurve] = (),
) -> LoadView:
    """The whole answer, beside what was ``measured`` elsewhere, clean of acting characters."""
    crossed = crossing_table(crossings)
    further = () if crossed is None else (crossed,)
    elsewhere = (measured_table(measured, study.question),) if measured else ()
    return cleaned(
        LoadView(
            title="Serving under load (simulated)",
            asked=asked_words(study),
            alerts=tuple(alerts),
            differences=tuple(difference(arm, study.question, currency) for arm in study.arms),
            crossings=crossing_sentences(study, crossings),
            tables=(_times(study), _fleets(study, currency), *further, *elsewhere),
            notes=_notes(study, currency, seed),
        )
    )


def asked_words(study: LoadStudy) -> str:
    """The question in a sentence."""
    question = study.question
    requests, level = question.requests, question.level
    day = (
        ""
        if question.profile == CONSTANT_DEMAND
        else f" on the day's mean, {units.ratio(question.profile.peak_factor)} in the busiest hour"
    )
    come = f" {requests.arrival_words}" if requests.arrival_words else ""
    varied = f", {requests.length_words}" if requests.length_words else ""
    return (
        f"{units.significant(requests.per_second)} requests a second{come}{day}, of "
        f"{_mean(requests.mean_input_tokens)} input and {_mean(requests.mean_output_tokens)} output tokens in the mean"
        f"{varied}; at percentile "
        f"{level.percentile:g} at most {units.seconds(level.limits.seconds_to_first_token)} to the "
        f"first token and {units.seconds(level.limits.seconds_per_output_token)} per output token."
    )


def _mean(tokens: float) -> str:
    return units.tokens(round(tokens))


def _times(study: LoadStudy) -> TableView:
    hour = "" if study.question.profile == CONSTANT_DEMAND else " in the busiest hour"
    return TableView(
        title="What users wait",
        summary=f"One replica at its share of the requests{hour}, at the medians of the step times.",
        columns=TIME_COLUMNS,
        labels=_TIME_LABELS,
        right=frozenset(range(1, len(TIME_COLUMNS))),
        rows=tuple(_time_row(arm) for arm in study.arms),
        notes=tuple(_interval_words(arm, study) for arm in study.arms if arm.metrics is not None),
    )


def _time_row(arm: ArmUnderLoad) -> tuple[str, ...]:
    found = arm.metrics
    if found is None:
        return (arm.title, *[units.UNKNOWN] * (len(TIME_COLUMNS) - 1))
    return (
        arm.title,
        units.significant(found.requests_per_second),
        *_three(found.seconds_to_first_token),
        *_three(found.seconds_per_output_token),
        *_three(found.end_to_end_seconds),
        units.significant(found.good_requests_per_second),
        units.percent(found.busy_ratio),
        units.significant(found.mean_batch),
        f"{units.whole(found.preemptions)}, {units.whole(found.refused)}",
    )


def _three(found: Percentiles) -> tuple[str, str, str]:
    return units.seconds(found.p50), units.seconds(found.p95), units.seconds(found.p99)


def _interval_words(arm: ArmUnderLoad, study: LoadStudy) -> str:
    """The level's two times at both ends of the step times' intervals."""

    def ends(of: str) -> str:
        values: list[float | None] = [getattr(arm.busiest[end], of) for end in (End.FAST, End.SLOW)]
        return " to ".join(units.seconds(value) for value in values)

    return (
        f"{arm.title}: at percentile {study.question.level.percentile:g} to the first token "
        f"{ends('level_seconds_to_first_token')}, per output token {ends('level_seconds_per_output_token')}, with all "
        "step times at the fast and at the slow end of their intervals"
    )


def _fleets(study: LoadStudy, currency: Currency) -> TableView:
    return TableView(
        title="What one device holds, and what the demand costs",
        summary=(
            f"{currency.code} for 730 hours, [interval of the step times]; beside it the same demand in a steady "
            "batch, every device in full use, as pamprof cost --steady has it."
        ),
        columns=FLEET_COLUMNS,
        right=frozenset({1, 3, 4, 5, 6, 7}),
        rows=tuple(_fleet_row(arm, currency) for arm in study.arms),
        notes=(
            *(f"{arm.title}: {arm.refusal}" for arm in study.arms if arm.refusal),
            *(
                f"{arm.title}: {open_end(arm, end)}, so that replicas and bill are open above"
                for arm in study.arms
                for end in arm.open_ends
            ),
            *(
                f"{arm.title}: in a steady batch {arm.steady.point.sentence}; it asks for the request of mean lengths"
                for arm in study.arms
                if isinstance(arm.steady.point, Refusal) and not arm.refusal
            ),
        ),
    )


def _fleet_row(arm: ArmUnderLoad, currency: Currency) -> tuple[str, ...]:
    highest, fleet, market, bill = arm.highest_per_second, arm.fleet, arm.market_usd_per_month, arm.steady.bill
    point = arm.steady.point
    steady = (
        (point.sentence.partition(":")[0] if isinstance(point, Refusal) else units.UNKNOWN, units.UNKNOWN)
        if bill is None
        else (units.whole(bill.served.replica_count), currency.text(bill.served.usd_per_month))
    )
    if highest is None or fleet is None:
        return (arm.title, units.UNKNOWN, arm.refusal.partition(",")[0], *[units.UNKNOWN] * 3, *steady, units.UNKNOWN)
    rates = f"{units.significant(highest.median)}/s"
    if highest.low < highest.high:
        rates += f" [{units.significant(highest.low)}, {units.significant(highest.high)}]"
    usd = arm.usd_per_month
    return (
        arm.title,
        rates,
        arm.highest[End.MEDIAN].bound,
        _replica_words(arm),
        units.UNKNOWN if usd is None else money(usd, currency),
        units.UNKNOWN if market is None else market_words(market, currency),
        *steady,
        units.UNKNOWN if arm.basis is None else arm.basis.value,
    )


def _replica_words(arm: ArmUnderLoad) -> str:
    """``3``, ``1 to 4`` over the day, with the busiest hour's at the ends of the interval."""
    fleet = arm.fleet
    if fleet is None:
        return units.UNKNOWN
    largest, smallest = units.whole(fleet.largest), units.whole(fleet.smallest)
    day = largest if smallest == largest else f"{smallest} to {largest}"
    ends = sorted(found.largest for found in arm.fleets.values())
    if arm.open_ends:
        return f"{day} [{units.whole(ends[0])}, {OPEN}]"
    return day if ends[0] == ends[-1] else f"{day} [{units.whole(ends[0])}, {units.whole(ends[-1])}]"


def _prefix_words(study: LoadStudy) -> tuple[str, ...]:
    """What prompts have in common, how it is kept, and the bytes that takes."""
    import numpy as np

    requests = study.question.requests
    if requests.prefixes is None:
        return ()
    with_one = requests.prefixes[requests.prefixes >= 0]
    kept = [
        f"{arm.title} {units.binary_bytes(arm.loaded.prefix_bytes)}" for arm in study.arms if arm.loaded is not None
    ]
    return (
        f"{units.percent(len(with_one) / len(requests))} of the prompts begin with one of "
        f"{units.whole(len(np.unique(with_one)))} prefixes of {units.tokens(requests.prefix_tokens)} tokens. Each "
        f"is read with its first prompt and kept from then on ({PREFIX_POLICY}, never given up), in bytes set aside "
        f"from the start: {', '.join(kept)}. Caches share a prefix's pages, so that a sequence holds only its own "
        "tokens; a fixed state is copied, which takes no time here. A decode step reads the whole context as before",
    )


def server_words(arm: str, largest_batch: int, chunk_tokens: int, cache_policy: str | None) -> str:
    """How a server is run; ``cache_policy`` is None where states are fixed."""
    kept = "fixed states that cannot outgrow the memory" if cache_policy is None else f"caches by {cache_policy}"
    return (
        f"{arm}: up to {plural(largest_batch, 'sequence')} at once, {units.whole(chunk_tokens)} prompt tokens a step, "
        f"{kept}"
    )


def _notes(study: LoadStudy, currency: Currency, seed: int) -> tuple[str, ...]:
    question = study.question
    curves = [arm.steady.curve for arm in study.arms]
    sessions = sorted({run.session_id for curve in curves for run in curve.runs})
    devices = sorted({device_label(curve.runs[0].environment) for curve in curves})
    rates = dict.fromkeys(
        f"{arm.rate.option}: {currency.rate_text(arm.rate.usd_per_hour)} a device-hour; {arm.rate.provenance}"
        for arm in study.arms
        if arm.rate is not None
    )
    unpaid = dict.fromkeys(f"no rate is known: {arm.rate_refusal}" for arm in study.arms if arm.rate_refusal)
    servers = [
        server_words(
            arm.title,
            arm.loaded.largest_batch,
            arm.loaded.chunk_tokens,
            arm.loaded.policy.value if arm.steady.curve.runs[0].memory.state_kind == "kv-cache" else None,
        )
        for arm in study.arms
        if arm.loaded is not None
    ]
    counted = len(question.requests) - question.requests.measured_from
    return (
        *rates,
        *unpaid,
        *([currency.sentence] if currency.sentence else []),
        *servers,
        *_prefix_words(study),
        f"{plural(len(question.requests), 'request')} at each rate, the same ones for every arm and rate (seed "
        f"{seed}), the last {units.whole(counted)} counted; the highest rate is found to 1 %, and lies up to a few "
        "percent high where few requests fill the batch: give more by --requests",
        "Intervals are those of the step times; another --seed draws other requests, and answers differ a little",
        "A step reads prompts and then decodes, and takes both times, as pamprof cost adds them; a server that "
        "computes both in one pass may be faster",
        "A device that decodes for a few sequences is busy, too: only the highest rate says how much more it holds",
        "Requests go to replicas at random; a router that knows their queues does better. Network, tokenising and "
        "scheduling take no time here",
        f"Step times are those of pamprof cost: measured on {', '.join(devices)}, sessions {', '.join(sessions)}",
    )
