"""What a fresh process moves: measured where a file holds several processes, presumed where it does not."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import has_windows, process_of
from pamprof.analysis.history.conditions import conditions
from pamprof.statistics import CONFIDENCE, EQUIVALENCE_BAND, repeats_to_settle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.records import Interval, Run
    from pamprof.statistics import ProcessComparison

# Relative standard deviation between processes of a ratio to a common reference. CPU: root mean square over 20
# workloads of three default comparisons of the preset tiny, one commit, on two shared cores of an AMD EPYC, 2026-11-28
# (median 0.037). CUDA: runs, neighbouring points and boards of H200 differed by 0.1 to 2 % in decoding, 2026-11-23.
_CHAINED_RATIO = {"cpu": 0.07, "cuda": 0.01}
# The same of a step's own time. CPU: median over 24 workloads of four comparisons of 2026-11-28, as above.
_UNPAIRED_RATIO = {"cpu": 0.15, "cuda": 0.01}


def presumed_spread_ratio(device_kind: str, *, chained: bool) -> float:
    """Relative standard deviation between fresh processes; that of a CPU for a device that is not known."""
    table = _CHAINED_RATIO if chained else _UNPAIRED_RATIO
    return table.get(device_kind, table["cpu"])


def repeats_of(latest: Run, runs: Iterable[Run]) -> tuple[Run, ...]:
    """The runs in which fresh processes measured the workload of ``latest`` in the same way, ``latest`` among them.

    They share workload, reference, conditions, the code that measured (commit and version), and windows or samples. A
    process counts once, by its last run.
    """

    def way(run: Run) -> tuple[object, ...]:
        environment = run.environment
        code = (environment.git_commit, environment.pamprof_version)
        return run.workload.key, run.reference.key, conditions(run), code, has_windows(run)

    wanted = way(latest)
    found: dict[tuple[str, str], Run] = {}
    for run in (*runs, latest):
        known = found.get(process_of(run))
        if way(run) == wanted and (known is None or run.started_at >= known.started_at):
            found[process_of(run)] = run
    return tuple(found.values())


def repeats_until_decided(ratio: Interval, found: ProcessComparison, fail_above: float | None) -> int | None:
    """Processes of each side that would decide, if the ratio stays; None where a hundred would not.

    Without a gate the verdict is to be decided, with one the gate.
    """
    if fail_above is None:
        distance = abs(log(ratio.median)) - log(1 + EQUIVALENCE_BAND)
    else:
        distance = log(ratio.median) - log(1 + fail_above)
    return repeats_to_settle(distance, found.process_error, confidence=CONFIDENCE)
