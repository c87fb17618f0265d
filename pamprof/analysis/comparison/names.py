"""What layers and arms are called: the same in every sentence, picture and table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Direction
from pamprof.records import Effort, Execution, ImplementationFacts, ImplementationKind, LayerFacts, Phase
from pamprof.records.layers import facts_of_older_records
from pamprof.units import UNKNOWN, plus_minus, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.comparison.results import Crossover
    from pamprof.records import Point, Session, Workload

_EXECUTIONS = {
    Execution.EAGER: "eager",
    Execution.COMPILED: "compiled",
    Execution.GRAPH: "graph",
    Execution.COMPILED_GRAPH: "compiled + graph",
}


def layer_facts_of(sessions: Iterable[Session], workloads: Iterable[Workload]) -> dict[str, LayerFacts]:
    """Facts of every layer, the latest session's where several know it, in the order of the sessions.

    Layers that no session knows are completed like those of older records. Implementations that were measured but not
    declared are added behind the declared ones.
    """
    measured = tuple(workloads)
    ordered = sorted(sessions, key=lambda session: session.started_at)
    facts: dict[str, LayerFacts] = {}
    for session in reversed(ordered):
        for known in session.layers:
            facts.setdefault(known.layer, known)
    for workload in measured:
        layer = workload.spec.layer
        if layer not in facts:
            facts[layer] = facts_of_older_records([(layer, layer)])[0]
    for layer, known in facts.items():
        declared = {implementation.name for implementation in known.implementations}
        undeclared = dict.fromkeys(w.implementation for w in measured if w.spec.layer == layer)
        more = tuple(ImplementationFacts(name=name) for name in undeclared if name not in declared)
        facts[layer] = replace(known, implementations=(*known.implementations, *more))
    return facts


def layer_title(layer: str) -> str:
    """A layer's name for people where no session is at hand; its registry name where it has no other."""
    return facts_of_older_records([(layer, layer)])[0].title


def protocol_label(process_count: int, spread_ratio: float | None = None) -> str:
    """How runs of windows were measured, beside their numbers: ``reference, 3 processes, ±0.4 % between them``."""
    spread = "" if spread_ratio is None else f", {plus_minus(spread_ratio)} between them"
    return f"{Effort.REFERENCE}, {process_count} process{'es' if process_count > 1 else ''}{spread}"


def execution_label(execution: Execution) -> str:
    """How the step reached the device, in words."""
    return _EXECUTIONS[execution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names of the layers in ``layers`` and of their arms.

    An implementation is named where its layer has several; a state's dtype where the arm names one.
    """

    layers: Mapping[str, LayerFacts]

    def title(self, layer: str) -> str:
        """A layer's name for people."""
        known = self.layers.get(layer)
        return layer_title(layer) if known is None else known.title

    def fastest_of(self, layers: Sequence[str]) -> str:
        """Layers of which the fastest counts at every length: ``Llama``, ``faster one of Llama and transformer``."""
        titles = [self.title(layer) for layer in layers]
        if len(titles) < 2:
            return "".join(titles)
        *first, last = titles
        return f"{'faster' if len(titles) == 2 else 'fastest'} one of {', '.join(first)} and {last}"

    def implementation(self, workload: Workload) -> str:
        """An arm without its execution: ``PAM planar (3 states, bfloat16 state)``."""
        title = self.title(workload.spec.layer)
        known = self.layers.get(workload.spec.layer)
        several = known is None or len(known.implementations) > 1
        name = f"{title} {workload.implementation}" if several else title
        states, dtype = workload.spec.state_count, workload.spec.state_dtype
        notes = [f"{states} states"] * (states > 1) + ([] if dtype is None else [f"{dtype} state"])
        return f"{name} ({', '.join(notes)})" if notes else name

    def arm(self, workload: Workload) -> str:
        """An arm with its execution: ``PAM planar · compiled``."""
        return f"{self.implementation(workload)} · {execution_label(workload.execution)}"

    def in_sentence(self, workload: Workload) -> str:
        """An arm inside a sentence: ``PAM as published (eager)``, ``PAM planar (compiled)``."""
        known = self.layers.get(workload.spec.layer)
        published = known is not None and known.kind_of(workload.implementation) is ImplementationKind.PUBLISHED
        name = f"{self.title(workload.spec.layer)} as published" if published else self.implementation(workload)
        return f"{name} ({execution_label(workload.execution)})"


def names_of(sessions: Iterable[Session], workloads: Iterable[Workload]) -> Names:
    """The names of everything in ``sessions`` and ``workloads``."""
    return Names(layers=layer_facts_of(sessions, workloads))


def arm_label(workload: Workload) -> str:
    """An arm with its execution where no session is at hand: ``PAM planar · compiled``."""
    return names_of((), (workload,)).arm(workload)


def unique_labels(workloads: tuple[Workload, ...], names: Names | None = None) -> tuple[str, ...]:
    """Labels of the arms of one point; where two would be alike, the implementation or the sizes tell them apart."""
    names = names_of((), workloads) if names is None else names
    plain = [names.arm(workload) for workload in workloads]
    named = [
        label if plain.count(label) == 1 else f"{label} ({workload.implementation})"
        for label, workload in zip(plain, workloads, strict=True)
    ]
    return tuple(
        label if named.count(label) == 1 else f"{label} D={workload.spec.model_dim} L={workload.spec.depth}"
        for label, workload in zip(named, workloads, strict=True)
    )


def point_phrase(point: Point) -> str:
    """Where a point lies, in the middle of a sentence: ``training at 2k tokens, batch 18``."""
    place = f"{tokens(point.sequence_length)} tokens"
    batch = f"batch {point.batch_size}"
    match point.phase:
        case Phase.TRAIN:
            return f"training at {place}, {batch}"
        case Phase.PREFILL:
            return f"prefill of {place}, {batch}"
        case Phase.DECODE:
            return f"decode at {place} of context, {batch}"


def crossover_value(crossover: Crossover) -> str:
    """Where the subject is the cheaper one, as a number's stand-in: ``8 150 tokens``, ``always``, ``never``."""
    match crossover.direction:
        case Direction.ALWAYS_CHEAPER:
            return "always"
        case Direction.NEVER_CHEAPER:
            return "never"
        case _:
            return UNKNOWN if crossover.tokens is None else f"{significant(crossover.tokens.median)} tokens"


def crossover_phrase(crossover: Crossover) -> str:
    """Where it is cheaper: ``cheaper above about 8 150 tokens of context [7 880, 8 430] (interpolated)``."""
    if crossover.tokens is not None:
        limits = f"[{significant(crossover.tokens.low)}, {significant(crossover.tokens.high)}]"
        return (
            f"cheaper above about {significant(crossover.tokens.median)} tokens of context {limits} ({crossover.basis})"
        )
    first, *others = crossover.contexts
    contexts = f"{tokens(first)} to {tokens(others[-1])} tokens" if others else f"{tokens(first)} tokens, the only one"
    return f"{crossover.direction} in the contexts measured ({contexts})"
