"""What the pictures of a cost study share: which arms are drawn, how they look, rate, device, date, samples."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import least_sure
from pamprof.pricing.rates.hourly_rates import Rate, UnknownRate
from pamprof.pricing.rates.rate_words import hour_of
from pamprof.render.arms import arm_key, assign_arms, layer_titles
from pamprof.render.charts import Piece
from pamprof.render.text import days, device_label, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.comparison.results import Basis
    from pamprof.pricing.serving.study import ServingStudy, SizeClass, StudyArm
    from pamprof.records import Interval, Run, Session, Workload
    from pamprof.render.arms import Arm

_MOST_ARMS = 6
MILLION_HOURS = 1e6 / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartFacts:
    """One study and how its arms look."""

    study: ServingStudy
    arms: Mapping[str, Arm]

    def look(self, arm: StudyArm) -> Arm:
        """Colour, shape and name of an arm."""
        return self.arms[arm_key(_first(arm).workload)]

    def drawn(self, found: SizeClass) -> tuple[StudyArm, ...]:
        """The cheapest execution of each arm, at most six, the two decided between always among them."""
        best: dict[str, StudyArm] = {}
        for arm in found.arms:
            best.setdefault(arm_key(_first(arm).workload), arm)
        decided = set() if found.decision is None else {found.decision.subject, found.decision.rival}
        chosen = [arm for arm in best.values() if arm.deployment.curve.title in decided]
        for arm in best.values():
            if len(chosen) < _MOST_ARMS and arm not in chosen:
                chosen.append(arm)
        return tuple(arm for key in self.arms for arm in chosen if arm_key(_first(arm).workload) == key)

    def named(self, found: SizeClass, what: str) -> str:
        """``what``, with the size before it where there are several classes."""
        if len(self.study.classes) == 1:
            return what
        return f"{units.si(found.parameter_counts[1], digits=2)} parameters: {what}"

    @property
    def unit(self) -> str:
        """What money is shown in, in words."""
        code = self.study.request.currency.code
        return "US dollars" if code == "USD" else code

    def shown(self, usd: float) -> float:
        """Dollars in the study's currency."""
        return self.study.request.currency.convert(usd)

    @property
    def subtitle(self) -> str:
        """``NVIDIA H200 · 22 Nov 2026 · 100M parameters``."""
        devices = tuple(dict.fromkeys(device_label(found.environment) for found in self.study.classes))
        sizes = tuple(dict.fromkeys(units.si(found.parameter_counts[1], digits=2) for found in self.study.classes))
        dates = days(run.started_at for run in self._runs())
        return " · ".join((listed(devices), dates, f"{listed(sizes)} parameters"))

    @property
    def source(self) -> str:
        """The line that tells where a picture alone comes from."""
        environment = self.study.classes[0].environment
        driver = f", driver {environment.driver_version}" if environment.driver_version else ""
        return (
            f"Source: pamprof {environment.pamprof_version}, torch {environment.torch_version}{driver}; "
            "samples in the records."
        )

    @property
    def samples(self) -> str:
        """How many samples a measured place has, and what its interval is."""
        counts = sorted({len(run.timing.wall_time_seconds) for run in self._runs()})
        n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
        return (
            f"{n} samples a measured place, shades and bars 95 % intervals of its median; of an "
            "interpolation those of the affine and the logarithmic one together, of a model its largest error"
        )

    @property
    def basis(self) -> str:
        """How measured, interpolated and modelled are told apart."""
        return "Solid and filled: measured; dotted and half filled: interpolated; dashed and hollow: modelled."

    @property
    def demand(self) -> str:
        """The request, for a caption."""
        demand = self.study.request.demand
        return (
            f"Requests of {units.tokens(demand.input_tokens)} input and {units.tokens(demand.output_tokens)} output "
            "tokens"
        )

    @property
    def price(self) -> str:
        """The rates the dollars come from."""
        known = dict.fromkeys(
            f"{self.study.request.currency.rate_text(rate.usd_per_hour)} per "
            f"{'device-hour' if rate.quote is None else hour_of(rate.quote.chosen)} ({rate.provenance})"
            for rate in (rate_of_class(found) for found in self.study.classes)
            if rate is not None
        )
        if known:
            return f"At {'; '.join(known)}."
        reasons = (rate.reason for found in self.study.classes for rate in found.rates if isinstance(rate, UnknownRate))
        return f"No rate is known: {next(reasons, 'none was given')}."

    def _runs(self) -> list[Run]:
        runs = {id(run): run for found in self.study.classes for arm in found.arms for run in arm.deployment.curve.runs}
        return sorted(runs.values(), key=lambda run: run.started_at)


def chart_facts_of(
    study: ServingStudy, sessions: Iterable[Session] = (), *, beside: Iterable[Workload] = ()
) -> ChartFacts:
    """The study with a look for each of its arms; ``sessions`` give layers their names for people.

    ``beside`` are workloads shown on the same page, which must not look like these.
    """
    workloads = [_first(arm).workload for found in study.classes for arm in found.arms]
    return ChartFacts(study=study, arms=assign_arms(workloads, layer_titles(sessions), beside=beside))


def rate_of_class(found: SizeClass) -> Rate | None:
    """The rate conclusions are drawn at: the first known one."""
    return next((rate for rate in found.rates if isinstance(rate, Rate)), None)


def pieces(points: Sequence[tuple[float, Interval | None, Basis]]) -> tuple[Piece, ...]:
    """A line through (place, value, basis) in order; broken at None, and where the basis changes.

    A stretch has the basis of the less sure of its ends.
    """
    found: list[tuple[Basis, list[tuple[float, Interval]]]] = []
    for (x, value, basis), (next_x, next_value, next_basis) in pairwise(points):
        if value is None or next_value is None:
            continue
        both = least_sure(basis, next_basis)
        if found and found[-1][0] is both and found[-1][1][-1][0] == x:
            found[-1][1].append((next_x, next_value))
        else:
            found.append((both, [(x, value), (next_x, next_value)]))
    return tuple(
        Piece(xs=tuple(x for x, _ in stretch), values=tuple(value for _, value in stretch), basis=both)
        for both, stretch in found
    )


def _first(arm: StudyArm) -> Run:
    return arm.deployment.curve.runs[0]
