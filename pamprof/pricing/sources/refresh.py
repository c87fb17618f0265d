"""Brings the price list up to date from a source, within ten seconds or not at all.

Nothing is written until every row has been read and validated; then the new list takes the old one's place in one
step. Rows that the validator finds at fault are left out and counted, the old list's included. Rows of a device that
its provider sends no more are kept. A row whose source names no year gets the day it was fetched as its newest possible
day, so that it can compete; it stays undated, and the refresh says how many rows do.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import can_be_read, laid_over, refreshed_path
from pamprof.pricing.rates.findings import Severity, subject_of
from pamprof.pricing.rates.price_file import format_prices, read_price_file
from pamprof.pricing.rates.rate_dates import newest_possible_day
from pamprof.pricing.rates.validate import validate
from pamprof.pricing.sources.source import price_source

if TYPE_CHECKING:
    from datetime import date

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
        kept_count: Rows of an earlier refresh that were kept because nothing new replaced them.
        undated_count: New rows without an exact day, which are the default only for devices without recent rates.
    """

    path: Path
    price_count: int
    providers: tuple[str, ...]
    missing_providers: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]
    kept_count: int = 0
    undated_count: int = 0


def refresh(
    providers: tuple[str, ...] | None = None,
    *,
    source: str = DEFAULT_SOURCE,
    path: Path | None = None,
    today: date | None = None,
    timeout_seconds: float = DEFAULT_SECONDS,
) -> Refresh:
    """Write a new price list; on any failure the old one stays as it was.

    Args:
        providers: Whose rows to ask for, as named in the catalogue; None for those the source names.
        source: Where to ask, the name of a ``PriceSource``.
        path: The list to write; None for the place ``load_catalogue`` looks at.
        today: The day of the refresh; None for the clock's.
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
    day = today or datetime.now(UTC).date()
    prices = tuple(_bounded(price, day) for price in _sound(fetched.prices, left_out))
    if not prices:
        raise PriceError(f"the providers sent no usable rate ({fetched.row_count} rows); {kept}")
    fresh = {price.provider for price in prices}
    whole = laid_over(prices, _sound(_readable(target), left_out))
    # Rows that are sound by themselves can contradict each other; those of the new list come first and stay.
    whole = _sound(whole, left_out)
    _replace(target, format_prices(whole), kept=kept)
    return Refresh(
        path=target,
        price_count=len(whole),
        providers=tuple(sorted(fresh)),
        missing_providers=tuple(name for name in wanted if name not in fresh),
        left_out=tuple(left_out.most_common()),
        kept_count=len(set(whole) - set(prices)),
        undated_count=sum(price.observed_on is None for price in prices),
    )


def _bounded(price: Price, day: date) -> Price:
    """The row with a newest possible day: without a year in its source's words it would never compete."""
    if newest_possible_day(price) is not None:
        return price
    return replace(price, observed_text=f"{price.observed_text}, fetched {day.isoformat()}")


def _sound(prices: tuple[Price, ...], left_out: Counter[str]) -> tuple[Price, ...]:
    found = (finding for finding in reversed(validate(prices)) if finding.severity is Severity.FAILURE)
    faults = {finding.subject: finding.rule.value for finding in found}
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
