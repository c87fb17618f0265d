"""Which machine runs are from: what was not measured on one is never compared, and each has conclusions of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.records import LayerRole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

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


def joining_layers(here: Iterable[Run], sessions: Iterable[Session]) -> set[str]:
    """Subjects of ``sessions`` without a run ``here``, on the machine that is told of: another environment's stand in.

    References and twins are not among them: what everything is compared with is measured in one environment.
    """
    subjects = {facts.layer for session in sessions for facts in session.layers if facts.role is LayerRole.SUBJECT}
    return subjects - {run.workload.spec.layer for run in here}


def told_part(records: RecordFile, *, joined: bool = False) -> RecordFile:
    """What belongs to the machine that is told of, where each step ran on one device.

    A session or a skip names no machine, the runs of its session do; without any run it counts as this machine's. Skips
    of steps that ranks share are in the section on scaling.

    Args:
        records: Of any machines.
        joined: With the ``joining_layers`` as the same device model measured or skipped them in another environment.
    """
    skips = tuple(skip for skip in records.skips if skip.workload.layout is None)
    if not records.runs:
        return replace(records, skips=skips, problems=())
    here = machine_of(told_of(records.runs, records.sessions).environment)
    part = _of_machine(records, here)
    joining = joining_layers(part.runs, records.sessions) if joined else set()
    machines: dict[str, set[MachineKey]] = defaultdict(set)
    for run in records.runs:
        machines[run.session_id].add(machine_of(run.environment))
    for ranked in records.ranked:
        machines[ranked.session_id].add(machine_of(ranked.environment))

    def belongs(found: Collection[MachineKey], *, joins: bool) -> bool:
        return not found or here in found or (joins and any(key[:2] == here[:2] for key in found))

    return replace(
        part,
        sessions=tuple(s for s in records.sessions if belongs(machines[s.session_id], joins=joined)),
        runs=tuple(
            run
            for run in records.runs
            if belongs((machine_of(run.environment),), joins=run.workload.spec.layer in joining)
        ),
        skips=tuple(s for s in skips if belongs(machines[s.session_id], joins=s.workload.spec.layer in joining)),
    )


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
        skips=tuple(s for s in records.skips if s.session_id in sessions and s.workload.layout is None),
        ceilings=tuple(each for each in records.ceilings if machine_of(each.environment) == key),
        problems=(),
    )
