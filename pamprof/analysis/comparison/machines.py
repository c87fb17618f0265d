"""Which machine runs are from: what was not measured on one is never compared, and each has conclusions of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Environment, Run, Session
    from pamprof.records.store import RecordFile

MachineKey = tuple[str | None, ...]


def machine_of(environment: Environment) -> MachineKey:
    """What two runs must share to be compared: device, driver, CUDA and torch."""
    return (
        environment.device_kind,
        environment.device_name,
        environment.driver_version,
        environment.cuda_version,
        environment.torch_version,
    )


def machine_name(environment: Environment) -> str:
    """A machine in words."""
    driver = f", driver {environment.driver_version}" if environment.driver_version else ""
    return f"{environment.device_name} with torch {environment.torch_version}{driver}"


def told_of(runs: Sequence[Run], sessions: Sequence[Session]) -> Run:
    """The run whose machine a report is told of: the latest, or in a fleet the latest of the machine with most runs.

    Args:
        runs: At least one.
        sessions: Which of them were measured together on a fleet.
    """
    latest = max(enumerate(runs), key=lambda item: (item[1].started_at, item[0]))[1]
    fleets = {session.session_id: session.fleet for session in sessions}
    fleet = fleets.get(latest.session_id)
    if fleet is None:
        return latest
    together = [run for run in runs if fleets.get(run.session_id) == fleet]
    counts = Counter(machine_of(run.environment) for run in together)
    return max(together, key=lambda run: (counts[machine_of(run.environment)], run.started_at))


def by_machine(records: RecordFile) -> dict[str, RecordFile]:
    """The records of each machine by its name, in the order they were first measured; damage belongs to none."""
    first: dict[MachineKey, Run] = {}
    for run in records.runs:
        first.setdefault(machine_of(run.environment), run)
    devices = Counter(run.environment.device_name for run in first.values())
    found = {}
    for key, run in first.items():
        environment = run.environment
        alone = devices[environment.device_name] == 1
        found[environment.device_name if alone else machine_name(environment)] = _of_machine(records, key)
    return found


def other_environments(records: RecordFile) -> tuple[RecordFile, ...]:
    """What was measured on the device model that is told of with another driver, CUDA or torch, latest first.

    Each is to be analysed by itself: a ratio holds within one environment. Sessions without a run are of none.
    """
    if not records.runs:
        return ()
    here = machine_of(told_of(records.runs, records.sessions).environment)
    latest = sorted(records.runs, key=lambda run: run.started_at, reverse=True)
    machines = dict.fromkeys(machine_of(run.environment) for run in latest)
    return tuple(_of_machine(records, key) for key in machines if key != here and key[:2] == here[:2])


def _of_machine(records: RecordFile, key: MachineKey) -> RecordFile:
    runs = tuple(run for run in records.runs if machine_of(run.environment) == key)
    sessions = {run.session_id for run in runs}
    return replace(
        records,
        runs=runs,
        sessions=tuple(session for session in records.sessions if session.session_id in sessions),
        skips=tuple(skip for skip in records.skips if skip.session_id in sessions),
        ceilings=tuple(each for each in records.ceilings if machine_of(each.environment) == key),
        problems=(),
    )
