"""The four numbers a reader takes away: cost ratio in training, prefill and decode, and the crossover context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.results import Basis
from pamprof.records import Phase
from pamprof.render.chart_ladder import BASIS_WORDS
from pamprof.render.material import comparison_of
from pamprof.render.model import Tile
from pamprof.render.text import PHASE_NAMES, brackets, point_label

if TYPE_CHECKING:
    from pamprof.analysis.results import Crossover
    from pamprof.render.material import Material


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
    own = [c for c in material.analysis.crossovers if c.subject_layer == material.subject_layer]
    if not own:
        return _unknown(heading, "decode was not measured at two lengths, and no formula applies")
    chosen = _choose(own)
    subject = material.title_of(chosen.subject_layer)
    key = f"{chosen.subject_layer}/{chosen.subject_implementation}"
    if key in material.arms:
        subject = material.arms[key].label
    reference = material.title_of(material.reference_layer)
    if chosen.tokens is None:
        words = {"always cheaper": "none: always cheaper", "always dearer": "none: always dearer"}
        value = words.get(chosen.direction)
        if value is None:
            return _unknown(heading, chosen.reason)
        return Tile(
            heading=heading,
            value=value.split(": ")[1],
            interval="",
            basis=BASIS_WORDS[chosen.basis],
            subject=f"{subject} against the {reference}, batch {chosen.batch_size}, at every length measured",
            second=chosen.reason,
            reason="",
        )
    return Tile(
        heading=heading,
        value=f"{units.significant(chosen.tokens.median)} tokens",
        interval=brackets(chosen.tokens),
        basis=BASIS_WORDS[chosen.basis],
        subject=f"context above which {subject} is cheaper than the {reference}, batch {chosen.batch_size}",
        second=chosen.reason,
        reason="",
    )


def _choose(crossovers: list[Crossover]) -> Crossover:
    """A measured number before a measured direction before a formula; the largest batch, the last implementation."""

    def rank(c: Crossover) -> tuple[bool, bool, bool, int]:
        measured = c.basis is Basis.MEASURED
        return (
            measured and c.tokens is not None,
            measured and c.direction != "unknown",
            c.tokens is not None,
            c.batch_size,
        )

    return max(crossovers, key=rank)


def _unknown(heading: str, reason: str) -> Tile:
    return Tile(heading=heading, value=units.UNKNOWN, interval="", basis="", subject="", second="", reason=reason)
