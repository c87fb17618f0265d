"""Windows of a device under its own power limit, resampled: recorded ones of a reference in turn with itself.

What synthetic series presume of noise, correlation and spread, these have as the device had them. A process is drawn
from the recorded ones with replacement; of it, quadruples of windows in turn and blocks of windows alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.records.store import read_records
from pamprof.statistics.windows import ProcessWindows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

_QUADRUPLE = 2  # pairs of windows
_BLOCK = 4  # windows alone
FEWEST_PROCESSES = 2


def recorded_references(paths: Iterable[Path]) -> Mapping[str, tuple[ProcessWindows, ...]]:
    """By point and arm: the processes in which a reference was measured in turn with itself, and alone.

    Raises:
        RecordError: No point has two such processes.
    """
    found: dict[str, list[ProcessWindows]] = {}
    for path in paths:
        for run in read_records(path / "runs.jsonl" if path.is_dir() else path).runs:
            timing, workload = run.timing, run.workload
            if workload.key == run.reference.key and timing.alone_wall_time_seconds:
                name = f"{workload.spec.layer}, {workload.phase} {workload.batch_size} x {workload.sequence_length}"
                found.setdefault(f"{name}, {run.environment.device_name}", []).append(
                    ProcessWindows(
                        subject_seconds=timing.wall_time_seconds,
                        reference_seconds=timing.reference_wall_time_seconds,
                        subject_alone_seconds=timing.alone_wall_time_seconds,
                        reference_alone_seconds=timing.alone_wall_time_seconds,
                    )
                )
    kept = {name: tuple(processes) for name, processes in found.items() if len(processes) >= FEWEST_PROCESSES}
    if not kept:
        raise RecordError("no point was measured with effort reference in two processes or more; give such records")
    return kept


def resampled(
    generator: np.random.Generator, recorded: Sequence[ProcessWindows], *, count: int, windows: int, ratio: float
) -> list[ProcessWindows]:
    """``count`` processes of ``windows`` windows an arm; the subject takes ``ratio`` of the reference's time."""
    found = []
    for _ in range(count):
        one = recorded[generator.integers(len(recorded))]
        pairs = list(zip(one.subject_seconds, one.reference_seconds, strict=True))
        starts = generator.integers(len(pairs) // _QUADRUPLE, size=windows // _QUADRUPLE) * _QUADRUPLE
        drawn = [pair for start in starts for pair in pairs[start : start + _QUADRUPLE]]
        found.append(
            ProcessWindows(
                subject_seconds=tuple(ratio * subject for subject, _ in drawn),
                reference_seconds=tuple(reference for _, reference in drawn),
                subject_alone_seconds=tuple(ratio * t for t in _blocks(generator, one.subject_alone_seconds, windows)),
                reference_alone_seconds=_blocks(generator, one.reference_alone_seconds, windows),
            )
        )
    return found


def _blocks(generator: np.random.Generator, times: Sequence[float], count: int) -> tuple[float, ...]:
    """Circular blocks, joined to ``count`` windows."""
    starts = generator.integers(len(times), size=-(-count // _BLOCK))
    return tuple(times[(start + step) % len(times)] for start in starts for step in range(_BLOCK))[:count]
