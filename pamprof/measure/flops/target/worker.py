"""The process that counts: runs foreign code, answers with a count or with one sentence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from pamprof.errors import PamprofError
from pamprof.measure.flops.target.request import CountReply, CountRequest
from pamprof.measure.session.answering import TimeIsUp, answer_lines, interrupted_after
from pamprof.measure.session.layer_fault import fault_sentence, place_of

if TYPE_CHECKING:
    from pamprof.measure.session.answering import Pipe


def reply_to(request: CountRequest) -> CountReply:
    """The count, or one sentence about what went wrong."""
    from pamprof.measure.flops.target.count import count  # brings torch

    try:
        with interrupted_after(request.timeout_seconds):
            return CountReply(answer=count(request))
    except PamprofError as error:
        named = request.target in str(error)
        return CountReply(fault=str(error) if named else f"{request.target}: {error}", exit_code=error.exit_code)
    except TimeIsUp as error:
        return CountReply(
            fault=f"{request.target} did not end within {request.timeout_seconds:g} s"
            f"{place_of(request.target, error)}; give a smaller size or a longer --timeout",
            exit_code=1,
        )
    except BaseException as error:  # noqa: BLE001 - foreign code may raise anything, the end of the process included
        return CountReply(fault=fault_sentence(request.target, error), exit_code=1)


def _answer(line: bytes, pipe: Pipe) -> None:
    reply = reply_to(msgspec.json.decode(line, type=CountRequest))
    pipe.send(msgspec.json.encode(reply) + b"\n")
    os._exit(0)  # whatever threads the layer has left behind


if __name__ == "__main__":
    answer_lines(_answer)
