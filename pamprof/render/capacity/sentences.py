"""What was found about capacity, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import AssociativeMemory
from pamprof.render.capacity.looks import memory_name
from pamprof.render.capacity.numbers import count, per_kib, percent
from pamprof.render.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.capacity.conclude import CapacityFindings


def sentences(findings: CapacityFindings) -> list[str]:
    """What was found: published points, what is held, per byte, and what several states add."""
    said = []
    if findings.published:
        points = "; ".join(
            f"{memory_name(point.state)} returns {percent(point.accuracy)} % [{percent(point.low)}, "
            f"{percent(point.high)}], published {percent(point.published)} %"
            f"{'' if point.agrees else ', which does not agree'}"
            for point in findings.published
        )
        place = findings.published[0]
        said.append(f"{place.associations} random associations at d = {place.head_dim}: {points}.")
    head_dims = tuple(dict.fromkeys(each.head_dim for each in findings.held))
    for head_dim in head_dims:
        held = [each for each in findings.held if each.head_dim == head_dim and each.associations is not None]
        if held:
            words = listed(tuple(f"{count(each)} ({memory_name(each.state)})" for each in held))
            said.append(f"With {head_dim} channels 99 % are retrieved of up to {words}.")
    said += [*_per_byte(findings, head_dims), *_several_states(findings, head_dims)]
    return said


def _per_byte(findings: CapacityFindings, head_dims: Sequence[int]) -> list[str]:
    """That the matrix holds more by its size, and what a byte of each holds."""
    places = []
    for head_dim in head_dims:
        one = findings.held_by(AssociativeMemory.PAM_K1, head_dim)
        vector = findings.held_by(AssociativeMemory.VECTOR, head_dim)
        if not one or not vector or one.is_bound or vector.is_bound:
            continue  # what is held at least compares with nothing
        if (one.per_state_byte or 0) < (vector.per_state_byte or 0):
            places.append(f"{per_kib(one)} against {per_kib(vector)} at d = {head_dim}")
    if not places:
        return []
    return [
        "PAM's matrix holds more than the vector because it is d times as large; a KiB of it holds fewer associations, "
        f"{listed(tuple(places))}."
    ]


def _several_states(findings: CapacityFindings, head_dims: Sequence[int]) -> list[str]:
    """What K states add to one, without forgetting and with it."""

    def pairs(first: AssociativeMemory, second: AssociativeMemory) -> list[tuple[int, int, int]]:
        found = [(d, findings.held_by(first, d), findings.held_by(second, d)) for d in head_dims]
        return [
            (d, one.associations, three.associations)
            for d, one, three in found
            if one and three and one.associations is not None and three.associations is not None
            if not (one.is_bound or three.is_bound) or first is AssociativeMemory.PAM_K1  # whose sums are the same
        ]

    keeping = pairs(AssociativeMemory.PAM_K1, AssociativeMemory.PAM_K3)
    if not keeping or any(one != three for _, one, three in keeping):
        return []
    forgetting = pairs(AssociativeMemory.PAM_K1_FORGETTING, AssociativeMemory.PAM_K3_FORGETTING)
    places = listed(tuple(f"{three} in place of {one} at d = {d}" for d, one, three in forgetting))
    return [
        "Without forgetting each of K states holds the same sum, so K = 3 retrieves what K = 1 does, from three times "
        "the bytes. K states differ in how they forget"
        + (f": with the decays that training begins with 99 % are retrieved of {places}." if places else ".")
    ]
