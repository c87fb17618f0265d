"""The four numbers a reader takes away: cost ratio in training, prefill and decode, and the crossover context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis, CrossoverQuantity
from pamprof.records import Phase
from pamprof.render.comparison.charts.ladder import BASIS_WORDS
from pamprof.render.comparison.crossing import by_bytes, in_words, measured_crossovers, modelled_crossover, whose
from pamprof.render.comparison.material import comparison_of
from pamprof.render.comparison.model import Tile
from pamprof.render.text import PHASE_NAMES, brackets, point_label

if TYPE_CHECKING:
    from pamprof.records import Interval
    from pamprof.render.comparison.material import Material


def tiles(material: Material) -> tuple[Tile, ...]:
    """Training, prefill, decode, crossover, in this order; an unknown one says why."""
    return (*(_phase_tile(material, phase) for phase in Phase), _crossover_tile(material))


def _phase_tile(material: Material, phase: Phase) -> Tile:
    heading = f"{PHASE_NAMES[phase]} cost"
    point = material.headline_point(phase)
    if point is None:
        return _unknown(heading, f"no {PHASE_NAMES[phase].lower()} point was measured to the end")
    published = material.published(point)
    comparison = None if published is None else comparison_of(point, published)
    if published is None or comparison is None:
        return _unknown(
            heading, f"{material.title_of(material.subject_layer)} has no number at {point_label(point.point)}"
        )
    reference = material.full_label(point.baseline.workload)
    improved = material.improved(point)
    second = ""
    if improved is not None and improved.workload != published.workload:
        better = comparison_of(point, improved)
        if better is not None:
            ratio = f"{units.ratio(better.time_ratio.median)} {brackets(better.time_ratio)}".rstrip()
            second = f"{ratio} at best ({material.full_label(improved.workload)})"
    return Tile(
        heading=heading,
        value=units.ratio(comparison.time_ratio.median),
        interval=brackets(comparison.time_ratio),
        basis=BASIS_WORDS[Basis.MEASURED],
        subject=f"{material.full_label(published.workload)} against {reference}, {point_label(point.point)}",
        second=second,
        reason="",
    )


def _crossover_tile(material: Material) -> Tile:
    heading = "Decode crossover"
    measured = measured_crossovers(material, Phase.DECODE)
    if not measured:
        modelled = modelled_crossover(material, CrossoverQuantity.DECODE_TRAFFIC)
        if modelled is None or modelled.tokens is None or material.main_points(Phase.DECODE):
            return _unknown(heading, "decode was not measured against a cache that grows")
        return Tile(
            heading=heading,
            value=_tokens(modelled.tokens),
            interval=brackets(modelled.tokens),
            basis=BASIS_WORDS[Basis.MODEL],
            subject="context above which the fixed state moves fewer bytes than the cache; decode was not measured",
            second=modelled.reason,
            reason="",
        )
    chosen = next((c for c in measured.values() if c.tokens is not None), next(iter(measured.values())))
    reference = material.title_of(material.reference_layer)
    rest = [f"Batch {batch}: {in_words(c)}." for batch, c in measured.items() if c is not chosen]
    second = " ".join((*rest, by_bytes(material))).strip()
    if chosen.tokens is None and chosen.direction == "unknown":
        return _unknown(heading, chosen.reason)
    name = whose(material, chosen)
    if chosen.tokens is None:
        return Tile(
            heading=heading,
            value="none",
            interval=f"batch {chosen.batch_size}",
            basis=BASIS_WORDS[chosen.basis],
            subject=f"against the {reference}, {name} is {in_words(chosen)}",
            second=second,
            reason="",
        )
    return Tile(
        heading=heading,
        value=_tokens(chosen.tokens),
        interval=brackets(chosen.tokens),
        basis=BASIS_WORDS[chosen.basis],
        subject=f"context above which {name} is cheaper than the {reference}, batch {chosen.batch_size}",
        second=second,
        reason="",
    )


def _tokens(length: Interval) -> str:
    return f"{units.significant(length.median)} tokens"


def _unknown(heading: str, reason: str) -> Tile:
    return Tile(heading=heading, value=units.UNKNOWN, interval="", basis="", subject="", second="", reason=reason)
