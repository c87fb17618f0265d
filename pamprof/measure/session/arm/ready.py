"""What is kept of an arm between measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.workloads.base import SequenceModel
    from pamprof.workloads.steps import PreparedStep


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """An inference model that serves several points, and what the allocator held before it was built."""

    model: SequenceModel
    allocated_before_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyArm:
    """An arm that is warm: the one measured, or the one kept alive as the reference of its group.

    Attributes:
        step: Built, compiled and captured.
        steps_per_sample: That fill a sample.
        step_seconds: About how long one takes.
    """

    step: PreparedStep
    steps_per_sample: int
    step_seconds: float
