"""What a report tells, decided once: who is compared, at which points, what the numbers are, and what casts doubt.

Sentence, tiles, ladder, pictures, terminal and exports are derived from the ``Story`` and decide nothing themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.comparisons import common_reference
from pamprof.analysis.comparison.crossovers import STEADY_STEP
from pamprof.analysis.comparison.doubts import has_invalid_energy
from pamprof.analysis.comparison.results import Basis, CrossoverQuantity, Direction, DoubtKind
from pamprof.records import Effort, Execution, ImplementationKind, Phase
from pamprof.statistics import TARGET_HALF_WIDTH, half_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.comparison.comparisons import CommonReference
    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.comparison.noise_floor import NoiseFloor
    from pamprof.analysis.comparison.results import Comparison, Crossover, Doubt, PointAnalysis, Summary
    from pamprof.analysis.comparison.roles import Roles
    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import Session, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStory:
    """One phase at the point it is summed up by.

    Attributes:
        phase: Which.
        point: Its headline point: the session's own length, or the shortest measured; there the largest batch.
        best: The subject's fastest arm against the fastest reference; None where the subject was not measured there.
        own_reference: ``best``'s arm against the session's own reference in its fastest execution; None where that is
            the fastest reference, or was not measured.
        published: The subject's published code, in the fastest execution that the session's own reference was measured
            in as well, against that reference in that execution; None where no code is declared published or none was
            measured.
        eager: The published code, or the first where none is, in eager execution against the fastest reference; None
            where it was not measured or is one of the two above.
        others: ``best`` at the other lengths of the phase, each at its largest batch, in order of length.
        other_subjects: The fastest arm of every other subject against the fastest reference, in the roles' order.
        effort: The least that ``best``'s arm or its baseline was measured with; None in records that do not say.
    """

    phase: Phase
    point: PointAnalysis
    best: Comparison | None
    own_reference: Comparison | None
    published: Comparison | None
    eager: Comparison | None
    others: tuple[tuple[PointAnalysis, Comparison], ...]
    other_subjects: tuple[Comparison, ...]
    effort: Effort | None = None

    @property
    def best_summary(self) -> Summary | None:
        """The subject's fastest arm, summarised."""
        return None if self.best is None else self.point.summary_of(self.best.subject)

    @property
    def quoted(self) -> tuple[Workload, ...]:
        """Arms whose numbers make the headline, each once."""
        found = [c for c in (self.best, self.own_reference, self.published) if c is not None]
        return tuple(
            dict.fromkeys((*(w for c in found for w in (c.subject, c.baseline)), self.point.baseline.workload))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedDoubt:
    """A doubt about an arm of the headline."""

    summary: Summary
    doubt: Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickLacks:
    """What a comparison that was measured with effort quick has not, and a standard one would have.

    Attributes:
        point_count: Points that standard plans beyond the ``planned_count`` of the session; None where it does not say.
        planned_count: Points that the session planned, whether they were reached or not.
        quick_count: Of ``summary_count`` arms at their points, those that sessions of effort quick measured.
        without_energy_count: Of as many, those whose window was too short for energy.
        wide_count: Of ``ratio_count`` ratios, those whose interval is wider than ``TARGET_HALF_WIDTH``.
        widest_ratio: Relative half width of the widest of them; None without a ratio.
    """

    point_count: int | None
    planned_count: int
    quick_count: int
    without_energy_count: int
    summary_count: int
    wide_count: int
    ratio_count: int
    widest_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is told of a comparison.

    Attributes:
        roles: Subject, reference, twin and the other layers.
        points: Points in the session's dtype and scope, or in those most points have: what sentences and pictures use.
        phases: Training, prefill and decode as far as they were measured, in this order.
        crossovers: Measured crossovers of the subject's best arm: one for each phase and batch size, in that order.
        modelled: What bytes alone say of the subject: equal decode traffic and equal memory.
        doubts: Doubts about the arms of the first phase's headline, the one that could move it furthest first.
        effort: The least that an arm of ``points`` was measured with; None in records that do not say.
        lacks: What is missing where that is quick; None otherwise.
    """

    roles: Roles
    points: tuple[PointAnalysis, ...]
    phases: tuple[PhaseStory, ...]
    crossovers: tuple[Crossover, ...]
    modelled: tuple[Crossover, ...]
    doubts: tuple[QuotedDoubt, ...]
    effort: Effort | None = None
    lacks: QuickLacks | None = None

    @property
    def names(self) -> Names:
        """What layers and arms are called."""
        return self.roles.names

    @property
    def sentence(self) -> str:
        """The finding in words: what the subject costs against the reference, with interval and limits."""
        from pamprof.analysis.comparison.narrative import headline

        return headline(self)[0]

    @property
    def subject_title(self) -> str:
        """Name of the subject; that of the reference where nothing else was measured."""
        return self.names.title(self.roles.subject or self.roles.reference)

    @property
    def reference_title(self) -> str:
        """Name of what everything is compared to; where that is not the same at every point, of all of them."""
        return self.names.fastest_of(self.reference_layers)

    @property
    def reference_layers(self) -> tuple[str, ...]:
        """The references that are the fastest at a point, in order of preference; the session's own without points."""
        fastest = {point.baseline.workload.spec.layer for point in self.points}
        return tuple(layer for layer in self.roles.references if layer in fastest) or (self.roles.reference,)

    def phase(self, phase: Phase) -> PhaseStory | None:
        """The story of one phase; None where it was not measured."""
        return next((told for told in self.phases if told.phase is phase), None)

    def effort_of(self, phase: Phase) -> Effort | None:
        """The effort of a phase's own number; None where it was not measured, and where the records do not say."""
        told = self.phase(phase)
        return None if told is None else told.effort

    def points_of(self, phase: Phase) -> tuple[PointAnalysis, ...]:
        """The points of one phase."""
        return tuple(point for point in self.points if point.point.phase is phase)

    def crossovers_of(self, phase: Phase) -> dict[int, Crossover]:
        """The crossovers of one phase by batch size, in order."""
        return {crossover.batch_size: crossover for crossover in self.crossovers if crossover.phase is phase}

    def summed_up_by(self, phase: Phase) -> Crossover | None:
        """The crossover that stands for a phase: the first that was bracketed, else that of the smallest batch."""
        found = self.crossovers_of(phase).values()
        return next((crossover for crossover in found if crossover.tokens is not None), next(iter(found), None))

    def modelled_crossover(self, quantity: CrossoverQuantity) -> Crossover | None:
        """What bytes alone say of ``quantity``."""
        return next((crossover for crossover in self.modelled if crossover.quantity is quantity), None)

    def common_reference(self, points: Sequence[PointAnalysis]) -> CommonReference:
        """What a curve of the subject over ``points`` is held to."""
        measured = [p for p in points if any(s.workload.spec.layer == self.roles.subject for s in p.summaries)]
        return common_reference(
            {point.point: [summary.run for summary in point.summaries] for point in measured},
            {point.point: point.baseline.run for point in measured},
            self.roles.references,
        )

    def best_of_subject(self, point: PointAnalysis) -> Comparison | None:
        """The subject's fastest arm at any point against the baseline there."""
        return _best(point, self.roles.subject)

    def best_arms(self, point: PointAnalysis) -> tuple[Summary, ...]:
        """The fastest execution of every implementation at a point, in the order they were measured."""
        fastest: dict[tuple[str, str, int, str | None], Summary] = {}
        for summary in point.summaries:
            spec, implementation = summary.workload.spec, summary.workload.implementation
            arm = (spec.layer, implementation, spec.state_count, spec.state_dtype)
            if arm not in fastest or summary.step_seconds.median < fastest[arm].step_seconds.median:
                fastest[arm] = summary
        return tuple(fastest.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything concluded from a set of records, ready for a view.

    Attributes:
        points: Conclusions point by point.
        crossovers: All of them, measured and modelled.
        story: What the report tells of them.
        problems: What was left out of the conclusions, a sentence each.
        noise_floor: How far from 1 the reference against itself can be told; None where it was not paired with itself.
        roofs: The ceilings over the points, one for each dtype in their order.
    """

    points: tuple[PointAnalysis, ...]
    crossovers: tuple[Crossover, ...]
    story: Story
    problems: tuple[str, ...]
    noise_floor: NoiseFloor | None
    roofs: tuple[Roof, ...] = ()


def tell(
    points: Sequence[PointAnalysis],
    crossovers: Sequence[Crossover],
    roles: Roles,
    session: Session | None,
    *,
    efforts: Mapping[str, Effort | None],
) -> Story:
    """The story of ``points``.

    Args:
        points: Conclusions.
        crossovers: Measured and modelled.
        roles: Who is compared.
        session: The latest header; None where the records hold none.
        efforts: By session.
    """
    shown = _main_points(points, roles, session)
    phases = tuple(
        replace(told, effort=_least_effort(_summed_up(told), efforts))
        for phase in Phase
        if (told := _phase(phase, shown, roles, session)) is not None
    )
    effort = _least_effort([summary for point in shown for summary in point.summaries], efforts)
    return Story(
        roles=roles,
        points=shown,
        phases=phases,
        crossovers=_best_crossovers(crossovers, shown, roles),
        modelled=tuple(c for c in crossovers if c.basis is Basis.MODELLED and c.subject_layer == roles.subject),
        doubts=_doubts(phases),
        effort=effort,
        lacks=_lacks(shown, session, efforts) if effort is Effort.QUICK else None,
    )


def headline_point(points: Sequence[PointAnalysis], roles: Roles, session: Session | None) -> PointAnalysis | None:
    """The point that the story opens with: of decode where that was measured, else of the first phase."""
    shown = _main_points(points, roles, session)
    found = (_phase(phase, shown, roles, session) for phase in (Phase.DECODE, Phase.TRAIN, Phase.PREFILL))
    return next((told.point for told in found if told is not None), None)


def _summed_up(told: PhaseStory) -> list[Summary]:
    """The two arms that the phase's own number is made of."""
    best = told.best
    return [told.point.baseline] if best is None else [told.point.summary_of(w) for w in (best.subject, best.baseline)]


def _least_effort(summaries: Sequence[Summary], efforts: Mapping[str, Effort | None]) -> Effort | None:
    found = [effort for s in summaries if (effort := efforts.get(s.run.session_id)) is not None]
    return min(found, key=tuple(Effort).index, default=None)


def _lacks(
    points: Sequence[PointAnalysis], session: Session | None, efforts: Mapping[str, Effort | None]
) -> QuickLacks:
    summaries = [summary for point in points for summary in point.summaries]
    widths = [half_width(comparison.time_ratio) for point in points for comparison in point.comparisons]
    return QuickLacks(
        point_count=None if session is None else session.unplanned_count,
        planned_count=0 if session is None else len(set(session.planned)),
        quick_count=sum(efforts.get(summary.run.session_id) is Effort.QUICK for summary in summaries),
        without_energy_count=sum(has_invalid_energy(summary.run) for summary in summaries),
        summary_count=len(summaries),
        wide_count=sum(width > TARGET_HALF_WIDTH for width in widths),
        ratio_count=len(widths),
        widest_ratio=max(widths, default=None),
    )


def _main_points(points: Sequence[PointAnalysis], roles: Roles, session: Session | None) -> tuple[PointAnalysis, ...]:
    if not points:
        return ()
    wanted = Counter((point.point.dtype, point.point.scope) for point in points).most_common(1)[0][0]
    asked = None if session is None else (session.dtype, session.scope)
    with_subject = {(p.point.dtype, p.point.scope) for p in points if _arms_of(p, roles.subject)}
    if asked is not None and (asked in with_subject or not with_subject):
        wanted = asked
    shown = tuple(point for point in points if (point.point.dtype, point.point.scope) == wanted)
    return shown or tuple(points)


def _arms_of(point: PointAnalysis, layer: str | None) -> list[Comparison]:
    """Comparisons of a layer with another; none where nothing but that layer was measured."""
    if point.baseline.workload.spec.layer == layer:
        return []
    return [c for c in point.comparisons if c.subject.spec.layer == layer]


def _phase(phase: Phase, points: Sequence[PointAnalysis], roles: Roles, session: Session | None) -> PhaseStory | None:
    of_phase = [point for point in points if point.point.phase is phase]
    candidates = [point for point in of_phase if _arms_of(point, roles.subject)] or of_phase
    if not candidates:
        return None
    lengths = sorted({point.point.sequence_length for point in candidates})
    length = session.sequence_length if session is not None and session.sequence_length in lengths else lengths[0]
    point = _largest_batch(candidates, length)
    best, published = _best(point, roles.subject), _published(point, roles)
    others = ((at, _best(at, roles.subject)) for at in (_largest_batch(candidates, t) for t in lengths if t != length))
    return PhaseStory(
        phase=phase,
        point=point,
        best=best,
        own_reference=next((c for c in point.own_reference if best is not None and c.subject == best.subject), None),
        published=published,
        eager=_eager(point, roles, {(c.subject, c.baseline) for c in (best, published) if c is not None}),
        others=tuple((at, comparison) for at, comparison in others if comparison is not None),
        other_subjects=tuple(c for layer in roles.other_subjects if (c := _best(point, layer)) is not None),
    )


def _largest_batch(points: Sequence[PointAnalysis], length: int) -> PointAnalysis:
    return max((p for p in points if p.point.sequence_length == length), key=lambda p: p.point.batch_size)


def _best(point: PointAnalysis, layer: str | None) -> Comparison | None:
    return min(_arms_of(point, layer), key=lambda c: c.time_ratio.median, default=None)


def _published(point: PointAnalysis, roles: Roles) -> Comparison | None:
    found = [
        comparison
        for comparison in point.same_execution
        if comparison.subject.spec.layer == roles.subject
        and roles.kind(comparison.subject) is ImplementationKind.PUBLISHED
    ]
    return min(found, key=lambda c: point.summary_of(c.subject).step_seconds.median, default=None)


def _eager(point: PointAnalysis, roles: Roles, told: set[tuple[Workload, Workload]]) -> Comparison | None:
    """The published or first code in eager execution; None where that pair is among those ``told``."""
    eager = [c for c in _arms_of(point, roles.subject) if c.subject.execution is Execution.EAGER]
    if not eager:
        return None
    order = [known.name for known in roles.layers[eager[0].subject.spec.layer].implementations]
    ranked = sorted(
        eager,
        key=lambda c: (
            roles.kind(c.subject) is not ImplementationKind.PUBLISHED,
            order.index(c.subject.implementation),
        ),
    )
    return None if (ranked[0].subject, ranked[0].baseline) in told else ranked[0]


def _best_crossovers(
    crossovers: Sequence[Crossover], points: Sequence[PointAnalysis], roles: Roles
) -> tuple[Crossover, ...]:
    dtypes = {point.point.dtype for point in points}
    chosen: dict[tuple[Phase, int], Crossover] = {}
    for crossover in crossovers:
        if (
            crossover.basis is not Basis.MODELLED
            and crossover.quantity is CrossoverQuantity.TIME
            and crossover.batch_size != STEADY_STEP
            and crossover.subject_layer == roles.subject
            and crossover.dtype in dtypes
        ):
            place = (crossover.phase, crossover.batch_size)
            known = chosen.get(place)
            if known is None or _rank(crossover) < _rank(known):
                chosen[place] = crossover
    phases = tuple(Phase)
    return tuple(chosen[place] for place in sorted(chosen, key=lambda place: (phases.index(place[0]), place[1])))


def _rank(crossover: Crossover) -> tuple[int, float, float]:
    """The arm that becomes the cheaper one first; of equals the fastest at the longest context."""
    tokens = crossover.tokens.median if crossover.tokens is not None else 0.0
    return tuple(Direction).index(crossover.direction), tokens, crossover.ratios[-1].median


def _doubts(phases: Sequence[PhaseStory]) -> tuple[QuotedDoubt, ...]:
    if not phases:
        return ()
    told = next((phase for phase in phases if phase.best is not None), phases[0])
    found = [
        QuotedDoubt(summary=summary, doubt=doubt)
        for summary in (told.point.summary_of(workload) for workload in told.quoted)
        for doubt in summary.doubts
    ]
    kinds = tuple(DoubtKind)
    return tuple(sorted(found, key=lambda q: (-_weight(q.doubt), kinds.index(q.doubt.kind))))


def _weight(doubt: Doubt) -> float:
    """How far the doubt could move the ratio; what nothing bounds weighs most."""
    return inf if doubt.shift_ratio is None else doubt.shift_ratio
