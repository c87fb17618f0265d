"""Why a simulation and a steady batch differ, in one sentence an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.simulation.arm import mean_traffic
from pamprof.analysis.simulation.highest_rate import THROUGHPUT
from pamprof.analysis.simulation.measured_times import End
from pamprof.render.text import plural

if TYPE_CHECKING:
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadQuestion

# Rates that differ by less are the same in these sentences: they are found to 1 %.
_SAME_WITHIN = 0.02


def difference(arm: ArmUnderLoad, question: LoadQuestion, currency: Currency) -> str:
    """What the load changes: the rate a device holds, the replicas and bill, and what users wait."""
    highest, metrics, steady = arm.highest_per_second, arm.metrics, arm.steady
    if highest is None or metrics is None:
        return f"{arm.title} is {arm.refusal}"
    rate = f"one device holds {units.significant(highest.median)} requests a second"
    if isinstance(steady.point, Refusal):
        rate += (
            f" within the limits at percentile {question.level.percentile:g}, although the request of mean lengths is "
            f"{steady.point.sentence}"
        )
        return f"{arm.title}: {rate}; {_waiting(arm, question)}."
    full = 1 / steady.point.device_seconds.median
    share = highest.median / full
    rate += (
        f", {units.percent(share, 3)} of the {units.significant(full)} of a steady batch of "
        f"{units.whole(steady.point.batch_size)}"
    )
    if metrics.reused_ratio and share > 1:
        rate += (
            f", as {units.percent(metrics.reused_ratio)} of the prompts' tokens lie in kept prefixes and are not read"
        )
    elif share >= 1 - _SAME_WITHIN and arm.highest[End.MEDIAN].bound == THROUGHPUT:
        rate = f"the limits cost next to nothing: {rate}"
    else:
        rate += f", because {_reason(arm, question)}"
    return f"{arm.title}: {rate}; {_bill(arm, currency)}; {_waiting(arm, question)}."


def _reason(arm: ArmUnderLoad, question: LoadQuestion) -> str:
    point, loaded = arm.steady.feasible, arm.loaded
    if point is not None and loaded is not None and loaded.largest_batch < point.batch_size:
        return f"no more than {plural(loaded.largest_batch, 'sequence')} may be served at once"
    found = arm.highest[End.MEDIAN]
    if found.bound != THROUGHPUT:
        level = f"percentile {question.level.percentile:g}"
        return f"beyond it the {found.bound} at {level} is missed, where a steady batch has no queue and no bursts"
    return f"{_lengths(arm, question)}prompts come in chunks, each with its own fixed time"


def _lengths(arm: ArmUnderLoad, question: LoadQuestion) -> str:
    """What lengths that vary do to a cache: most tokens belong to long requests, and are decoded at long contexts."""
    if arm.steady.curve.runs[0].memory.state_kind != "kv-cache":
        return ""
    varied, steady = round(question.requests.mean_decode_context), mean_traffic(question.requests).mean_context
    if varied <= (1 + _SAME_WITHIN) * steady:
        return ""
    return (
        f"lengths vary, so that a token is decoded at {units.tokens(varied)} tokens of context in the mean and not "
        f"{units.tokens(steady)}, and "
    )


def _bill(arm: ArmUnderLoad, currency: Currency) -> str:
    bill, fleet, usd = arm.steady.bill, arm.fleet, arm.usd_per_month
    if bill is None or fleet is None or usd is None:
        return "no rate is known, so there is no bill"
    ours, theirs = fleet.largest, bill.served.replica_count
    amount, steady = currency.text(usd.median), currency.text(bill.served.usd_per_month)
    if ours == theirs and usd.median == bill.served.usd_per_month:
        return f"{plural(ours, 'replica')} and {amount} a month either way"
    if ours == theirs:
        return (
            f"{plural(ours, 'replica')} at most either way, but {amount} a month in place of {steady}, as quiet hours "
            "rent fewer"
        )
    return f"{plural(ours, 'replica')} and {amount} a month in place of {units.whole(theirs)} and {steady}"


def _waiting(arm: ArmUnderLoad, question: LoadQuestion) -> str:
    point, metrics = arm.steady.feasible, arm.metrics
    if metrics is None:
        return "waiting unknown"
    level = f"p{question.level.percentile:g}"
    first = units.seconds(metrics.level_seconds_to_first_token)
    full, found = None if point is None else point.seconds_to_first_token, metrics.level_seconds_to_first_token
    steady = "" if full is None else f" against {units.seconds(full.median)} modelled for a device in full use"
    if point is not None and full is not None and found is not None:
        full_batch = units.whole(point.batch_size)
        carried = f"a step carries {units.significant(metrics.mean_batch)} sequences in the mean and not {full_batch}"
        steady += f", as {carried}" if found <= full.median else ", as prompts queue where requests come close together"
    held = "" if metrics.holds else ", which misses the level"
    rate = units.significant(metrics.requests_per_second)
    return f"at {rate}/s a replica the first token comes within {first} ({level}){steady}{held}"
