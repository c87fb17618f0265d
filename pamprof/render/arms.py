"""How an arm looks and is called: one colour, one marker shape and one name, the same in every plot and table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison import names
from pamprof.analysis.comparison.names import Names, layer_facts_of
from pamprof.records import ImplementationKind, LayerRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pamprof.records import LayerFacts, Session, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One implementation of one layer, with what it keeps its state in, whatever its execution.

    Attributes:
        key: See ``arm_key``.
        label: Name for people, such as ``PAM planar``.
        role: Colour role of ``style.LIGHT``; also the name of the CSS variable.
        marker: matplotlib's marker letter.
    """

    key: str
    label: str
    role: str
    marker: str

    @property
    def layer(self) -> str:
        """Registry name of its layer."""
        return self.key.split("/", maxsplit=1)[0]


_REFERENCE = ("reference", "s")
_TWIN = ("twin", "^")
_PUBLISHED = ("published", "o")
_KERNELS = ("kernels", "h")
_PLAIN = (("plain1", "D"), ("plain2", "v"), ("plain3", "P"))
_OTHERS = (("other1", "X"), ("other2", "p"), ("other3", "<"), ("other4", ">"))
_READING_ORDER = (LayerRole.REFERENCE, LayerRole.TWIN, LayerRole.SUBJECT)


def arm_key(workload: Workload) -> str:
    """``layer/implementation``, and of several states or a dtype of their own these: ``pam/planar/k3/bfloat16``."""
    spec = workload.spec
    states = f"k{spec.state_count}" if spec.state_count > 1 else ""
    parts = (spec.layer, workload.implementation, states, str(spec.state_dtype or ""))
    return "/".join(part for part in parts if part)


def execution_label(workload: Workload) -> str:
    """How the step reached the device, in words."""
    return names.execution_label(workload.execution)


def layer_titles(sessions: Iterable[Session]) -> dict[str, str]:
    """Names for people by layer, as the sessions give them."""
    return {layer: facts.title for layer, facts in layer_facts_of(sessions, ()).items()}


def assign_arms(
    workloads: Iterable[Workload],
    titles: Mapping[str, str] | None = None,
    *,
    layers: Mapping[str, LayerFacts] | None = None,
    beside: Iterable[Workload] = (),
) -> dict[str, Arm]:
    """The arms of ``workloads`` by key, in reading order: references, twins, subjects by published, plain, kernels.

    The first reference, the first twin and the first layer with an implementation of each kind take the colours of
    their role; others take the spare ones in the order of their names. Arms of the workloads ``beside``, shown on the
    same page, are counted too, so that no two arms there look alike.

    Args:
        workloads: What is shown.
        titles: Names of layers for people that replace those of ``layers``.
        layers: What layers declare; without it what is known of them without a session.
        beside: What is shown on the same page.
    """
    own = {arm_key(workload): workload for workload in workloads}
    shown = {**{arm_key(workload): workload for workload in beside}, **own}
    facts = layer_facts_of((), shown.values()) if layers is None else dict(layers)
    facts = {**layer_facts_of((), shown.values()), **facts}
    facts = {layer: replace(known, title=(titles or {}).get(layer, known.title)) for layer, known in facts.items()}
    called = Names(layers=facts)
    arms: dict[str, Arm] = {}
    spare = 0
    for key in sorted(shown, key=lambda key: _place(shown[key], facts)):
        look = _look(shown[key], facts)
        if look is None or any(arm.role == look[0] for arm in arms.values()):
            look = _OTHERS[spare % len(_OTHERS)]
            spare += 1
        arms[key] = Arm(key=key, label=called.implementation(shown[key]), role=look[0], marker=look[1])
    return {key: arm for key, arm in arms.items() if key in own}


def _look(workload: Workload, facts: Mapping[str, LayerFacts]) -> tuple[str, str] | None:
    """Colour role and marker by what the layer declares; None where only a spare one is left."""
    known = facts[workload.spec.layer]
    if known.role is LayerRole.REFERENCE:
        return _REFERENCE
    if known.role is LayerRole.TWIN:
        return _TWIN
    match known.kind_of(workload.implementation):
        case ImplementationKind.PUBLISHED:
            return _PUBLISHED
        case ImplementationKind.KERNELS:
            return _KERNELS
        case ImplementationKind.PLAIN:
            plain = [i.name for i in known.implementations if i.kind is ImplementationKind.PLAIN]
            place = plain.index(workload.implementation)
            return _PLAIN[place] if place < len(_PLAIN) else None


def _place(workload: Workload, facts: Mapping[str, LayerFacts]) -> tuple[int, int, str, int, int, str]:
    layer = workload.spec.layer
    known = facts[layer]
    order = [i.name for i in known.implementations]
    return (
        _READING_ORDER.index(known.role),
        list(facts).index(layer),
        layer,
        order.index(workload.implementation),
        workload.spec.state_count,
        str(workload.spec.state_dtype or ""),
    )
