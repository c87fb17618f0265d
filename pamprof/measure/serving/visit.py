"""One visit of a sweep: a point measured and reported within the time there is, and its memory freed.

The memory of each measured step is passed to ``MemoryLimit``, which predicts the largest batch that fits.
"""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.wire import Event, encode_event
from pamprof.measure.session.worker import attempt_with
from pamprof.records import Execution, Phase, Run, Skip, SkipKind
from pamprof.records.codec import encode
from pamprof.workloads.execution import plain_regions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.serving.memory_limit import MemoryLimit
    from pamprof.measure.session.answering import Pipe
    from pamprof.measure.session.arm.ready import KeptModel
    from pamprof.measure.session.arm.runner import ArmRunner
    from pamprof.measure.session.sampling import PairedSamples
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import Workload

COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)


class Visitor:
    """Visits points of one arm with one model.

    Attributes:
        done: Keys that need no visit, those visited among them.
    """

    def __init__(
        self, runner: ArmRunner, request: GroupRequest, pipe: Pipe, kept: KeptModel, limit: MemoryLimit
    ) -> None:
        self._runner = runner
        self._request = request
        self._pipe = pipe
        self._kept = kept
        self._limit = limit
        self.done = set(request.done)

    def visit(
        self, workload: Workload, watch: Callable[[PairedSamples], bool], *, note: str | None = None
    ) -> Run | Skip | None:
        """Measure and report one workload; None where it is done already or the time is up.

        Args:
            workload: What.
            watch: Whether its energy is watched, by its times.
            note: How its batch was chosen, kept with the record.
        """
        if workload.key in self.done or self.is_over():
            return None
        self.done.add(workload.key)
        self._pipe.send(encode_event(Event(event="started", key=workload.key)))

        def measure() -> Run:
            return self._runner.measure(workload, None, kept=self._kept, watch=watch)[0]

        outcome = attempt_with(self._runner, self._request, workload, measure)
        if isinstance(outcome, Run):
            if workload.phase is Phase.DECODE:
                self._limit.note(outcome)
            if note is not None:
                outcome = replace(outcome, notes=(*outcome.notes, note))
        elif note is not None:
            outcome = replace(outcome, reason=f"{outcome.reason}; {note}")
        self._pipe.send(encode(outcome))
        if workload.execution in COMPILED:
            plain_regions(self._kept.model)  # compiled for this batch alone
        self.clear()
        return outcome

    def skip(self, workload: Workload, kind: SkipKind, reason: str) -> None:
        """Report a workload that was not measured."""
        skip = Skip(
            session_id=self._request.session_id,
            started_at=utc_now(),
            workload=workload,
            kind=kind,
            reason=reason,
        )
        self._pipe.send(encode(skip))

    def clear(self) -> None:
        """Give back what nothing holds any more."""
        gc.collect()
        self._runner.device.empty_cache()

    def is_over(self) -> bool:
        """Whether the time is up."""
        deadline = self._request.deadline_seconds
        return deadline is not None and time.perf_counter() > deadline
