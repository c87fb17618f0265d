"""Records of the reference protocol without a measurement: windows of back-to-back steps in fresh processes."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from statistics import median
from typing import TYPE_CHECKING

from pamprof.records import Effort

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from pamprof.records import Run
    from pamprof.records.store import RecordFile

WINDOWS = 12


def process_run(
    run: Run,
    number: int,
    *,
    paired: Sequence[float],
    reference: Sequence[float],
    alone: Sequence[float] | None = None,
    settled: bool | None = True,
) -> Run:
    """``run`` as process ``number`` would have measured it: its windows in seconds per step."""
    timing = run.timing
    device = None if timing.device_time_seconds is None else tuple(0.995 * time for time in paired)
    return replace(
        run,
        group_id=f"process-{number}",
        started_at=f"2026-11-28T12:{number:02d}:00+00:00",
        timing=replace(
            timing,
            wall_time_seconds=tuple(paired),
            device_time_seconds=device,
            host_time_seconds=tuple(0.1 * time for time in paired),
            reference_wall_time_seconds=tuple(reference),
            reference_device_time_seconds=None if device is None else tuple(0.995 * time for time in reference),
            window_seconds=1.0,
            alone_wall_time_seconds=None if alone is None else tuple(alone),
            settled=settled,
        ),
    )


def in_processes(
    records: RecordFile,
    rng: random.Random,
    *,
    processes: int = 3,
    coupling: float = 0.0,
    noise: float = 0.003,
    chosen: Callable[[Run], bool] = lambda _: True,
    with_alone: bool = True,
) -> RecordFile:
    """``records`` with the ``chosen`` runs measured again in fresh processes.

    Args:
        records: Whose medians the windows scatter around.
        rng: Where noise comes from.
        processes: How many.
        coupling: By how much the reference alone is faster than beside an arm, relative.
        noise: Relative standard deviation of a window.
        chosen: Which runs are measured again; a reference should be among them.
        with_alone: Whether each arm was also measured alone.
    """

    def windows(level: float) -> tuple[float, ...]:
        return tuple(level * exp(rng.gauss(0, noise)) for _ in range(WINDOWS))

    made = []
    for number in range(processes):
        for run in filter(chosen, records.runs):
            mine, theirs = (median(times) * exp(rng.gauss(0, noise)) for times in _times(run))
            itself = run.workload.key == run.reference.key
            alone = mine / (1 + coupling) if itself else mine
            made.append(
                process_run(
                    # Processes measure all points; groups by themselves keep runs of a point together.
                    replace(run, session_id="reference"),
                    number,
                    paired=windows(mine),
                    reference=windows(theirs),
                    alone=windows(alone) if with_alone else None,
                )
            )
    session = replace(
        records.sessions[0], session_id="reference", started_at="2026-11-28T12:00:00+00:00", effort=Effort.REFERENCE
    )
    return replace(records, sessions=(*records.sessions, session), runs=(*records.runs, *made))


def _times(run: Run) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds
