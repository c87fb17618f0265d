"""Dollars per million tokens on a GPU that was not measured: a predicted throughput at that GPU's own rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import PriceError
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.run_cost import cost_per_million_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.prediction.predict import Prediction
    from pamprof.pricing.rates.catalogue import Catalogue
    from pamprof.records import Interval, PriceQuote


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPrediction:
    """A prediction with the rate of its GPU: ``usd_per_million_tokens`` is None without a rate or a throughput."""

    prediction: Prediction
    quote: PriceQuote | None
    usd_per_million_tokens: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPredictions:
    """Predictions in order, and why GPUs have no rate, a sentence each."""

    rows: tuple[PricedPrediction, ...]
    unpriced: tuple[str, ...]


def priced(
    predictions: Sequence[Prediction],
    catalogue: Catalogue,
    *,
    provider: str | None = None,
    purchase_option: str = "on-demand",
) -> PricedPredictions:
    """``predictions`` at the rates of their GPUs, the median provider's unless one is named."""
    quotes: dict[str, PriceQuote | None] = {}
    unpriced = []
    for gpu in dict.fromkeys(each.gpu for each in predictions):
        try:
            quotes[gpu] = quote(catalogue, gpu, provider=provider, purchase_option=purchase_option, device_kind="cuda")
        except PriceError as error:
            quotes[gpu] = None
            unpriced.append(f"no dollars for the {gpu}: {error}")
    return PricedPredictions(rows=tuple(_row(each, quotes[each.gpu]) for each in predictions), unpriced=tuple(unpriced))


def _row(prediction: Prediction, rate: PriceQuote | None) -> PricedPrediction:
    tokens = prediction.tokens_per_second
    dollars = None
    if rate is not None and tokens is not None:
        dollars = cost_per_million_tokens(rate, tokens).usd_per_million_tokens
    return PricedPrediction(prediction=prediction, quote=rate, usd_per_million_tokens=dollars)
