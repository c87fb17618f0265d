"""What the sections of a report are made from: records, conclusions with their story, the price, and how arms look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis import analyse
from pamprof.pricing.rates.price_choice import quote_as_measured
from pamprof.pricing.rates.rate_words import USER
from pamprof.pricing.run_cost import Cost, cost_per_million_tokens
from pamprof.render.arms import Arm, arm_key, assign_arms, execution_label
from pamprof.render.text import days, device_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.analysis.comparison.story import Analysis, Story
    from pamprof.records import Effort, Environment, PriceQuote, Session, Workload
    from pamprof.records.store import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """See the module. ``quote_reason`` says why ``quote`` is None; ``session`` is the latest header, if any."""

    records: RecordFile
    analysis: Analysis
    session: Session | None
    quote: PriceQuote | None
    quote_reason: str
    arms: dict[str, Arm]

    @property
    def story(self) -> Story:
        """Who is compared, at which points, and what the numbers are."""
        return self.analysis.story

    @property
    def efforts(self) -> dict[str, Effort | None]:
        """By session."""
        return {session.session_id: session.effort for session in self.records.sessions}

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

    def arm(self, workload: Workload) -> Arm:
        """How the workload's arm looks."""
        return self.arms[arm_key(workload)]

    def full_label(self, workload: Workload) -> str:
        """Arm and execution: ``PAM planar · compiled``."""
        return f"{self.arm(workload).label} · {execution_label(workload)}"

    def cost(self, summary: Summary) -> Cost | None:
        """Dollars per million tokens; None without a price."""
        return None if self.quote is None else cost_per_million_tokens(self.quote, summary.tokens_per_second)

    def best_arms(self, point: PointAnalysis) -> tuple[Summary, ...]:
        """The fastest execution of every arm of a point, in the arms' reading order."""
        by_key = {arm_key(summary.workload): summary for summary in self.story.best_arms(point)}
        return tuple(by_key[key] for key in self.arms if key in by_key)


def gather(
    records: RecordFile,
    analysis: Analysis,
    *,
    quote: PriceQuote | None,
    quote_reason: str | None,
    beside: Iterable[Workload] = (),
) -> ReportInputs:
    """Collect the inputs; without a quote of the caller's, the latest session's own is used.

    ``beside`` are workloads shown on the same page, which must not look like these.
    """
    session = max(records.sessions, key=lambda each: each.started_at, default=None)
    reason = quote_reason or ""
    if quote is None and quote_reason is None and session is not None:
        quote, reason = session.quote, session.quote_unknown_reason or ""
        measured = [run.environment for run in records.runs if run.session_id == session.session_id]
        if quote is not None and measured:
            quote, withdrawn = quote_as_measured(quote, measured[-1])
            reason = withdrawn or ""
    workloads = [run.workload for run in records.runs] + [skip.workload for skip in records.skips]
    return ReportInputs(
        records=records,
        analysis=analysis,
        session=session,
        quote=quote,
        quote_reason="" if quote else reason or "no price was given; give one with --price",
        arms=assign_arms(workloads, layers=analysis.story.roles.layers, beside=beside),
    )


def gather_machine(
    part: RecordFile, told: Environment | None, *, quote: PriceQuote | None, quote_reason: str | None
) -> ReportInputs:
    """The inputs of one machine of a report, concluded from its own runs and priced by its own session.

    A quote of the caller's replaces that price on the device model it was looked up for, ``told``; a rate that the user
    named, on every device of the same kind.
    """
    there = part.runs[0].environment
    holds = (
        quote is not None
        and told is not None
        and there.device_kind == told.device_kind
        and (there.device_name == told.device_name or quote.chosen.provider == USER)
    )
    return gather(part, analyse(part), quote=quote if holds else None, quote_reason=quote_reason)
