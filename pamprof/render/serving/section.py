"""The report's section on serving: the cost page for the usual demand, from the sweeps among the records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.serving.from_records import serving_curves
from pamprof.pricing.rates.hourly_rates import Rate
from pamprof.pricing.rates.price_choice import device_rates, offered_rates, stored_quote
from pamprof.pricing.serving.defaults import PERCENTILE, default_demand, default_limits
from pamprof.pricing.serving.study import Request, study
from pamprof.records.store import merged
from pamprof.render.serving.page_view import serving_page_view

if TYPE_CHECKING:
    from pamprof.pricing.rates.price_choice import PriceChoice
    from pamprof.records.store import RecordFile
    from pamprof.render.serving.page_view import ServingPageView


def serving_section(
    comparison: RecordFile, sweep: RecordFile, *, choice: PriceChoice | None = None
) -> ServingPageView | None:
    """What serving costs, as ``pamprof cost`` answers for the same sweep; None where it holds no curve.

    Equal records and prices give equal views: rates are shown with the day they were read, not with their age.

    Args:
        comparison: What stands in the report beside it: its price is this section's too, and it may hold perplexities
            and the training throughput that belongs to them. May be ``sweep`` itself.
        sweep: The records of sweeps alone.
        choice: What may be paid with beside the price the records hold; None: nothing.
    """
    curves = serving_curves(sweep.runs, sweep.skips)
    if not curves:
        return None
    together = sweep if comparison is sweep else merged((comparison, sweep))
    measured = {curve.environment.device_name: curve.environment for curve in curves}
    rates = {
        name: device_rates(found, stored_quote(name, comparison, sweep), choice) for name, found in measured.items()
    }
    offered = {} if choice is None else {name: offered_rates(choice.catalogue, measured[name]) for name in measured}
    found = study(
        curves,
        Request(demand=default_demand(), limits=default_limits(), percentile=PERCENTILE),
        rates,
        perplexities=[figure for session in together.sessions for figure in session.perplexities],
        runs=together.runs,
        layers=[facts for session in together.sessions for facts in session.layers],
    )
    beside = [run.workload for run in comparison.runs]
    view = serving_page_view(found, curves, offered=offered, sessions=together.sessions, beside=beside)
    if any(isinstance(rate, Rate) for ways in rates.values() for rate in ways):
        return view
    # One sentence says that there is no rate; pictures of dollars would each say it again.
    return replace(view, charts=tuple(chart for chart in view.charts if chart.panels))
