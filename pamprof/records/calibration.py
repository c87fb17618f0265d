"""What ``pamprof calibrate`` measures of a device: one small JSON file that anyone who owns the device can send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from pamprof.errors import RecordError
from pamprof.records.checks import impossible_calibration
from pamprof.records.environment import Environment
from pamprof.records.kernels import KernelUse
from pamprof.records.magnitudes import outsized
from pamprof.records.run import Ceilings, Unknown

if TYPE_CHECKING:
    from pathlib import Path

CALIBRATION_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Times of single kernels, alone, back to back, on random data; no name of a user or host, and no serial number.

    Attributes:
        kind: What the file is.
        version: Of this schema.
        started_at: UTC, ISO 8601.
        environment: The device and its software.
        ceilings: What it reached at best, a dtype each.
        kernels: One call each (``call_count`` 1): ``seconds`` is the median over its repetitions, operators are named
            as in the records of a step.
        launch_seconds: From one small operator to the next where each is launched by itself, by torch from Python.
        graph_launch_seconds: From one replay to the next of a captured graph of one small kernel; None on a CPU.
        graph_kernel_seconds: From one small kernel to the next within a graph; None likewise.
        left_out: Operators with their shapes that the time budget left out, or that failed, a sentence each.
        unknowns: Why fields above and of ``environment`` are None.
        time_budget_seconds: After this no further kernel began.
        seconds: How long it took.
    """

    kind: Literal["pamprof calibration"] = "pamprof calibration"
    version: int
    started_at: str
    environment: Environment
    ceilings: tuple[Ceilings, ...]
    kernels: tuple[KernelUse, ...]
    launch_seconds: float | None
    graph_launch_seconds: float | None
    graph_kernel_seconds: float | None
    left_out: tuple[str, ...]
    unknowns: tuple[Unknown, ...]
    time_budget_seconds: float
    seconds: float


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file.

    Raises:
        RecordError: There is no such file, it holds something else or a newer version, or no measurement can have
            written it; one sentence.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except OSError as exc:
        raise RecordError(f"{path} cannot be read: {exc.strerror}; write one with pamprof calibrate -o FILE") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RecordError(f"{path} is no calibration: {exc}; write one with pamprof calibrate -o FILE") from exc
    if found.version > CALIBRATION_VERSION:
        raise RecordError(
            f"{path} has version {found.version}, newer than {CALIBRATION_VERSION}, which this pamprof reads; "
            "upgrade pamprof"
        )
    fault = outsized(found) or impossible_calibration(found)
    if fault is not None:
        raise RecordError(f"{path} cannot be true: {fault}; run pamprof calibrate again")
    return found


def calibration_bytes(calibration: Calibration) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n"
