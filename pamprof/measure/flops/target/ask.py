"""The parent's side: starts the process that counts, waits, and turns what goes wrong into one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.target.request import CountAnswer, CountReply, CountRequest
from pamprof.measure.session.output_tail import PrintedTail
from pamprof.measure.session.process import worker_environment

# The process interrupts the layer's code itself, and knows where; this is for code that does not let itself be.
_GRACE_SECONDS = 30.0


def count_target(request: CountRequest) -> CountAnswer:
    """Count a layer in a fresh process. What the layer prints goes nowhere.

    Raises:
        UsageError: There is no such layer.
        UnsupportedError: Its code fails, ends the process or takes too long.
    """
    with TemporaryDirectory(prefix="pamprof-flops-") as folder:
        path = Path(folder) / "answer.json"
        status, last_line = _run(request, path)
        text = path.read_bytes() if path.is_file() else b""
    if not text:
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        said = f"; it last printed {last_line!r}" if last_line else ""
        raise UnsupportedError(f"the process that ran {request.target} {ended} before it was counted{said}")
    reply = msgspec.json.decode(text, type=CountReply)
    if reply.answer is None:
        raise (UsageError if reply.exit_code == UsageError.exit_code else UnsupportedError)(reply.fault)
    return reply.answer


def _run(request: CountRequest, answer: Path) -> tuple[int, str]:
    printed = PrintedTail()
    try:
        process = subprocess.Popen(
            # -P: what lies in the current folder must not stand in for a module that pamprof itself imports.
            [
                *(sys.executable, "-P", "-m", "pamprof.measure.flops.target.worker"),
                *(str(answer), msgspec.json.encode(request).decode()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=printed.write_end,
            stderr=printed.write_end,
            env=worker_environment(),
            start_new_session=True,
        )
    finally:
        printed.hand_over()
    try:
        status = process.wait(request.timeout_seconds + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnsupportedError(
            f"{request.target} did not end within {request.timeout_seconds:.0f} s and could not be interrupted; "
            "give a smaller size or a longer --timeout"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, printed.last_line()
