"""The rates a report may use: the embedded snapshot, brought up to date by a refreshed list, or the user's own file.

Offline by default. A refreshed list (``pamprof prices refresh``) lies in the user's cache folder and replaces the
snapshot's rows of each device that a provider rents in it, unless its newest dated row is no newer than the snapshot's:
after an upgrade of pamprof an old refresh loses to the newer snapshot. A file the user names replaces everything. Rows
that ``pamprof prices check`` finds at fault are refused wherever a list is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from pamprof.caches import base_folder, cache_folder
from pamprof.devices.names import CPU, canonical_device, resolve_device, variants_of
from pamprof.errors import PriceError
from pamprof.pricing.rates.price_file import parse_prices, read_price_file
from pamprof.pricing.rates.processors import is_cpu_machine, usd_per_vcpu_hour
from pamprof.pricing.rates.validate import refuse_faults

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal
    from pathlib import Path

    from pamprof.records import Price

_REFRESHED = "prices.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Rates and where they came from.

    Attributes:
        prices: The rates, in the order of their source.
        origin: For people: the file, or the embedded snapshot, and what was laid over it.
    """

    prices: tuple[Price, ...]
    origin: str


def refreshed_path() -> Path | None:
    """Where a refreshed list lies: ``$XDG_CACHE_HOME/pamprof/prices.csv``, by default under ``~/.cache``.

    Where that cannot be read or written, a folder of this user among temporary files; None where there is none either.
    """
    base = base_folder("XDG_CACHE_HOME", ".cache")
    own = None if base is None else base / "pamprof"
    if own is not None and can_be_read(own / _REFRESHED):
        return own / _REFRESHED
    folder = cache_folder(own, "prices")
    return None if folder is None else folder / _REFRESHED


def can_be_read(file: Path) -> bool:
    """Whether there is a file that this user may read; a folder above it may be closed to them."""
    return os.path.isfile(file) and os.access(file, os.R_OK)


def embedded_prices() -> tuple[Price, ...]:
    """The rates that come with the package: GPUs, then CPU machines."""
    folder = resources.files("pamprof.pricing.rates")
    return tuple(
        price
        for name in ("snapshot.csv", "cpu_machines.csv")
        for price in parse_prices(folder.joinpath(name).read_text(encoding="utf-8"), name=f"{name} (embedded)")
    )


def load_catalogue(path: Path | None = None, *, checked: bool = True) -> Catalogue:
    """The rates to choose from.

    Args:
        path: The user's own CSV file (columns as in ``pamprof.pricing.rates.price_file``); None for the embedded
            snapshot with a newer refreshed list laid over it.
        checked: Refuse rows that ``validate`` finds at fault; False for the command that lists such faults.

    Raises:
        PriceError: The file, or the refreshed list, cannot be read or holds a row that cannot be true.
    """
    if path is not None:
        prices = read_price_file(path)
        if checked:
            refuse_faults(prices, name=f"price file {path}")
        return Catalogue(prices=prices, origin=str(path))
    snapshot = embedded_prices()
    refreshed_file = refreshed_path()
    if refreshed_file is None or not can_be_read(refreshed_file):
        return Catalogue(prices=snapshot, origin="embedded snapshot")
    try:
        refreshed = read_price_file(refreshed_file)
        if checked:
            refuse_faults(refreshed, name=f"price file {refreshed_file}")
    except PriceError as exc:
        raise PriceError(f"{exc}; this is the refreshed list: delete it, or refresh it again") from exc
    # A refreshed list of GPUs alone is neither older for the days of CPU machines, nor does it replace them.
    refreshed_kinds = {is_cpu_machine(price) for price in refreshed}
    newest = _newest_day(tuple(price for price in snapshot if is_cpu_machine(price) in refreshed_kinds))
    day = _newest_day(refreshed)
    if day is not None and newest is not None and day <= newest:
        origin = f"embedded snapshot ({refreshed_file} is not newer and was left aside)"
        return Catalogue(prices=snapshot, origin=origin)
    providers = ", ".join(sorted({price.provider for price in refreshed}))
    origin = (
        f"{refreshed_file} of {day or 'unknown day'} for what {providers} rent in it; embedded snapshot for the rest"
    )
    return Catalogue(prices=laid_over(refreshed, snapshot), origin=origin)


def laid_over(new: tuple[Price, ...], old: tuple[Price, ...]) -> tuple[Price, ...]:
    """The new rows, and those old ones whose device the same provider does not rent in the new ones.

    So the rates of one device at one provider are never of two different days, and a device that a new list leaves out
    keeps its rate.
    """
    covered = {_offer(price) for price in new}
    return new + tuple(price for price in old if _offer(price) not in covered)


def _offer(price: Price) -> tuple[str, str]:
    """Provider and device; CPU machines are one device, whatever their processors."""
    return (price.provider, CPU if is_cpu_machine(price) else price.device_name)


def list_prices(catalogue: Catalogue, gpu: str | None = None, provider: str | None = None) -> tuple[Price, ...]:
    """The rows of a device and a provider, cheapest device-hour first within each device, CPU machines last.

    Args:
        catalogue: Where to look.
        gpu: Any spelling of a device, complete (``H100-SXM``) or of several (``H100``, ``A100-80GB``); ``CPU`` for
            every CPU machine; None for every device.
        provider: The provider's name, capitals ignored; None for every provider.
    """
    devices = None
    if gpu is not None:
        family = variants_of(gpu)
        known = canonical_device(gpu)
        word = known if known not in (None, CPU) else gpu if family else device_of_word(catalogue, gpu)
        devices = {name.casefold() for name in (word, *family)}

    def is_of_device(price: Price) -> bool:
        if devices is None or price.device_name.casefold() in devices:
            return True
        return CPU.casefold() in devices and is_cpu_machine(price)

    def place(price: Price) -> tuple[bool, str, Decimal, str, str, str]:
        of_cpu = is_cpu_machine(price)
        rate = usd_per_vcpu_hour(price) if of_cpu else price.usd_per_device_hour
        return (of_cpu, price.device_name, rate, price.provider, price.instance, price.region)

    chosen = (
        price
        for price in catalogue.prices
        if is_of_device(price) and (provider is None or price.provider.casefold() == provider.casefold())
    )
    return tuple(sorted(chosen, key=place))


def device_of_word(catalogue: Catalogue, word: str) -> str:
    """The device that a user's word names: one that the list has under that very name, else the one it stands for.

    Raises:
        PriceError: The word leaves open which board is meant; the text lists the variants.
    """
    if canonical_device(word) is None and any(
        price.device_name.casefold() == word.casefold() for price in catalogue.prices
    ):
        return word
    return resolve_device(word)


def _newest_day(prices: tuple[Price, ...]) -> date | None:
    return max((price.observed_on for price in prices if price.observed_on is not None), default=None)
