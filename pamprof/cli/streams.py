"""Standard output and error of a process whose terminal may be ASCII, full, closed or gone.

What can no longer be written is dropped, so that a command always finishes: records and reports are never lost with the
terminal. The end of the process tells what happened to its output.
"""

from __future__ import annotations

import io
import logging
import os
import select
import signal
import sys
import unicodedata
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CANNOT_WRITE = 2

# How ASCII says what pamprof prints; letters lose their accents, and the rest becomes a question mark.
_SPELLINGS = str.maketrans(
    {
        "×": "x",
        "±": "+/-",
        "−": "-",
        "–": "-",
        "—": "-",
        "·": "*",
        "µ": "u",
        "κ": "kappa",
        "²": "^2",
        "³": "^3",
        "…": "...",
        "→": "->",
        "∘": "o",
        "“": '"',
        "”": '"',
        "’": "'",
        "\u2009": " ",
        "\u202f": " ",
        "\u00a0": " ",
        "─": "-",
        "━": "-",
        "╸": "-",
        "╺": "-",
        "│": "|",
        "┃": "|",
    }
)


class _Descriptor(io.FileIO):
    """The bytes of a stream; after the first fault everything is dropped."""

    fault: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        if self.fault is None:
            try:
                while (written := super().write(data)) is None:  # the other end made it non-blocking
                    select.select([], [self], [])
            except OSError as error:
                self.fault = error
            else:
                return written
        return memoryview(data).nbytes


class _Text(io.TextIOWrapper):
    """Text in the stream's encoding, in other characters where it lacks one.

    ASCII is written as Latin-1 without its upper half: click takes a stream that calls itself ASCII for misconfigured,
    and goes past it.
    """

    def __init__(self, descriptor: _Descriptor, like: io.TextIOWrapper) -> None:
        self._known = like.encoding
        super().__init__(
            io.BufferedWriter(descriptor),
            encoding="latin-1" if _is_ascii(like.encoding) else like.encoding,
            errors="replace",
            newline="\n",
            line_buffering=like.line_buffering,
            write_through=like.write_through,
        )

    def write(self, text: str, /) -> int:
        return super().write(spelled(text, self._known))


def _is_ascii(encoding: str) -> bool:
    return "é".encode(encoding, "ignore") == b""


def spelled(text: str, encoding: str) -> str:
    """``text`` with every character that ``encoding`` lacks in ASCII."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _in_ascii(letter) for letter in text)
    return text


def _has(encoding: str, letter: str) -> bool:
    try:
        return bool(letter.encode(encoding))
    except UnicodeEncodeError:
        return False


def _in_ascii(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter.translate(_SPELLINGS)).encode("ascii", "ignore")
    return plain.decode() or "?"


class _Sentences(logging.Handler):
    """What the package has to say about the machine, a line each on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from pamprof.render.text import clean

        typer.echo(f"pamprof: {clean(record.getMessage())}", err=True)


class Streams:
    """Takes the place of ``sys.stdout`` and ``sys.stderr`` from its making to ``leave``; says what the package logs."""

    def __init__(self) -> None:
        _fill_closed_descriptors()
        self._output, sys.stdout = _guarded(1, sys.stdout)
        _, sys.stderr = _guarded(2, sys.stderr)
        logging.getLogger("pamprof").addHandler(_Sentences())

    def leave(self, status: int) -> int:
        """Write what is left, and the exit status: ``status``, or 2 where output was lost and the rest went well.

        Where the reader has gone, as ``head`` does, the process ends by SIGPIPE as other programs do, whatever its
        status: 1 would be a verdict.
        """
        sys.stdout.flush()
        fault = self._output.fault
        if isinstance(fault, BrokenPipeError):
            sys.stderr.flush()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
            return 128 + signal.SIGPIPE  # the signal is blocked
        if fault is None:
            return status
        typer.echo(f"pamprof: standard output cannot be written: {fault.strerror}; write to another place", err=True)
        sys.stderr.flush()
        return status or _CANNOT_WRITE


def _fill_closed_descriptors() -> None:
    """Open what the shell closed (``>&-``): the next file, of records say, would take its number and its output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _guarded(number: int, stream: object) -> tuple[_Descriptor, _Text]:
    if isinstance(stream, io.TextIOWrapper):
        stream.flush()
        like = stream
    else:  # closed by the shell
        like = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    descriptor = _Descriptor(number, "w", closefd=False)
    return descriptor, _Text(descriptor, like)
