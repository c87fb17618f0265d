"""Comparable rates in order, and where the chosen one stands among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import PriceQuote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from pamprof.records import MachineChoice, Price


def rank_key(price: Price) -> tuple[Decimal, str, str, str]:
    """Cheapest device-hour first; equal rates by name, so that the order of a file decides nothing."""
    return (price.usd_per_device_hour, price.provider, price.instance, price.region)


def ranked_quote(rows: Iterable[Price], chosen: Price, machine_choice: MachineChoice | None = None) -> PriceQuote:
    """The quote of ``chosen`` among ``rows``, each counted once; equal rates share a rank."""
    ranked = sorted(dict.fromkeys((*rows, chosen)), key=rank_key)
    return PriceQuote(
        chosen=chosen,
        low=ranked[0],
        high=ranked[-1],
        candidate_count=len(ranked),
        machine_choice=machine_choice,
        rank=1 + sum(row.usd_per_device_hour < chosen.usd_per_device_hour for row in ranked),
    )
