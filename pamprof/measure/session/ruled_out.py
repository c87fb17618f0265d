"""What need not be tried after memory ended: workloads that need at least as much as one that did not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.measure.session.runner import describe
from pamprof.records import Execution, SkipKind

if TYPE_CHECKING:
    from pamprof.records import Skip, Workload

# A replay keeps in its pool what the step it was captured from allocates. Compiled code is no lower bound of eager
# code, nor eager of compiled: the compiler often saves memory.
_CAPTURED_FROM = {Execution.GRAPH: Execution.EAGER, Execution.COMPILED_GRAPH: Execution.COMPILED}


class RuledOut:
    """Remembers what did not fit by itself, and tells what therefore cannot."""

    def __init__(self) -> None:
        self._failed: list[tuple[Skip, bool]] = []

    def add(self, skip: Skip, *, paired: bool) -> None:
        """Learn from a skip, if memory ended; ``paired`` where its reference held some of the memory."""
        if skip.kind is SkipKind.OUT_OF_MEMORY:
            self._failed.append((skip, paired))

    def reason(self, workload: Workload, *, paired: bool) -> str | None:
        """Why ``workload`` cannot fit either, naming what failed; None where it may, as without a reference beside."""
        found = (
            skip
            for skip, was_paired in self._failed
            if (paired or not was_paired) and _needs_as_much(workload, skip.workload)
        )
        failed = next(found, None)
        if failed is None:
            return None
        first, why = describe(failed.workload), failed.reason.rstrip(".")
        return f"not tried: {first} needs no more memory, and did not fit ({why})"


def _needs_as_much(workload: Workload, failed: Workload) -> bool:
    """Whether the same code in the same or a capturing execution, at no smaller batch and length, must need as much."""
    alike = replace(
        workload,
        execution=failed.execution,
        batch_size=failed.batch_size,
        sequence_length=failed.sequence_length,
    )
    return (
        alike.key == failed.key
        and failed.execution in (workload.execution, _CAPTURED_FROM.get(workload.execution))
        and workload.batch_size >= failed.batch_size
        and workload.sequence_length >= failed.sequence_length
    )
