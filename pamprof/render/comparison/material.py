"""What the sections of a report are made from: records, what analysis concluded, the price, and who is who."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.pricing.run_cost import Cost, cost_per_million_tokens
from pamprof.render.arms import Arm, arm_key, assign_arms, execution_label, layer_titles
from pamprof.render.text import days, device_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import Analysis, Comparison, PointAnalysis, Summary
    from pamprof.records import Environment, Phase, PriceQuote, Session, Workload
    from pamprof.records.store import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """See the module. ``quote_reason`` says why ``quote`` is None."""

    records: RecordFile
    analysis: Analysis
    quote: PriceQuote | None
    quote_reason: str
    arms: dict[str, Arm]

    @property
    def session(self) -> Session | None:
        """The latest header; None where the records hold none."""
        return self.records.sessions[-1] if self.records.sessions else None

    @property
    def environment(self) -> Environment | None:
        """Where the first concluded point was measured; None where nothing was."""
        for point in self.analysis.points:
            return point.baseline.run.environment
        return self.records.runs[0].environment if self.records.runs else None

    @property
    def device(self) -> str:
        """Names of all devices measured, for titles."""
        names = dict.fromkeys(device_label(run.environment) for run in self.records.runs)
        return " and ".join(names) if names else "no device"

    @property
    def date(self) -> str:
        """Day of the runs, or the first one and the last; without any run that of the sessions."""
        times = [run.started_at for run in self.records.runs or self.records.sessions]
        return days(times) if times else "no date"

    @property
    def reference_layer(self) -> str:
        """Layer everything is compared to."""
        if self.session is not None:
            return self.session.reference_layer
        points = self.analysis.points
        return points[0].baseline.workload.spec.layer if points else "transformer"

    @property
    def subject_layer(self) -> str:
        """Layer the report is about: PAM where it was measured, otherwise the last one that is not the reference."""
        layers = [key.split("/")[0] for key in self.arms]
        others = [layer for layer in layers if layer not in {self.reference_layer, "real_pam"}] or layers
        return "pam" if "pam" in others else others[-1] if others else "pam"

    def title_of(self, layer: str) -> str:
        """Name of a layer for people."""
        return layer_titles(self.records.sessions).get(layer, layer)

    def arm(self, workload: Workload) -> Arm:
        """How the workload's arm looks."""
        return self.arms[arm_key(workload)]

    def full_label(self, workload: Workload) -> str:
        """Arm and execution: ``PAM planar · compiled``."""
        return f"{self.arm(workload).label} · {execution_label(workload)}"

    def cost(self, summary: Summary) -> Cost | None:
        """Dollars per million tokens; None without a price."""
        return None if self.quote is None else cost_per_million_tokens(self.quote, summary.tokens_per_second)

    def main_points(self, phase: Phase | None = None) -> tuple[PointAnalysis, ...]:
        """Points in the session's dtype and scope, for pictures; the table shows all."""
        points = [p for p in self.analysis.points if phase is None or p.point.phase is phase]
        if self.session is not None:
            wanted = [p for p in points if (p.point.dtype, p.point.scope) == (self.session.dtype, self.session.scope)]
            points = wanted or points
        return tuple(points)

    def headline_point(self, phase: Phase) -> PointAnalysis | None:
        """The point a phase is summed up by: the session's own length, or the shortest; there the largest batch."""
        points = self.main_points(phase)
        if not points:
            return None
        lengths = sorted({p.point.sequence_length for p in points})
        asked = self.session.sequence_length if self.session is not None else lengths[0]
        length = asked if asked in lengths else lengths[0]
        return max((p for p in points if p.point.sequence_length == length), key=lambda p: p.point.batch_size)

    def best(self, point: PointAnalysis) -> tuple[Summary, ...]:
        """The fastest execution of every implementation, in the arms' reading order."""
        fastest: dict[str, Summary] = {}
        for summary in point.summaries:
            key = arm_key(summary.workload)
            if key not in fastest or summary.step_seconds.median < fastest[key].step_seconds.median:
                fastest[key] = summary
        return tuple(fastest[key] for key in self.arms if key in fastest)

    def published(self, point: PointAnalysis) -> Summary | None:
        """The subject as its authors run it (eager); its first implementation where none is called published."""
        candidates = [s for s in point.summaries if s.workload.spec.layer == self.subject_layer]
        as_published = [s for s in candidates if s.workload.implementation == "published"] or candidates
        eager = [s for s in as_published if s.workload.execution == "eager"] or as_published
        return eager[0] if eager else None

    def improved(self, point: PointAnalysis) -> Summary | None:
        """The subject's fastest arm."""
        candidates = [s for s in point.summaries if s.workload.spec.layer == self.subject_layer]
        return min(candidates, key=lambda s: s.step_seconds.median) if candidates else None


def comparison_of(point: PointAnalysis, summary: Summary) -> Comparison | None:
    """The comparison of an arm with its point's baseline; None for the baseline itself."""
    return next((c for c in point.comparisons if c.subject == summary.workload), None)


def gather(
    records: RecordFile,
    analysis: Analysis,
    *,
    quote: PriceQuote | None,
    quote_reason: str | None,
    beside: Iterable[Workload] = (),
) -> Material:
    """Collect the material; without a quote of the caller's, the latest session's own is used.

    ``beside`` are workloads shown on the same page, which must not look like these.
    """
    session = records.sessions[-1] if records.sessions else None
    reason = quote_reason or ""
    if quote is None and quote_reason is None and session is not None:
        quote, reason = session.quote, session.quote_unknown_reason or ""
    workloads = [run.workload for run in records.runs] + [skip.workload for skip in records.skips]
    return Material(
        records=records,
        analysis=analysis,
        quote=quote,
        quote_reason="" if quote else reason or "no price was given; give one with --price",
        arms=assign_arms(workloads, layer_titles(records.sessions), beside=beside),
    )
