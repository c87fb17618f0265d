"""Who is who in a set of records: subject, reference and twin, chosen from what layers declare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import Names, layer_facts_of
from pamprof.records import ImplementationKind, LayerFacts, LayerRole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.records import Run, Session, Workload

_SUBJECTS_FIRST = (LayerRole.SUBJECT, LayerRole.REFERENCE, LayerRole.TWIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The cast of a report.

    Attributes:
        subject: Layer the report is about; None where nothing but the reference was measured.
        other_subjects: Measured layers that are neither subject, reference nor the subject's twin.
        references: Layers to compare to, the session's own first; a point takes the one that is fastest there.
        twin: Layer that repeats the subject over real numbers; None where none was measured.
        layers: Facts of every layer in the records.
    """

    subject: str | None
    other_subjects: tuple[str, ...]
    references: tuple[str, ...]
    twin: str | None
    layers: Mapping[str, LayerFacts]

    @property
    def reference(self) -> str:
        """The session's own reference: the one that sizes are compared to, and code as published."""
        return self.references[0]

    @property
    def names(self) -> Names:
        """What layers and arms are called."""
        return Names(layers=self.layers)

    def kind(self, workload: Workload) -> ImplementationKind:
        """Where the workload's code comes from."""
        return self.layers[workload.spec.layer].kind_of(workload.implementation)


def roles_of(sessions: Sequence[Session], runs: Sequence[Run], workloads: Sequence[Workload]) -> Roles:
    """The cast of ``runs``, from the latest of ``sessions`` where it says more; ``workloads`` adds unusable ones.

    The session's reference stands unless it is a subject while a layer that declares itself a reference was measured.
    Every other measured layer that declares itself one is a reference too. Subject is the first measured layer in the
    session's order that declares to be one; without any, the second reference, or the twin.
    """
    latest = max(sessions, key=lambda session: session.started_at, default=None)
    facts = layer_facts_of(sessions, (*workloads, *(run.workload for run in runs)))
    facts = {layer: _with_state(known, runs) for layer, known in facts.items()}
    order = tuple(dict.fromkeys((*([arm.spec.layer for arm in latest.arms] if latest else ()), *facts)))
    measured = {run.workload.spec.layer for run in runs}
    declared = tuple(layer for layer in order if facts[layer].role is LayerRole.REFERENCE and layer in measured)
    asked = () if latest is None or latest.reference_layer not in facts else (latest.reference_layer,)
    first = asked if asked and facts[asked[0]].role is LayerRole.REFERENCE else ()
    references = tuple(dict.fromkeys((*first, *declared))) or asked or order[:1]
    present = tuple(layer for layer in references if layer in measured)
    if not any(facts[layer].role is LayerRole.SUBJECT for layer in measured.difference(present)):
        present = present[:1]
        references = tuple(layer for layer in references if layer in present or layer not in measured)
    candidates = tuple(layer for layer in order if layer in measured and layer not in present)
    ranked = sorted(candidates, key=lambda layer: _SUBJECTS_FIRST.index(facts[layer].role))
    subject = ranked[0] if ranked else None
    twin = next((layer for layer in candidates if subject is not None and facts[layer].twin_of == subject), None)
    return Roles(
        subject=subject,
        other_subjects=tuple(layer for layer in candidates if layer not in {subject, twin}),
        references=references or ("",),
        twin=twin,
        layers=facts,
    )


def _with_state(facts: LayerFacts, runs: Sequence[Run]) -> LayerFacts:
    """``facts`` with the kind of state that was seen in memory where none was declared."""
    if facts.fixed_state is not None:
        return facts
    kinds = {run.memory.state_kind for run in runs if run.workload.spec.layer == facts.layer and run.memory.state_bytes}
    known = kinds - {None}
    return replace(facts, fixed_state="kv-cache" not in known) if known else facts
