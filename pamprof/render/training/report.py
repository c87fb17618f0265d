"""Several profiled training loops: each with its figures, and from the second on against the first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.history.process_spread import presumed_spread_ratio
from pamprof.errors import RecordError
from pamprof.render.text import brackets, cleaned, plural
from pamprof.render.training.figures import Figure, TrainingView, training_text, training_view
from pamprof.statistics import CONFIDENCE, compare_processes, unpaired_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import TrainingProfile
    from pamprof.records.store import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a page of training loops shows.

    Attributes:
        title: How many, on what.
        alerts: What must be known first: lines that could not be read.
        loops: Each with its figures, in file order.
    """

    title: str
    alerts: tuple[str, ...]
    loops: tuple[TrainingView, ...]


def training_report(records: RecordFile) -> TrainingReport:
    """The loops of ``records``, of which there is at least one."""
    devices = dict.fromkeys(profile.environment.device_name for profile in records.profiles)
    return cleaned(
        TrainingReport(
            title=f"{plural(len(records.profiles), 'training loop')} · {', '.join(devices)}",
            alerts=() if records.damage is None else (f"{records.damage}. Any loop may be in them.",),
            loops=training_views(records.profiles),
        )
    )


def training_report_text(report: TrainingReport) -> str:
    """The loops one after another, in plain lines."""
    return "\n\n".join([*report.alerts, *map(training_text, report.loops)])


def training_views(profiles: Sequence[TrainingProfile]) -> tuple[TrainingView, ...]:
    """Each loop; after its step time stands, from the second loop on, the ratio to that of the first."""
    views = []
    for number, profile in enumerate(profiles):
        view = training_view(profile)
        if number:
            step, *others = view.figures
            view = cleaned(replace(view, figures=(step, _against(profile, profiles[0]), *others)))
        views.append(view)
    return tuple(views)


def _against(profile: TrainingProfile, first: TrainingProfile) -> Figure:
    """The step time over the first loop's: unpaired, and holding what a fresh process moves."""
    spread = max(presumed_spread_ratio(each.environment.device_kind, chained=False) for each in (profile, first))
    ratio = None
    try:
        found = compare_processes(
            [unpaired_estimate(profile.step_seconds)],
            [unpaired_estimate(first.step_seconds)],
            presumed_spread_ratio=spread,
        )
    except RecordError as exc:
        detail = str(exc)
    else:
        ratio = found.estimate.interval(CONFIDENCE)
        detail = f"{brackets(ratio)}, unpaired; a fresh process is presumed to move it by {units.percent(spread)}"
    return Figure(
        heading="Step × first loop",
        text=units.UNKNOWN if ratio is None else units.ratio(ratio.median),
        detail=detail,
        column="step_ratio_to_first",
        value=None if ratio is None else ratio.median,
    )
