"""What a price source is, and the sources there are: one file each, found without being listed anywhere.

A module of this folder that defines ``SOURCE`` is a source; another package offers one as an entry point of the group
``pamprof.price_sources`` that names a ``PriceSource``.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from pamprof.errors import PriceError

if TYPE_CHECKING:
    from pamprof.records import Price

ENTRY_POINT_GROUP = "pamprof.price_sources"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedPrices:
    """What a source sent.

    Attributes:
        prices: Rows that name a board and a rate; they are validated before they are written.
        row_count: Rows received, those left out included.
        left_out: Rows that could not be used, counted by reason.
    """

    prices: tuple[Price, ...]
    row_count: int
    left_out: tuple[tuple[str, int], ...] = ()


class Fetch(Protocol):
    """Asks ``providers``, as named in the catalogue, for their rates within ``timeout_seconds``.

    Raises ``PriceError`` with the reason and the remedy where it cannot.
    """

    def __call__(self, providers: tuple[str, ...], timeout_seconds: float) -> FetchedPrices: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """A place that current rates are fetched from.

    Attributes:
        name: What ``pamprof prices refresh --source`` calls it.
        providers: Whose rates are asked for unless others are named.
        fetch: How they are fetched.
    """

    name: str
    providers: tuple[str, ...]
    fetch: Fetch


def price_sources() -> dict[str, PriceSource]:
    """Every source by its name; one of another package replaces a built-in one of the same name.

    Raises:
        PriceError: An entry point names something else than a ``PriceSource``.
    """
    folder = import_module("pamprof.pricing.sources")
    modules = (import_module(f"{folder.__name__}.{found.name}") for found in pkgutil.iter_modules(folder.__path__))
    built_in = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    offered = []
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        source = entry.load()
        if not isinstance(source, PriceSource):
            raise PriceError(f"entry point {entry.name} of {ENTRY_POINT_GROUP} names {source!r}; name a PriceSource")
        offered.append(source)
    return {source.name: source for source in (*built_in, *offered)}


def price_source(name: str) -> PriceSource:
    """The source of that name.

    Raises:
        PriceError: There is none.
    """
    sources = price_sources()
    if name not in sources:
        raise PriceError(f"no price source is called {name!r}; use {', '.join(sorted(sources))}")
    return sources[name]
