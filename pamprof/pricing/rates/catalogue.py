"""The rates a report may use: the embedded snapshot, brought up to date by a refreshed list, or the user's own file.

Offline by default. A refreshed list (``pamprof prices refresh``) lies in the user's cache folder and replaces the
snapshot's rows of the providers it covers, unless its newest dated row is no newer than the snapshot's: after an
upgrade of pamprof an old refresh loses to the newer snapshot. A file the user names replaces everything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.devices.names import canonical_device, variants_of
from pamprof.errors import PriceError
from pamprof.pricing.sources.file import parse_prices, read_price_file

if TYPE_CHECKING:
    from datetime import date

    from pamprof.records import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Rates and where they came from.

    Attributes:
        prices: The rates, in the order of their source.
        origin: For people: the file, or the embedded snapshot, and what was laid over it.
    """

    prices: tuple[Price, ...]
    origin: str


def refreshed_path() -> Path:
    """Where a refreshed list lies: ``$XDG_CACHE_HOME/pamprof/prices.csv``, by default under ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The base directory specification says that a relative path is to be ignored.
    base = Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache"
    return base / "pamprof" / "prices.csv"


def embedded_prices() -> tuple[Price, ...]:
    """The rates that come with the package."""
    text = resources.files("pamprof.pricing.rates").joinpath("snapshot.csv").read_text(encoding="utf-8")
    return parse_prices(text, name="snapshot.csv (embedded)")


def load_catalogue(path: Path | None = None) -> Catalogue:
    """The rates to choose from.

    Args:
        path: The user's own CSV file (columns as in ``pamprof.pricing.sources.file``); None for the embedded snapshot
            with a newer refreshed list laid over it.

    Raises:
        PriceError: The file, or the refreshed list, cannot be read or holds a row that cannot be true.
    """
    if path is not None:
        return Catalogue(prices=read_price_file(path), origin=str(path))
    snapshot = embedded_prices()
    newest = _newest_day(snapshot)
    refreshed_file = refreshed_path()
    if not refreshed_file.is_file():
        return Catalogue(prices=snapshot, origin="embedded snapshot")
    try:
        refreshed = read_price_file(refreshed_file)
    except PriceError as exc:
        raise PriceError(f"{exc}; this is the refreshed list: delete it, or refresh it again") from exc
    day = _newest_day(refreshed)
    if day is not None and newest is not None and day <= newest:
        origin = f"embedded snapshot ({refreshed_file} is not newer and was left aside)"
        return Catalogue(prices=snapshot, origin=origin)
    # Rates of a provider are replaced as a whole, so that one provider is never priced on two different days.
    covered = {price.provider for price in refreshed}
    kept = tuple(price for price in snapshot if price.provider not in covered)
    providers = ", ".join(sorted(covered))
    origin = f"{refreshed_file} of {day or 'unknown day'} for {providers}; embedded snapshot for the rest"
    return Catalogue(prices=refreshed + kept, origin=origin)


def list_prices(catalogue: Catalogue, gpu: str | None = None, provider: str | None = None) -> tuple[Price, ...]:
    """The rows of a device and a provider, cheapest device-hour first within each device.

    Args:
        catalogue: Where to look.
        gpu: Any spelling of a device, complete (``H100-SXM``) or of a family (``H100``); None for every device.
        provider: The provider's name, capitals ignored; None for every provider.
    """
    devices = None
    if gpu is not None:
        devices = {name.casefold() for name in (canonical_device(gpu) or gpu, *variants_of(gpu))}
    chosen = (
        price
        for price in catalogue.prices
        if (devices is None or price.device_name.casefold() in devices)
        and (provider is None or price.provider.casefold() == provider.casefold())
    )
    return tuple(
        sorted(
            chosen, key=lambda row: (row.device_name, row.usd_per_device_hour, row.provider, row.instance, row.region)
        )
    )


def _newest_day(prices: tuple[Price, ...]) -> date | None:
    return max((price.observed_on for price in prices if price.observed_on is not None), default=None)
