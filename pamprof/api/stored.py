"""Results from stored records: ``pamprof.load`` and ``pamprof.report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.api.prices import ON_DEMAND, paid_with
from pamprof.api.result import Result
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    from pamprof.records.store import merged, read_records, stored_path, without_repeated

    paths = [records] if isinstance(records, str | Path) else list(records)
    found = merged(without_repeated([read_records(stored_path(Path(path))) for path in paths]))
    if not (found.runs or found.profiles):
        raise RecordError(
            f"{', '.join(map(str, paths)) or 'no path'} holds no run to report; measure with pamprof.compare"
        )
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

    Raises:
        RecordError: A path that holds no readable record, or neither a run nor a training loop among all of them.
        PriceError: The price that was asked for cannot be had.
        OutputError: The folder cannot be written.
    """
    found = load(
        records,
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    return found.report(folder)
