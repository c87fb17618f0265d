"""What memories are called and how they look in pictures."""

from __future__ import annotations

from pamprof.records import AssociativeMemory
from pamprof.render.arms import Arm

_LOOKS = {
    AssociativeMemory.VECTOR: ("vector state", "other2", "p"),
    AssociativeMemory.PAM_K1: ("PAM, K = 1", "plain1", "D"),
    AssociativeMemory.PAM_K3: ("PAM, K = 3", "plain2", "v"),
    AssociativeMemory.REAL_MATRIX: ("real matrix", "twin", "^"),
    AssociativeMemory.KV_CACHE: ("KV cache", "reference", "s"),
    AssociativeMemory.PAM_K1_FORGETTING: ("K = 1, forgetting", "other1", "X"),
    AssociativeMemory.PAM_K3_FORGETTING: ("K = 3, forgetting", "other4", ">"),
}


def memory_arm(state: AssociativeMemory) -> Arm:
    """Name, colour and marker of a memory."""
    label, role, marker = _LOOKS[state]
    return Arm(key=state, label=label, role=role, marker=marker)


def memory_name(state: AssociativeMemory) -> str:
    """What a memory is called."""
    return _LOOKS[state][0]
