"""Brings the price list up to date through gpuhunt, an optional extra, within ten seconds or not at all.

Nothing is written until every row has been read and validated; then the new list takes the old one's place in one
step. Rows that name no board, or that the validator finds at fault, are left out and counted. gpuhunt's rows carry no
date: the version of a provider's list begins with the day it was made; without a version the date stays unknown.

Offline, ``GPUHUNT_CATALOG_DIR`` names a folder of gpuhunt's CSV files, and ``GPUHUNT_CATALOG_URL`` another place to
load from, such as a ``file://`` folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import refreshed_path
from pamprof.pricing.rates.findings import subject_of
from pamprof.pricing.rates.validate import validate
from pamprof.pricing.sources.file import format_prices, read_price_file
from pamprof.pricing.sources.form_factors import board
from pamprof.pricing.sources.gpuhunt_worker import NOT_INSTALLED
from pamprof.records import Price

DEFAULT_PROVIDERS = ("aws", "azure", "gcp", "lambda", "nebius", "oci", "runpod")
MAXIMUM_SECONDS = 10.0
# Leaves a second of the ten for starting the process, reading its answer and writing the list.
DEFAULT_SECONDS = 9.0

_GPUHUNT_NAMES = {"lambda": "lambdalabs"}
_CATALOGUE_NAMES = {there: here for here, there in _GPUHUNT_NAMES.items()}
_WORKER = Path(__file__).with_name("gpuhunt_worker.py")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    provider: str
    instance: str
    region: str
    usd_per_hour: str
    device_count: int
    device: str
    device_memory_gib: float | None
    spot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    rows: tuple[_Row, ...]
    versions: dict[str, str]
    loaded: tuple[str, ...]


def refresh(
    providers: tuple[str, ...] = DEFAULT_PROVIDERS,
    *,
    path: Path | None = None,
    timeout_seconds: float = DEFAULT_SECONDS,
) -> Refresh:
    """Write a new price list; on any failure the old one stays as it was.

    Args:
        providers: Whose rows to ask for, as named in the catalogue.
        path: The list to write; None for the place ``load_catalogue`` looks at.
        timeout_seconds: Longest the providers may take, at most ten seconds.

    Raises:
        PriceError: gpuhunt is missing, failed or was too slow, sent no usable row, or the list cannot be written. The
            text says so and that the old list is unchanged.
    """
    target = path or refreshed_path()
    kept = f"{target} is unchanged" if target.is_file() else "the embedded snapshot stays in use"
    if not 0 < timeout_seconds <= MAXIMUM_SECONDS:
        raise PriceError(
            f"a timeout of {timeout_seconds:g} s is not above 0 and at most {MAXIMUM_SECONDS:g} s; shorten it"
        )
    if not providers:
        raise PriceError(f"no provider to refresh; name some of {', '.join(DEFAULT_PROVIDERS)}")
    answer = _ask(tuple(_GPUHUNT_NAMES.get(name, name) for name in providers), timeout_seconds, kept=kept)
    left_out: Counter[str] = Counter()
    prices = _sound(_prices(answer, left_out), left_out)
    if not prices:
        raise PriceError(f"the providers sent no usable rate ({len(answer.rows)} rows); {kept}")
    fresh = {price.provider for price in prices}
    older = tuple(price for price in _readable(target) if price.provider not in fresh)
    _replace(target, format_prices(prices + older), kept=kept)
    return Refresh(
        path=target,
        price_count=len(prices) + len(older),
        providers=tuple(sorted(fresh)),
        missing_providers=tuple(name for name in providers if name not in fresh),
        left_out=tuple(left_out.most_common()),
    )


def _ask(providers: tuple[str, ...], timeout_seconds: float, *, kept: str) -> _Answer:
    with tempfile.TemporaryDirectory(prefix="pamprof-prices-") as folder:
        output = Path(folder) / "rows.json"
        try:
            # -P keeps this folder, whose gpuhunt.py is not the library, off the worker's import path.
            done = subprocess.run(
                [sys.executable, "-P", str(_WORKER), str(output), *providers],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_seconds,
                check=False,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as exc:
            raise PriceError(
                f"the providers did not answer within {timeout_seconds:g} s; {kept}; check the network and try again"
            ) from exc
        if done.returncode == NOT_INSTALLED:
            raise PriceError(f"gpuhunt is not installed; {kept}; python -m pip install 'pamprof[prices]'")
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
            raise PriceError(f"gpuhunt failed ({reason}); {kept}; check the network and try again")
        try:
            return msgspec.json.decode(output.read_bytes(), type=_Answer)
        except (OSError, msgspec.DecodeError) as exc:
            raise PriceError(f"gpuhunt's answer cannot be read ({exc}); {kept}; upgrade gpuhunt") from exc


def _prices(answer: _Answer, left_out: Counter[str]) -> tuple[Price, ...]:
    prices = []
    for row in answer.rows:
        provider = _CATALOGUE_NAMES.get(row.provider, row.provider)
        device = board(provider, row.instance, row.device, row.device_memory_gib)
        rate = _decimal(row.usd_per_hour)
        if device is None or row.device_memory_gib is None:
            left_out["the board cannot be told from the row"] += 1
        elif rate is None or row.device_count < 1:
            left_out["price not above zero"] += 1
        else:
            version = answer.versions.get(row.provider)
            prices.append(
                Price(
                    provider=provider,
                    instance=row.instance,
                    region=row.region or "unspecified",
                    purchase_option="spot" if row.spot else "on-demand",
                    device_name=device,
                    device_count=row.device_count,
                    usd_per_hour=rate,
                    observed_on=_version_day(version),
                    observed_text=f"list version {version}" if version else "local list without a version",
                    source=f"gpuhunt, {row.provider}",
                    device_memory_gib=round(row.device_memory_gib),
                )
            )
    return tuple(prices)


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


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and value > 0 else None


def _version_day(version: str | None) -> date | None:
    found = re.match(r"(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)", version or "")
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _readable(path: Path) -> tuple[Price, ...]:
    """The rows of the old list; none where it is missing or damaged, because the new one is about to replace it."""
    try:
        return read_price_file(path) if path.is_file() else ()
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
