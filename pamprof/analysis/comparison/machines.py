"""Which records were measured on one machine: what is compared in one analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Environment
    from pamprof.records.store import RecordFile

Machine = tuple[str | None, ...]


def machine_of(environment: Environment) -> Machine:
    """What must be equal for a comparison: the device and what drives it."""
    return (
        environment.device_kind,
        environment.device_name,
        environment.driver_version,
        environment.cuda_version,
        environment.torch_version,
    )


def machine_name(environment: Environment) -> str:
    """A machine for people."""
    driver = f", driver {environment.driver_version}" if environment.driver_version else ""
    return f"{environment.device_name} with torch {environment.torch_version}{driver}"


def other_environments(records: RecordFile) -> tuple[RecordFile, ...]:
    """What was measured on the device model of the latest run with another driver, CUDA or torch, latest first.

    Each is to be analysed by itself: a ratio holds within one environment. Sessions without a run are of the latest.
    """
    latest = sorted(records.runs, key=lambda run: run.started_at, reverse=True)
    if not latest:
        return ()
    newest = latest[0].environment
    machines = dict.fromkeys(machine_of(run.environment) for run in latest)
    parts = []
    for machine in machines:
        if machine == machine_of(newest) or machine[:2] != machine_of(newest)[:2]:
            continue
        runs = tuple(run for run in records.runs if machine_of(run.environment) == machine)
        sessions = {run.session_id for run in runs}
        parts.append(
            replace(
                records,
                runs=runs,
                sessions=tuple(s for s in records.sessions if s.session_id in sessions),
                skips=tuple(s for s in records.skips if s.session_id in sessions),
                ceilings=tuple(c for c in records.ceilings if machine_of(c.environment) == machine),
                problems=(),
            )
        )
    return tuple(parts)
