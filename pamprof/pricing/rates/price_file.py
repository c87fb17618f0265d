"""A price list in a CSV file: the embedded snapshot, a refreshed list, or the user's own; strict at the door.

Columns: ``provider, instance, region, purchase_option, device_name, device_count, usd_per_hour, source`` are required;
``device_memory_gib``, ``observed_on`` (ISO day), ``observed_text`` and ``vcpu_count`` may be absent or empty. A
``currency`` column may say USD alone. Others are ignored. Cells are separated by commas.

A share of a GPU is a device of its own: a MIG slice is named with its profile (``H100-SXM MIG 1g.10gb``), a virtual GPU
as its driver names it, and ``device_count`` counts those.

A machine without GPUs has its processor in ``device_name`` (``AMD EPYC 9R14``, or ``CPU`` where the model is not
known), 1 in ``device_count`` and the whole machine's memory in ``device_memory_gib``; a run pays for its share of
``vcpu_count``.
"""

from __future__ import annotations

import csv
import io
from datetime import date
from typing import TYPE_CHECKING

from pamprof.devices.names import CPU, resolve_device
from pamprof.errors import PriceError
from pamprof.records import Price
from pamprof.units import plain_number

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

_CURRENCY_COLUMNS = frozenset({"currency", "currencycode", "billingcurrency", "pricingcurrency", "pricecurrency"})
_USD = frozenset({"", "USD", "US$", "$"})
# Without it Excel takes UTF-8 for the code page of the machine.
_BYTE_ORDER_MARK = "\ufeff"

REQUIRED_COLUMNS = (
    "provider",
    "instance",
    "region",
    "purchase_option",
    "device_name",
    "device_count",
    "usd_per_hour",
    "source",
)
COLUMNS = (
    "provider",
    "instance",
    "region",
    "purchase_option",
    "device_name",
    "device_count",
    "device_memory_gib",
    "usd_per_hour",
    "observed_on",
    "observed_text",
    "source",
    "vcpu_count",
)


def read_price_file(path: Path) -> tuple[Price, ...]:
    """The rates of a CSV file.

    Raises:
        PriceError: The file cannot be read, lacks columns or rows, or holds a value that cannot be true; the text names
            the file, the line, the column and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise PriceError(f"price file {path} cannot be read: {exc.strerror or exc}; check the path") from exc
    except UnicodeDecodeError as exc:
        raise PriceError(f"price file {path} is not UTF-8 text at byte {exc.start}; save it as UTF-8 CSV") from exc
    return parse_prices(text, name=str(path))


def parse_prices(text: str, *, name: str) -> tuple[Price, ...]:
    """The rates of CSV text; ``name`` stands for the file in errors. Raises ``PriceError`` like ``read_price_file``."""
    reader = csv.DictReader(io.StringIO(text.removeprefix(_BYTE_ORDER_MARK), newline=""), strict=True)
    try:
        columns = tuple(reader.fieldnames or ())
        missing = [column for column in REQUIRED_COLUMNS if column not in columns]
        if missing:
            _refuse_other_separators(columns, name)
            raise PriceError(
                f"price file {name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
                f"its first line must name {', '.join(REQUIRED_COLUMNS)}"
            )
        prices = tuple(_price(row, where=f"price file {name}, line {reader.line_num}") for row in reader)
    except csv.Error as exc:
        raise PriceError(
            f"price file {name}, line {reader.line_num}, is not CSV: {exc}; quote cells with commas"
        ) from exc
    if not prices:
        raise PriceError(f"price file {name} holds no rates; add one row for each, under the column names")
    return prices


def format_prices(prices: tuple[Price, ...]) -> str:
    """CSV text that ``parse_prices`` reads back to the same rates; with a byte order mark where it is not all ASCII."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for price in prices:
        writer.writerow(
            (
                price.provider,
                price.instance,
                price.region,
                price.purchase_option,
                price.device_name,
                price.device_count,
                "" if price.device_memory_gib is None else price.device_memory_gib,
                price.usd_per_hour,
                "" if price.observed_on is None else price.observed_on.isoformat(),
                price.observed_text,
                price.source,
                "" if price.vcpu_count is None else price.vcpu_count,
            )
        )
    text = buffer.getvalue()
    return text if text.isascii() else f"{_BYTE_ORDER_MARK}{text}"


def _price(row: dict[str | None, str | list[str] | None], *, where: str) -> Price:
    if None in row:
        raise PriceError(f"{where} has more cells than the first line names columns; quote cells that hold commas")
    cells = {column: value.strip() for column, value in row.items() if column and isinstance(value, str)}
    for column in REQUIRED_COLUMNS:
        if not cells.get(column):
            raise PriceError(f"{where}, column {column} is empty; every rate needs it")
    for column, value in cells.items():
        if column.replace("_", "").casefold() in _CURRENCY_COLUMNS and value.upper() not in _USD:
            raise PriceError(
                f"{where}, column {column}: rates are read in USD and this one is in {value}; convert "
                "usd_per_hour at a rate of your own and write USD, or leave the row out"
            )
    memory, vcpus = cells.get("device_memory_gib", ""), cells.get("vcpu_count", "")
    return Price(
        provider=cells["provider"],
        instance=cells["instance"],
        region=cells["region"],
        purchase_option=cells["purchase_option"],
        device_name=_device_name(cells["device_name"]),
        device_count=_device_count(cells["device_count"], where=f"{where}, column device_count"),
        usd_per_hour=positive_usd(cells["usd_per_hour"], where=f"{where}, column usd_per_hour"),
        observed_on=_day(cells.get("observed_on", ""), where=f"{where}, column observed_on"),
        observed_text=cells.get("observed_text", "") or cells.get("observed_on", "") or "the source names no date",
        source=cells["source"],
        device_memory_gib=_positive_integer(memory, where=f"{where}, column device_memory_gib") if memory else None,
        vcpu_count=_positive_integer(vcpus, where=f"{where}, column vcpu_count") if vcpus else None,
    )


def _refuse_other_separators(columns: tuple[str, ...], name: str) -> None:
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and separator in columns[0]:
            raise PriceError(
                f"the cells of price file {name} are separated by {word}; separate them by commas, and write decimals "
                "with a point, like 2.95"
            )


def _device_name(text: str) -> str:
    """The canonical name; a processor's model and a word that leaves the board open stay as they are."""
    if text.upper() == CPU:
        return CPU
    try:
        return resolve_device(text)
    except PriceError:
        return text


def positive_usd(text: str, *, where: str) -> Decimal:
    """A rate in USD; ``PriceError`` naming ``where`` unless it is a finite number above zero."""
    value = plain_number(text)
    if value is None:
        raise PriceError(f"{where}: {text!r} is not a number in plain digits; write USD per hour like 2.95")
    if value <= 0:
        raise PriceError(f"{where}: {text} is not a price; write USD per hour above zero, or leave the rate out")
    return value


def _device_count(text: str, *, where: str) -> int:
    count = plain_number(text)
    if count is not None and count % 1 != 0:
        raise PriceError(
            f"{where}: {text!r} counts part of a device, whose share of speed and memory it does not tell; name the "
            "part as a device of its own, such as 'H100-SXM MIG 1g.10gb', and count those, or leave the row out"
        )
    return _positive_integer(text, where=where)


def _positive_integer(text: str, *, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise PriceError(f"{where}: {text!r} is not a whole number above zero; write it like 8")
    return int(text)


def _day(text: str, *, where: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise PriceError(f"{where}: {text!r} is not a day; write it like 2026-04-02, or leave it empty") from exc
