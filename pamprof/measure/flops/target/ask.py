"""The parent's side: starts the process that counts, waits, and turns what goes wrong into one sentence."""

from __future__ import annotations

from importlib import import_module

import msgspec

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.target.request import CountAnswer, CountReply, CountRequest
from pamprof.measure.session.process import WorkerHung, WorkerProcess

# The process interrupts the layer's code itself, and knows where; this is for code that does not let itself be.
_GRACE_SECONDS = 30.0


def count_target(request: CountRequest) -> CountAnswer:
    """Count a layer in a fresh process. What the layer prints goes nowhere.

    Raises:
        UsageError: There is no such layer.
        UnsupportedError: Its code fails, ends the process or takes too long.

    What torch raises where it cannot be imported comes through.
    """
    line, status, last_printed = _run(request)
    if not line:
        import_module("torch")  # where that fails, it is the reason, and the error says so
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        said = f"; it last printed {last_printed!r}" if last_printed else ""
        raise UnsupportedError(f"the process that ran {request.target} {ended} before it was counted{said}")
    reply = msgspec.json.decode(line, type=CountReply)
    if reply.answer is None:
        raise (UsageError if reply.exit_code == UsageError.exit_code else UnsupportedError)(reply.fault)
    return reply.answer


def _run(request: CountRequest) -> tuple[bytes, int, str]:
    """The line that the process answered, its exit status and the last line it printed."""
    process = WorkerProcess("pamprof.measure.flops.target.worker")
    try:
        process.send(request)
        line = next(process.lines(request.timeout_seconds + _GRACE_SECONDS), b"")
    except WorkerHung:
        raise UnsupportedError(
            f"{request.target} did not end within {request.timeout_seconds:g} s and could not be interrupted; "
            "give a smaller size or a longer --timeout"
        ) from None
    finally:
        process.kill()
        status, last_printed = process.close()
    return line, status, last_printed
