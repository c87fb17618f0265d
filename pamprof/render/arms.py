"""How an arm looks and is called: one colour, one marker shape and one name, the same in every plot and table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pamprof.records import Session, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One implementation of one layer, with what it keeps its state in, whatever its execution.

    Attributes:
        key: ``layer/implementation``, and the state's dtype where the arm names one.
        label: Name for people, such as ``PAM planar``.
        role: Colour role of ``style.LIGHT``; also the name of the CSS variable.
        marker: matplotlib's marker letter.
    """

    key: str
    label: str
    role: str
    marker: str


_LAYERS = {"transformer": ("transformer", "s"), "real_pam": ("real", "^")}
_PAM = {
    "published": ("published", "o"),
    "planar": ("planar", "D"),
    "gauss": ("gauss", "v"),
    "complex": ("complex", "P"),
    "fused": ("fused", "h"),
}
_OTHERS = (("other1", "X"), ("other2", "p"), ("other3", "<"), ("other4", ">"))
_TITLES = {"pam": "PAM", "real_pam": "real twin", "transformer": "transformer", "llama": "Llama"}
_ORDER = ("transformer", "llama", "real_pam", "pam")
_EXECUTIONS = {"eager": "eager", "compiled": "compiled", "graph": "graph", "compiled-graph": "compiled + graph"}


def arm_key(workload: Workload) -> str:
    """``layer/implementation``, and the state's dtype where the arm names one: ``pam/planar/bfloat16``."""
    return _key(_identity(workload))


def execution_label(workload: Workload) -> str:
    """How the step reached the device, in words."""
    return _EXECUTIONS.get(str(workload.execution), str(workload.execution))


def layer_titles(sessions: Iterable[Session]) -> dict[str, str]:
    """Names for people by layer, from the sessions where they give one."""
    titles = dict(_TITLES)
    for session in sessions:
        for facts in session.arms:
            titles[facts.spec.layer] = facts.title
    return titles


def assign_arms(
    workloads: Iterable[Workload], titles: Mapping[str, str], *, beside: Iterable[Workload] = ()
) -> dict[str, Arm]:
    """The arms of ``workloads`` by key, in reading order: transformer, real twin, PAM as published, its improvements.

    Built-in arms always look the same; others take the spare colours in the order of their names. Those of the
    workloads ``beside``, shown on the same page, are counted too, so that no two arms there look alike.
    """
    own = {_identity(workload) for workload in workloads}
    identities = sorted(own | {_identity(workload) for workload in beside}, key=_reading_order)
    implementations: dict[str, set[str]] = {}
    for layer, implementation, _ in identities:
        implementations.setdefault(layer, set()).add(implementation)
    arms: dict[str, Arm] = {}
    spare = 0
    for layer, implementation, state_dtype in identities:
        title = titles.get(layer, layer)
        look = (
            _LAYERS.get(layer) if layer != "pam" else _PAM.get("fused" if "fused" in implementation else implementation)
        )
        if look is None or any(arm.role == look[0] for arm in arms.values()):
            look = _OTHERS[spare % len(_OTHERS)]
            spare += 1
        label = f"{title} {implementation}" if layer == "pam" or len(implementations[layer]) > 1 else title
        if state_dtype:
            label += f" ({state_dtype} state)"
        key = _key((layer, implementation, state_dtype))
        arms[key] = Arm(key=key, label=label, role=look[0], marker=look[1])
    return {key: arm for key, arm in arms.items() if key in set(map(_key, own))}


def _identity(workload: Workload) -> tuple[str, str, str]:
    """Layer, implementation, and the dtype the state is kept in; empty where it is the policy's own."""
    return workload.spec.layer, workload.implementation, str(workload.spec.state_dtype or "")


def _key(identity: tuple[str, str, str]) -> str:
    return "/".join(part for part in identity if part)


def _reading_order(identity: tuple[str, str, str]) -> tuple[int, str, int, str, str]:
    layer, implementation, state_dtype = identity
    rank = _ORDER.index(layer) if layer in _ORDER else len(_ORDER)
    names = tuple(_PAM)
    inner = names.index(implementation) if implementation in names else len(names)
    return rank, layer, inner, implementation, state_dtype
