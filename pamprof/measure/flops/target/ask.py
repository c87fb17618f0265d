"""The parent's side: starts the process that counts, waits, and turns what goes wrong into one sentence."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from importlib import import_module

import msgspec

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.target.request import CountAnswer, CountReply, CountRequest
from pamprof.measure.session.output_tail import PrintedTail
from pamprof.measure.session.process import worker_environment

# The process interrupts the layer's code itself, and knows where; this is for code that does not let itself be.
_GRACE_SECONDS = 30.0
_READ_BYTES = 1 << 16


def count_target(request: CountRequest) -> CountAnswer:
    """Count a layer in a fresh process. What the layer prints goes nowhere.

    Raises:
        UsageError: There is no such layer.
        UnsupportedError: Its code fails, ends the process or takes too long.

    What torch raises where it cannot be imported comes through.
    """
    line, status, last_printed = _run(request)
    if not line.endswith(b"\n"):
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
    printed = PrintedTail()
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            # -P: what lies in the current folder must not stand in for a module that pamprof itself imports.
            [
                *(sys.executable, "-P", "-m", "pamprof.measure.flops.target.worker"),
                *(str(write_end), msgspec.json.encode(request).decode()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=printed.write_end,
            stderr=printed.write_end,
            pass_fds=(write_end,),
            env=worker_environment(),
            start_new_session=True,
        )
    finally:
        printed.hand_over()
        os.close(write_end)
    try:
        line = _line(read_end, time.monotonic() + request.timeout_seconds + _GRACE_SECONDS)
        status = process.wait(_GRACE_SECONDS)
    except (TimeoutError, subprocess.TimeoutExpired):
        raise UnsupportedError(
            f"{request.target} did not end within {request.timeout_seconds:g} s and could not be interrupted; "
            "give a smaller size or a longer --timeout"
        ) from None
    finally:
        os.close(read_end)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return line, status, printed.last_line()


def _line(descriptor: int, deadline: float) -> bytes:
    """What the process writes up to the end of a line, or to its own end.

    Raises:
        TimeoutError: Neither came before ``deadline``.
    """
    read = b""
    while not read.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(descriptor, _READ_BYTES)
        if not chunk:
            break
        read += chunk
    return read
