"""What a load is expected to be, as a file that is on the disk before the load is served."""

from __future__ import annotations

import hashlib
import os
from math import isfinite
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.metrics import measure_load
from pamprof.errors import OutputError
from pamprof.records import PredictedLoad

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pamprof.analysis.simulation.metrics import Level
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.server import Server


def predict(
    requests: Requests, server: Server, level: Level, folder: Path, *, told: Mapping[str, str | int]
) -> PredictedLoad:
    """Simulate the requests and write every one's times, and ``told`` with them, into a file that ``told`` names.

    Raises:
        OutputError: It cannot be written.
    """
    import msgspec

    from pamprof.measure.session.runner import utc_now

    outcome = simulate(requests, server)
    first, finish = seconds_of(outcome.first_seconds), seconds_of(outcome.finish_seconds)
    written_at = utc_now()
    content = msgspec.json.format(
        msgspec.json.encode(
            {
                "written_at": written_at,
                **told,
                "requests_per_second": requests.per_second,
                "request_count": len(requests),
                "metrics": measure_load(outcome, level),
                "arrival_seconds": seconds_of(requests.arrival_seconds),
                "first_seconds": first,
                "finish_seconds": finish,
            }
        ),
        indent=1,
    )
    words = " ".join(str(told[key]) for key in ("arm", "arrivals", "load")).lower()
    parts = "".join(letter if letter.isalnum() else " " for letter in words).split()
    name = f"prediction-{'-'.join(parts)}.json"
    _write(folder / name, content)
    return PredictedLoad(
        file=name,
        sha256=hashlib.sha256(content).hexdigest(),
        written_at=written_at,
        source=str(told["step_times"]),
        first_seconds=first,
        finish_seconds=finish,
    )


def seconds_of(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    """To the microsecond; None where there is none."""
    return tuple(round(value, 6) if isfinite(value) else None for value in values.tolist())


def _write(path: Path, content: bytes) -> None:
    """Write and wait until it is on the disk."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}; choose another folder with --output-dir") from exc
