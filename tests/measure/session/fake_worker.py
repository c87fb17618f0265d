"""Stands in for the worker: plays one outcome per workload, chosen by the implementation's name."""

import os
import signal
import sys
import time
from dataclasses import replace

from pamprof.measure.session.answering import end_with_parent
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.wire import Event, decode_request, encode_event
from pamprof.records import ExecutionStage, Skip, SkipKind
from pamprof.records.codec import encode
from tests.synthetic import synthetic_run


def main():
    descriptor = int(sys.argv[1])
    end_with_parent(descriptor)
    for line in sys.stdin.buffer:
        play(decode_request(line), descriptor)


def skip(request, workload, kind, stage=None):
    return Skip(
        session_id=request.session_id, started_at=utc_now(), workload=workload, kind=kind, reason="it does not fit",
        failed_stage=stage,
    )  # fmt: skip


def play(request, descriptor):
    reference = request.workloads[0]
    for workload in request.workloads:
        if workload.key in request.done:
            if workload.implementation == "dies-when-built-again" and len(request.workloads) > 1:
                os.write(descriptor, encode_event(Event(event="started", key=workload.key)))
                os._exit(7)
            continue
        os.write(descriptor, encode_event(Event(event="started", key=workload.key)))
        match workload.implementation:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crashing":
                print("the layer has lost its mind", file=sys.stderr)
                os._exit(7)
            case "hanging":
                time.sleep(60)
            case "chatty":
                print("x" * (1 << 20))
            case "babbling":
                for _ in range(48):
                    os.write(1, b"x" * (1 << 20))
            case "babbling-to-death":
                for _ in range(48):
                    os.write(2, b"x" * (1 << 20))
                os.write(2, b" and then it was lost")
                os._exit(7)
            case "refused":
                os.write(descriptor, encode(skip(request, workload, SkipKind.UNSUPPORTED)))
                continue
            case "uncompilable" if workload.execution.startswith("compiled"):
                os.write(descriptor, encode(skip(request, workload, SkipKind.UNSUPPORTED, ExecutionStage.COMPILE)))
                continue
            case "uncapturable" if workload.execution.endswith("graph"):
                os.write(descriptor, encode(skip(request, workload, SkipKind.UNSUPPORTED, ExecutionStage.CAPTURE)))
                continue
            case "endless" if workload.execution.startswith("compiled"):
                os.write(descriptor, encode(skip(request, workload, SkipKind.TIMEOUT)))
                continue
            case "large" if request.companions:
                os.write(descriptor, encode(skip(request, workload, SkipKind.OUT_OF_MEMORY)))
                continue
            case "too-large" if not (workload.execution == "compiled" and workload.sequence_length == 2048):
                os.write(descriptor, encode(skip(request, workload, SkipKind.OUT_OF_MEMORY)))
                continue
            case "garbled":
                os.write(descriptor, b"no record\n")
        run = replace(
            synthetic_run(), workload=workload, reference=reference, group_id=request.group_id,
            session_id=request.session_id,
        )  # fmt: skip
        os.write(descriptor, encode(run))
    os.write(descriptor, encode_event(Event(event="finished")))


if __name__ == "__main__":
    main()
