"""The source of rates that gpuhunt reads, an optional extra, in a process that can be ended after seconds.

gpuhunt's rows carry no date: the version of a provider's list begins with the day it was made; without a version the
date stays unknown, bounded by the day a local list's file was last changed.

Offline, ``GPUHUNT_CATALOG_DIR`` names a folder of gpuhunt's CSV files, and ``GPUHUNT_CATALOG_URL`` another place to
load from, such as a ``file://`` folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pamprof.errors import PriceError
from pamprof.pricing.sources.form_factors import board
from pamprof.pricing.sources.gpuhunt_worker import NOT_INSTALLED
from pamprof.pricing.sources.source import FetchedPrices, PriceSource
from pamprof.records import Price
from pamprof.units import plain_number

if TYPE_CHECKING:
    from decimal import Decimal

_GPUHUNT_NAMES = {"lambda": "lambdalabs"}
_CATALOGUE_NAMES = {there: here for here, there in _GPUHUNT_NAMES.items()}
_WORKER = Path(__file__).with_name("gpuhunt_worker.py")


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
    changed: dict[str, str]
    loaded: tuple[str, ...]


def fetch(providers: tuple[str, ...], timeout_seconds: float) -> FetchedPrices:
    """Rows of ``providers`` through gpuhunt; those that name no board or no rate are left out and counted.

    Raises:
        PriceError: gpuhunt is missing, failed, was too slow or answered in a form that is not known.
    """
    answer = _ask(tuple(_GPUHUNT_NAMES.get(name, name) for name in providers), timeout_seconds)
    left_out: Counter[str] = Counter()
    prices = _prices(answer, left_out)
    return FetchedPrices(prices=prices, row_count=len(answer.rows), left_out=tuple(left_out.items()))


def _ask(providers: tuple[str, ...], timeout_seconds: float) -> _Answer:
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
                f"the providers did not answer within {timeout_seconds:g} s; check the network and try again"
            ) from exc
        if done.returncode == NOT_INSTALLED:
            raise PriceError("gpuhunt is not installed; python -m pip install 'pamprof[prices]'")
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
            raise PriceError(f"gpuhunt failed ({reason}); check the network and try again")
        try:
            return msgspec.json.decode(output.read_bytes(), type=_Answer)
        except (OSError, msgspec.DecodeError) as exc:
            raise PriceError(f"gpuhunt's answer cannot be read ({exc}); upgrade gpuhunt") from exc


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
                    observed_text=f"list version {version}" if version else _undated(answer.changed.get(row.provider)),
                    source=f"gpuhunt, {row.provider}",
                    device_memory_gib=round(row.device_memory_gib),
                )
            )
    return tuple(prices)


def _decimal(text: str) -> Decimal | None:
    value = plain_number(text)
    return value if value is not None and value > 0 else None


def _undated(changed: str | None) -> str:
    return "list without a version" if changed is None else f"local list without a version, last changed {changed}"


def _version_day(version: str | None) -> date | None:
    found = re.match(r"(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)", version or "")
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


SOURCE = PriceSource(
    name="gpuhunt", providers=("aws", "azure", "gcp", "lambda", "nebius", "oci", "runpod"), fetch=fetch
)
