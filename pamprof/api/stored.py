"""Results from stored records: ``pamprof.load`` and ``pamprof.report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.api.other_pages import bring_traces, write_other_pages
from pamprof.api.prices import ON_DEMAND, paid_with
from pamprof.api.result import Result
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.records.store import RecordFile


def load(
    records: str | Path | Iterable[str | Path],
    *,
    price: float | str | None = None,
    prices: str | Path | None = None,
    gpu: str | None = None,
    provider: str | None = None,
    instance: str | None = None,
    purchase_option: str = ON_DEMAND,
) -> Result:
    """The result of stored records; needs neither a GPU nor torch. Records that several files hold count once.

    Records are what comparisons, sweeps and saved profiles of training loops (``pamprof.profile``) wrote.

    Args:
        records: A file of records, a folder that holds a ``runs.jsonl``, or several of them.
        price: Your rate of one device, USD per hour; on a CPU of the vCPUs used. Default: the price stored.
        prices: Your price list, CSV as ``pamprof prices list --csv`` prints it.
        gpu: Price it as this device, such as ``H100-SXM``.
        provider: Of the rate, such as ``aws``. Default: the median provider.
        instance: Price it as on this machine of the price list, such as ``c7i.2xlarge``.
        purchase_option: ``on-demand``, ``spot``, or a committed option of the price list.

    Raises:
        RecordError: A path that holds no readable record, or neither a run nor a training loop among all of them.
        PriceError: The price that was asked for cannot be had.
    """
    paths, found = _read(records)
    if not (found.runs or found.profiles):
        remedy = "write its page with pamprof.report" if _has_other_pages(found) else "measure with pamprof.compare"
        raise RecordError(f"{_named(paths)} holds no run to report; {remedy}")
    found, quote, choice = paid_with(
        found,
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    return Result(found, quote=quote, choice=choice)


def report(
    records: str | Path | Iterable[str | Path],
    folder: str | Path,
    *,
    price: float | str | None = None,
    prices: str | Path | None = None,
    gpu: str | None = None,
    provider: str | None = None,
    instance: str | None = None,
    purchase_option: str = ON_DEMAND,
) -> Path:
    """Write the report of stored records into ``folder``; the path of its page. Arguments and errors as of ``load``.

    Records of ``pamprof serve-check`` become a page beside it, and so does one of ``pamprof capacity`` where nothing
    was compared; where there is nothing else the path is theirs. Traces come along.

    Raises:
        RecordError: A path that holds no readable record, or nothing to report among all of them.
        PriceError: The price that was asked for cannot be had.
        OutputError: The folder cannot be written.
    """
    paths, found = _read(records)
    compared = bool(found.runs or found.profiles)
    if not compared and not _has_other_pages(found):
        raise RecordError(f"{_named(paths)} holds no run to report; measure with pamprof.compare")
    found, quote, choice = paid_with(
        found,
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    if not compared:
        return write_other_pages(found, Path(folder))[0]
    page = Result(found, quote=quote, choice=choice).report(folder)
    bring_traces(paths, found, Path(folder))
    return page


def _read(records: str | Path | Iterable[str | Path]) -> tuple[list[Path], RecordFile]:
    """The paths, and what they hold, each record once."""
    from pamprof.records.store import merged, read_records, stored_path, without_repeated

    paths = [Path(path) for path in ([records] if isinstance(records, str | Path) else records)]
    return paths, merged(without_repeated([read_records(stored_path(path)) for path in paths]))


def _has_other_pages(found: RecordFile) -> bool:
    return bool(found.capacities or found.serve_checks)


def _named(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths)) or "no path"
