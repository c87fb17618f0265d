"""The process that counts: runs foreign code, answers with a count or with one sentence.

Run as ``python -m`` with the descriptor it answers on and the request as JSON.
"""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from pamprof.errors import PamprofError
from pamprof.measure.flops.target.count import count
from pamprof.measure.flops.target.request import CountReply, CountRequest

if TYPE_CHECKING:
    from types import FrameType

_LONGEST_MESSAGE = 300
_OUR_CODE = tuple(str(folder.resolve()) + os.sep for folder in (Path(__file__).parents[3], Path(torch.__file__).parent))
_STANDARD_LIBRARY, _INSTALLED = (
    str(Path(sysconfig.get_path(name)).resolve()) + os.sep for name in ("stdlib", "purelib")
)


class _TimeIsUp(BaseException):
    """Raised in the layer's code, which cannot take it for an error of its own."""


def main(descriptor: int, request: CountRequest) -> None:
    """Count, write the answer and end the process."""
    process = os.getpid()
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, request.timeout_seconds)
    reply = reply_to(request)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if os.getpid() == process:  # and not in what the layer's code has forked
        view = memoryview(msgspec.json.encode(reply) + b"\n")
        while view:
            view = view[os.write(descriptor, view) :]
    os._exit(0)  # whatever threads the layer has left behind


def reply_to(request: CountRequest) -> CountReply:
    """The count, or one sentence about what went wrong."""
    try:
        return CountReply(answer=count(request))
    except PamprofError as error:
        named = request.target in str(error)
        return CountReply(fault=str(error) if named else f"{request.target}: {error}", exit_code=error.exit_code)
    except _TimeIsUp as error:
        return CountReply(
            fault=f"{request.target} did not end within {request.timeout_seconds:g} s{_where(error)}; "
            "give a smaller size or a longer --timeout",
            exit_code=1,
        )
    except BaseException as error:  # noqa: BLE001 - foreign code may raise anything, the end of the process included
        fault = f"{request.target} raised {type(error).__name__}{_message(error)}{_where(error)}"
        return CountReply(fault=fault, exit_code=1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _TimeIsUp


def _message(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an error of the layer's own that cannot be written
        return ""
    text = text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 1]}…"
    return f": {text}" if text else ""


def _where(error: BaseException) -> str:
    """File and line of the innermost frame in the layer's code, or nothing where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_relative(error.filename)}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_foreign(frame.filename)]
    own = [frame for frame in frames if not _resolved(frame.filename).startswith(_INSTALLED)]
    for frame in (own or frames)[-1:]:
        return f" ({_relative(frame.filename)}, line {frame.lineno}, in {frame.name})"
    return ""


def _is_foreign(filename: str) -> bool:
    """Whether a frame is neither pamprof's nor torch's nor the standard library's, around which packages may lie."""
    path = _resolved(filename)
    return not (
        filename.startswith("<")
        or path.startswith(_OUR_CODE)
        or (path.startswith(_STANDARD_LIBRARY) and not path.startswith(_INSTALLED))
    )


def _resolved(filename: str) -> str:
    return str(Path(filename).resolve())


def _relative(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=CountRequest))
