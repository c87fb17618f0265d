"""The worker: a fresh process that measures groups, arm by arm, and writes every outcome to its parent.

For each arm, in this order: the correctness gate, the FLOP count of the eager step, compilation, memory, capture,
warm-up, paired samples against the reference, one profiled step, the monitored window. Reference and one arm are alive
at a time; a point that does not fit becomes a skip.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, TypeVar

from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.imports import never_collected
from pamprof.measure.session.answering import Pipe, answer_lines
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.wire import Event, GroupRequest, decode_request, encode_event
from pamprof.records import Run, Skip, SkipKind, Workload
from pamprof.records.codec import encode
from pamprof.workloads.registry import definition

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.session.arm.ready import ReadyArm
    from pamprof.measure.session.arm.runner import ArmRunner

Measured = TypeVar("Measured")


class GroupWorker:
    """Measures groups one after another; keeps gates, counts and the reference from one to the next.

    A reference that the next group begins with, and that has its record, is used as it is. Nothing else outlives its
    turn: an arm that a variable keeps takes the next one's room.
    """

    def __init__(self) -> None:
        self._runner: ArmRunner | None = None
        self._reference: ReadyArm | None = None
        self._reference_key = ""

    def run_group(self, request: GroupRequest, pipe: Pipe) -> None:
        """Measure every workload of the group that is not done."""
        from pamprof.measure.any_layer.registration import register_workloads  # brings torch

        runner = self._runner_for(request)
        register_workloads(request.workloads)
        if request.ceilings:
            send_ceilings(runner, request, pipe)
        first = request.workloads[0]
        if not (first.key == self._reference_key and first.key in request.done):
            self._reference, self._reference_key = None, ""
            _free(runner)
        for workload in request.workloads:
            if self._reference is None or workload.key not in request.done:
                pipe.send(encode_event(Event(event="started", key=workload.key)))
                if not self._visit(runner, request, workload, pipe):
                    return
                _free(runner)
        pipe.send(encode_event(Event(event="finished")))

    def _runner_for(self, request: GroupRequest) -> ArmRunner:
        from pamprof.measure.session.arm.runner import ArmRunner

        if self._runner is None:
            self._runner = ArmRunner(request)
        else:
            self._runner.begin(request)
        return self._runner

    def _visit(self, runner: ArmRunner, request: GroupRequest, workload: Workload, pipe: Pipe) -> bool:
        """Measure one workload and report it, or make it ready as the reference where it has its record already.

        Returns whether the group goes on: without its reference an arm would be paired with itself.
        """
        if workload.key in request.done:
            ready = attempt_with(runner, request, workload, lambda: runner.prepare(workload))
            if isinstance(ready, Skip):
                pipe.send(encode_event(Event(event="unready", key=workload.key, reason=ready.reason)))
                return False
        else:
            outcome = attempt(runner, request, workload, self._reference)
            pipe.send(encode(outcome if isinstance(outcome, Skip) else outcome[0]))
            ready = outcome if isinstance(outcome, Skip) else outcome[1]
        if self._reference is None and not isinstance(ready, Skip):
            self._reference, self._reference_key = ready, workload.key
        return True


def _free(runner: ArmRunner) -> None:
    gc.collect()
    runner.device.empty_cache()


def send_ceilings(runner: ArmRunner, request: GroupRequest, pipe: Pipe) -> None:
    """Measure what the device does at best and report it; where that fails the points are measured without it."""
    try:
        line = encode(runner.ceilings(request.workloads[0].dtype))
    except (PamprofError, RuntimeError) as exc:  # torch's errors, out of memory included, are RuntimeErrors
        print(f"the ceilings could not be measured: {exc}", file=sys.stderr)  # noqa: T201 - the worker's own log
        gc.collect()
        runner.device.empty_cache()
        return
    pipe.send(line)


def attempt(
    runner: ArmRunner, request: GroupRequest, workload: Workload, reference: ReadyArm | None
) -> tuple[Run, ReadyArm] | Skip:
    """Measure one workload; whatever goes wrong becomes a skip with its reason."""
    return attempt_with(runner, request, workload, lambda: runner.measure(workload, reference))


def attempt_with(
    runner: ArmRunner, request: GroupRequest, workload: Workload, measure: Callable[[], Measured]
) -> Measured | Skip:
    """What ``measure`` returns for ``workload``, or a skip with the reason why it could not.

    A layer that leaves torch set otherwise than it was has no number: what it was paired with ran so as well. What its
    module sets while it is imported is undone before anything is measured.
    """
    from pamprof.measure.session.layer_fault import fault_sentence, fault_traceback, place_of
    from pamprof.measure.session.torch_state import restore_torch, torch_state
    from pamprof.workloads.execution import ExecutionError

    layer, implementation = workload.spec.layer, workload.implementation
    before, trace, stage = torch_state(), None, None
    try:
        definition(layer)
        restore_torch(before)
        measured = measure()
        changed = restore_torch(before)
        if not changed:
            return measured
        kind = SkipKind.UNSUPPORTED
        reason = (
            f"{layer} {implementation} changed {' and '.join(changed)} for all of torch; it has to leave it as it is"
        )
    except PamprofError as exc:
        kind = SkipKind.UNSUPPORTED if isinstance(exc, UnsupportedError | UsageError) else SkipKind.INCORRECT
        reason = str(exc)
        stage = exc.stage if isinstance(exc, ExecutionError) else None
        if exc.__cause__ is not None:
            place, trace = place_of(layer, exc), fault_traceback(exc)
            reason = reason if place in reason else f"{reason}{place}"
        if runner.device.is_out_of_memory(exc):  # during a capture
            kind, reason = SkipKind.OUT_OF_MEMORY, runner.out_of_memory_reason(workload)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - a layer may raise anything; the others must be measured
        if runner.device.is_out_of_memory(exc):
            kind, reason = SkipKind.OUT_OF_MEMORY, runner.out_of_memory_reason(workload)
        else:
            kind, reason = SkipKind.CRASHED, fault_sentence(layer, exc, implementation=implementation)
        trace = fault_traceback(exc)
    restore_torch(before)
    return Skip(
        session_id=request.session_id,
        started_at=utc_now(),
        workload=workload,
        kind=kind,
        reason=reason,
        traceback=trace,
        failed_stage=stage,
    )


def main(measure: Callable[[GroupRequest, Pipe], None]) -> None:
    """Measure groups until standard input ends, and write records to the descriptor named on the command line."""
    with never_collected():  # loaded while the parent is still planning
        import pamprof.measure.session.arm.runner  # noqa: F401

    answer_lines(lambda line, pipe: measure(decode_request(line), pipe))


if __name__ == "__main__":
    main(GroupWorker().run_group)
