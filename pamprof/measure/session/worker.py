"""The worker: a fresh process that measures one group, arm by arm, and writes every outcome to its parent.

For each arm, in this order: the correctness gate, the FLOP count of the eager step, compilation, memory, capture,
warm-up, paired samples against the reference, one profiled step, the monitored window. Reference and one arm are alive
at a time; a point that does not fit becomes a skip.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

from pamprof.errors import PamprofError, UnsupportedError
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.wire import Event, GroupRequest, decode_request, encode_event
from pamprof.records import Run, Skip, SkipKind, Workload
from pamprof.records.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.session.arm_runner import ArmRunner, ReadyArm

Measured = TypeVar("Measured")


class Pipe:
    """The worker's end of the line to its parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, line: bytes) -> None:
        """Write one whole line."""
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]


def run_group(request: GroupRequest, pipe: Pipe) -> None:
    """Measure every workload of the group that is not done."""
    from pamprof.measure.session.arm_runner import ArmRunner

    runner = ArmRunner(request)
    if request.ceilings:
        send_ceilings(runner, request, pipe)
    reference: ReadyArm | None = None
    for workload in request.workloads:
        if reference is None or workload.key not in request.done:
            pipe.send(encode_event(Event(event="started", key=workload.key)))
            # Nothing but the reference may outlive its turn: an arm that a variable keeps takes the next one's room.
            reference = measure_and_send(runner, request, workload, reference, pipe)
            gc.collect()
            runner.device.empty_cache()
    pipe.send(encode_event(Event(event="finished")))


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


def measure_and_send(
    runner: ArmRunner, request: GroupRequest, workload: Workload, reference: ReadyArm | None, pipe: Pipe
) -> ReadyArm | None:
    """Measure one workload and report it, unless it has a record already; the reference from here on."""
    outcome = attempt(runner, request, workload, reference)
    record = outcome if isinstance(outcome, Skip) else outcome[0]
    if workload.key not in request.done:
        pipe.send(encode(record))
    return reference if reference is not None or isinstance(outcome, Skip) else outcome[1]


def attempt(
    runner: ArmRunner, request: GroupRequest, workload: Workload, reference: ReadyArm | None
) -> tuple[Run, ReadyArm] | Skip:
    """Measure one workload; whatever goes wrong becomes a skip with its reason."""
    return attempt_with(runner, request, workload, lambda: runner.measure(workload, reference))


def attempt_with(
    runner: ArmRunner, request: GroupRequest, workload: Workload, measure: Callable[[], Measured]
) -> Measured | Skip:
    """What ``measure`` returns for ``workload``, or a skip with the reason why it could not."""
    try:
        return measure()
    except UnsupportedError as exc:
        kind, reason = SkipKind.UNSUPPORTED, str(exc)
        if runner.device.is_out_of_memory(exc):  # during a capture
            kind, reason = SkipKind.OUT_OF_MEMORY, runner.out_of_memory_reason(workload)
    except PamprofError as exc:
        kind, reason = SkipKind.INCORRECT, str(exc)
    except Exception as exc:  # noqa: BLE001 - a layer may raise anything; the other arms must still be measured
        if runner.device.is_out_of_memory(exc):
            kind, reason = SkipKind.OUT_OF_MEMORY, runner.out_of_memory_reason(workload)
        else:
            text = str(exc).strip().splitlines()
            kind, reason = SkipKind.CRASHED, f"{type(exc).__name__}: {text[0] if text else 'no message'}"
    return Skip(session_id=request.session_id, started_at=utc_now(), workload=workload, kind=kind, reason=reason)


def end_with_parent(descriptor: int) -> None:
    """Kill this process group once nobody reads ``descriptor``, so that a killed comparison measures no further.

    A worker in the middle of a long point would write to its parent minutes later only, one that hangs never would;
    until then it would hold the device and disturb the comparison that goes on. The thread sleeps in the kernel.

    Args:
        descriptor: Write end of the pipe to the parent.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)
        poll.poll()  # returns for an error alone, and the pipe's only error is a reader that is gone
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def main(measure: Callable[[GroupRequest, Pipe], None] = run_group) -> None:
    """Read one request from standard input, write records to the descriptor named on the command line."""
    descriptor = int(sys.argv[1])
    end_with_parent(descriptor)
    pipe = Pipe(descriptor)
    import torch  # noqa: F401 - loaded while the parent is still planning

    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent changed its mind
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; nobody is left to tell
        measure(decode_request(line), pipe)


if __name__ == "__main__":
    main()
