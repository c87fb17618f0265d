"""Pages of records that no report of a comparison holds, and traces that its links lead to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.records import Capacity
    from pamprof.records.store import RecordFile


def latest_capacity(records: RecordFile) -> Capacity | None:
    """The capacity that is a page of its own; None where there is none, or the report has a section of it."""
    if records.runs:
        return None
    return max(records.capacities, key=lambda record: record.started_at, default=None)


def write_other_pages(records: RecordFile, folder: Path) -> tuple[Path, ...]:
    """Write the page of the latest capacity, where nothing was compared, and that of served loads; their paths.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    pages = []
    capacity = latest_capacity(records)
    if capacity is not None:
        from pamprof.render.capacity.page import write_capacity

        pages.append(write_capacity(capacity, folder)[0])
    if records.serve_checks:
        from pamprof.analysis.simulation.checked import checked_load
        from pamprof.render.simulation.check_page import write_check_page

        pages.append(write_check_page([checked_load(check) for check in records.serve_checks], folder)[0])
    return tuple(pages)


def bring_traces(paths: Sequence[Path], records: RecordFile, folder: Path) -> None:
    """Copy the traces that lie beside the files at ``paths`` into ``folder``, whose report links to them."""
    for path in paths:
        source = path if path.is_dir() else path.parent
        for trace in {run.trace for run in records.runs if run.trace is not None and run.trace.is_beside_records}:
            found, wanted = source / trace.file, folder / trace.file
            if found.is_file() and not wanted.exists():
                wanted.parent.mkdir(exist_ok=True)
                shutil.copyfile(found, wanted)
