"""What a layer declares of itself: its role in a comparison, its arithmetic, its memory and its implementations.

Reports choose subject, reference and twin from these facts, never from a layer's name. Sessions store them. Records
written before they did are completed from ``facts_of_older_records``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class LayerRole(StrEnum):
    """A layer's part in a comparison, unless the session names another reference."""

    REFERENCE = "reference"
    TWIN = "twin"
    SUBJECT = "subject"


class ImplementationKind(StrEnum):
    """Where an implementation comes from, which is what a step of the ladder is credited to."""

    PUBLISHED = "published"
    PLAIN = "plain torch"
    KERNELS = "hand-written kernels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImplementationFacts:
    """One implementation of a layer: its name in workloads and where it comes from."""

    name: str
    kind: ImplementationKind = ImplementationKind.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """What is known of a layer besides its sizes.

    Attributes:
        layer: Registry name.
        title: Name for people, such as ``PAM``.
        role: Its part in a comparison.
        twin_of: Layer that this one repeats over real numbers; None where it is not a twin.
        complex_valued: Whether its products are complex; None where it was not declared.
        fixed_state: Whether it decodes with a state whose size does not grow with the context; None likewise.
        implementations: In reading order; those measured but not declared come after them.
        no_decode_reason: Why it has no decode phase; None where it has one, and in older records.
        carrier: Of a layer that a factory makes, ``mixer``, ``block`` or ``model``: what of the model is its own. None
            for layers of packages, and in older records.
    """

    layer: str
    title: str
    role: LayerRole = LayerRole.SUBJECT
    twin_of: str | None = None
    complex_valued: bool | None = None
    fixed_state: bool | None = None
    implementations: tuple[ImplementationFacts, ...] = ()
    no_decode_reason: str | None = None
    carrier: str | None = None

    def kind_of(self, implementation: str) -> ImplementationKind:
        """Where the implementation comes from; plain torch where it was not declared."""
        found = (known.kind for known in self.implementations if known.name == implementation)
        return next(found, ImplementationKind.PLAIN)


# Layers of records that store no facts, as they were when those records were written, and built-in layers since.
_OLDER = (
    LayerFacts(
        layer="transformer",
        title="transformer",
        role=LayerRole.REFERENCE,
        complex_valued=False,
        fixed_state=False,
        implementations=(ImplementationFacts(name="sdpa"),),
    ),
    LayerFacts(
        layer="wide_head_transformer",
        title="wide-head transformer",
        role=LayerRole.REFERENCE,
        complex_valued=False,
        fixed_state=False,
        implementations=(ImplementationFacts(name="sdpa"),),
    ),
    LayerFacts(
        layer="llama",
        title="Llama",
        role=LayerRole.REFERENCE,
        complex_valued=False,
        fixed_state=False,
        implementations=(ImplementationFacts(name="sdpa"),),
    ),
    LayerFacts(
        layer="real_pam",
        title="real twin",
        role=LayerRole.TWIN,
        twin_of="pam",
        complex_valued=False,
        fixed_state=True,
        implementations=(ImplementationFacts(name="planar"),),
    ),
    LayerFacts(
        layer="pam",
        title="PAM",
        complex_valued=True,
        fixed_state=True,
        implementations=(
            ImplementationFacts(name="published", kind=ImplementationKind.PUBLISHED),
            ImplementationFacts(name="planar"),
            ImplementationFacts(name="gauss"),
            ImplementationFacts(name="complex"),
            ImplementationFacts(name="fused", kind=ImplementationKind.KERNELS),
        ),
    ),
    LayerFacts(
        layer="vector_pam",
        title="vector-state memory",
        complex_valued=True,
        fixed_state=True,
        implementations=(ImplementationFacts(name="planar"), ImplementationFacts(name="fft")),
    ),
)


def facts_of_older_records(titles: Iterable[tuple[str, str]]) -> tuple[LayerFacts, ...]:
    """Facts of layers whose records store none, given as (registry name, title); a foreign layer is a subject."""
    known = {facts.layer: facts for facts in _OLDER}
    return tuple(known.get(layer) or LayerFacts(layer=layer, title=title) for layer, title in dict(titles).items())
