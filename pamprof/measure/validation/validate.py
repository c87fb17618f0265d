"""All comparisons in order; a group that cannot be made becomes rows that say why."""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING

from pamprof.errors import PamprofError, UnsupportedError
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.session.process import compiler_caches
from pamprof.measure.session.runner import utc_now
from pamprof.measure.validation.closed_form_rows import closed_form_rows
from pamprof.measure.validation.counted_rows import byte_rows, flop_rows
from pamprof.measure.validation.counters import NsightCompute
from pamprof.measure.validation.judge import not_available
from pamprof.measure.validation.load_rows import load_rows
from pamprof.measure.validation.memory_rows import device_memory_rows, host_memory_rows
from pamprof.records.validation import Validation, ValidationGroup, ValidationRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pamprof.hardware.device import Device

_LOADS = frozenset({ValidationGroup.ENERGY, ValidationGroup.UTILISATION})


def validate(
    *,
    device: str,
    groups: frozenset[ValidationGroup],
    command: str,
    ncu: str | None,
    tables: Path | None,
    timeout_seconds: float,
    say: Callable[[str], None],
) -> Validation:
    """Compare the tool's counts with what this machine can witness.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        groups: What to compare.
        command: Written into the result.
        ncu: Nsight Compute's executable; None to look for it.
        tables: Folder in which Nsight Compute's own tables are kept; None keeps none.
        timeout_seconds: For each of the two programs run under it.
        say: Told what is about to happen.

    Raises:
        DeviceError: A device that was asked for is not there.
    """
    start, started_at = time.perf_counter(), utc_now()
    os.environ.update(compiler_caches())  # of kernels that this process runs
    opened = open_device(device)
    nvml = open_nvml(opened.uuid)
    environment, unknowns = read_environment(opened, nvml)
    counters, reason = _counters(opened, ncu, tables)
    rows: list[ValidationRow] = []

    def add(group: ValidationGroup, what: str, make: Callable[[], list[ValidationRow]]) -> None:
        say(what)
        try:
            rows.extend(make())
        except (PamprofError, RuntimeError) as exc:  # torch's errors, out of memory included, are RuntimeErrors
            told = str(exc).strip().splitlines()
            why = told[0] if told else type(exc).__name__
            rows.append(not_available(group, what, unit="", witness_source="", reason=why))
        gc.collect()
        opened.empty_cache()

    if _LOADS & groups:  # idle is one of the loads, so they come before anything warms the device
        wanted = _LOADS & groups
        add(min(wanted), "energy and utilisation under known loads", lambda: load_rows(opened, nvml, wanted))
    if ValidationGroup.FLOPS in groups:
        add(ValidationGroup.FLOPS, "FLOP counter against closed forms", closed_form_rows)
        what = "FLOPs against hardware counters"
        add(ValidationGroup.FLOPS, what, lambda: flop_rows(opened, counters, reason, timeout_seconds))
    if ValidationGroup.BYTES in groups:
        what = "bytes against hardware counters"
        add(ValidationGroup.BYTES, what, lambda: byte_rows(opened, counters, reason, timeout_seconds))
    if ValidationGroup.MEMORY in groups:
        add(ValidationGroup.MEMORY, "storage tracker against the resident set", host_memory_rows)
        add(ValidationGroup.MEMORY, "peak memory of training steps", lambda: device_memory_rows(opened, nvml))
    return Validation(
        started_at=started_at,
        command=command,
        environment=environment,
        unknowns=unknowns,
        rows=tuple(sorted(rows, key=lambda row: list(ValidationGroup).index(row.group))),
        seconds=time.perf_counter() - start,
    )


def _counters(device: Device, executable: str | None, tables: Path | None) -> tuple[NsightCompute | None, str]:
    """Nsight Compute, or why there is none."""
    if device.kind != "cuda":
        return None, "the device is a CPU"
    try:
        return NsightCompute(executable, tables=tables), ""
    except UnsupportedError as exc:
        return None, str(exc)
