"""Whether the reference itself changed between two files, which ratios taken through it cannot show."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.history.conditions import conditions
from pamprof.errors import RecordError
from pamprof.statistics import Verdict, unpaired_ratio_interval, verdict
from pamprof.units import ratio as ratio_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Run

# With fewer moments their scatter gives no useful interval, and the samples themselves are used.
_FEWEST_MOMENTS = 3


def reference_times(like: Run, runs: Sequence[Run]) -> tuple[float, ...]:
    """Step times of the reference of ``like`` in its file, seconds, in file order: one median for each moment.

    The reference was sampled again beside every arm of its point. These moments are minutes apart, so the scatter of
    their medians includes the drift of the machine, which the samples of one moment do not. With fewer than three
    moments the samples themselves are returned.
    """
    wanted = conditions(like)
    moments = [
        run.timing.reference_wall_time_seconds
        for run in runs
        if run.reference.key == like.reference.key
        and run.timing.reference_wall_time_seconds
        and conditions(run) == wanted
    ]
    if len(moments) >= _FEWEST_MOMENTS:
        return tuple(median(moment) for moment in moments)
    return tuple(sample for moment in moments for sample in moment)


def moved_references(
    pairs: Sequence[tuple[Run, Run]], base_runs: Sequence[Run], head_runs: Sequence[Run]
) -> tuple[str, ...]:
    """One sentence for each common reference whose own time changed beyond the equivalence band."""
    seen: set[tuple[str, str]] = set()
    several = len({base.environment.device_name for base, _ in pairs}) > 1
    sentences: list[str] = []
    for base, head in pairs:
        key = base.reference.key
        device = base.environment.device_name
        if (key, device) in seen or key != head.reference.key or conditions(base) != conditions(head):
            continue
        seen.add((key, device))
        try:
            ratio = unpaired_ratio_interval(reference_times(head, head_runs), reference_times(base, base_runs))
        except (RecordError, OverflowError):
            continue  # the row of the reference, or of a workload paired with it, names the invalid sample
        if verdict(ratio) in {Verdict.FASTER, Verdict.SLOWER}:
            sentences.append(
                f"the reference {key}{f' on {device}' if several else ''} itself took {ratio_text(ratio.median)} "
                f"[{ratio_text(ratio.low)}, {ratio_text(ratio.high)}] of its time in BASE: the machine drifted or the "
                "reference's own code changed; ratios through it leave that out"
            )
    return tuple(sentences)
