"""How much more an arm holds after its samples than before them: a step that keeps something has no step time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.measure.memory.storage_tracker import held_bytes

if TYPE_CHECKING:
    from pamprof.hardware.device import Device
    from pamprof.workloads.steps import PreparedStep


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBytes:
    """Bytes at one moment: what the arm and its reference hold, and what the allocator gave out; None on a CPU."""

    arm_bytes: int
    reference_bytes: int
    allocated_bytes: int | None

    @classmethod
    def now(cls, arm: PreparedStep, reference: PreparedStep, device: Device) -> HeldBytes:
        """Of this moment, with nothing in flight."""
        return cls(
            arm_bytes=_held(arm),
            reference_bytes=0 if reference is arm else _held(reference),
            allocated_bytes=device.memory().allocated_bytes,
        )

    def growth_of_arm(self, before: HeldBytes) -> int:
        """How much more the arm holds than ``before``; tensors that nothing reaches from it by the allocator alone."""
        own = self.arm_bytes - before.arm_bytes
        if self.allocated_bytes is None or before.allocated_bytes is None:
            return own
        others = self.reference_bytes - before.reference_bytes
        return max(own, self.allocated_bytes - before.allocated_bytes - others)


def _held(step: PreparedStep) -> int:
    return held_bytes(step.module, step.optimizer, step.state)
