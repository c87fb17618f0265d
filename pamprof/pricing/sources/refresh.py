"""Brings the price list up to date from a source, within ten seconds or not at all.

Nothing is written until every row has been read and validated; then the new list takes the old one's place in one
step. Rows that the validator finds at fault are left out and counted.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import can_be_read, refreshed_path
from pamprof.pricing.rates.findings import subject_of
from pamprof.pricing.rates.price_file import format_prices, read_price_file
from pamprof.pricing.rates.processors import is_cpu_machine
from pamprof.pricing.rates.validate import validate
from pamprof.pricing.sources.source import price_source

if TYPE_CHECKING:
    from pamprof.records import Price

DEFAULT_SOURCE = "gpuhunt"
MAXIMUM_SECONDS = 10.0
# Leaves a second of the ten for starting a process, reading its answer and writing the list.
DEFAULT_SECONDS = 9.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What a refresh did.

    Attributes:
        path: The list written.
        price_count: Rows it holds.
        providers: Providers whose rows are new.
        missing_providers: Providers asked for that sent nothing; their older rows were kept, where there were any.
        left_out: Rows left out, counted by reason.
    """

    path: Path
    price_count: int
    providers: tuple[str, ...]
    missing_providers: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]


def refresh(
    providers: tuple[str, ...] | None = None,
    *,
    source: str = DEFAULT_SOURCE,
    path: Path | None = None,
    timeout_seconds: float = DEFAULT_SECONDS,
) -> Refresh:
    """Write a new price list; on any failure the old one stays as it was.

    Args:
        providers: Whose rows to ask for, as named in the catalogue; None for those the source names.
        source: Where to ask, the name of a ``PriceSource``.
        path: The list to write; None for the place ``load_catalogue`` looks at.
        timeout_seconds: Longest the providers may take, at most ten seconds.

    Raises:
        PriceError: The source is unknown, failed or was too slow, sent no usable row, or the list cannot be written.
            The text says so and that the old list is unchanged.
    """
    target = path or refreshed_path()
    if target is None:
        raise PriceError("no folder can be written for the price list; set XDG_CACHE_HOME or TMPDIR to one")
    kept = f"{target} is unchanged" if can_be_read(target) else "the embedded snapshot stays in use"
    if not 0 < timeout_seconds <= MAXIMUM_SECONDS:
        raise PriceError(
            f"a timeout of {timeout_seconds:g} s is not above 0 and at most {MAXIMUM_SECONDS:g} s; shorten it"
        )
    asked = price_source(source)
    wanted = asked.providers if providers is None else providers
    if not wanted:
        raise PriceError(f"no provider to refresh; name some of {', '.join(asked.providers)}")
    try:
        fetched = asked.fetch(wanted, timeout_seconds)
    except PriceError as exc:
        raise PriceError(f"{exc}; {kept}") from exc
    left_out = Counter(dict(fetched.left_out))
    prices = _sound(fetched.prices, left_out)
    if not prices:
        raise PriceError(f"the providers sent no usable rate ({fetched.row_count} rows); {kept}")
    fresh = {price.provider for price in prices}
    replaced = {(price.provider, is_cpu_machine(price)) for price in prices}
    older = tuple(price for price in _readable(target) if (price.provider, is_cpu_machine(price)) not in replaced)
    _replace(target, format_prices(prices + older), kept=kept)
    return Refresh(
        path=target,
        price_count=len(prices) + len(older),
        providers=tuple(sorted(fresh)),
        missing_providers=tuple(name for name in wanted if name not in fresh),
        left_out=tuple(left_out.most_common()),
    )


def _sound(prices: tuple[Price, ...], left_out: Counter[str]) -> tuple[Price, ...]:
    faults = {finding.subject: finding.rule.value for finding in reversed(validate(prices))}
    sound = []
    for price in prices:
        fault = faults.get(subject_of(price))
        if fault is None:
            sound.append(price)
        else:
            left_out[fault] += 1
    return tuple(sound)


def _readable(path: Path) -> tuple[Price, ...]:
    """The rows of the old list; none where it is missing or damaged, because the new one is about to replace it."""
    try:
        return read_price_file(path) if can_be_read(path) else ()
    except PriceError:
        return ()


def _replace(target: Path, text: str, *, kept: str) -> None:
    """Write beside the list, then rename over it, so that a reader finds the old list or the new one, whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".prices-", suffix=".csv")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise PriceError(f"{target} cannot be written ({exc.strerror or exc}); {kept}; check the folder") from exc
