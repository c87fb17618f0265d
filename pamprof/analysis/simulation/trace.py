"""Requests of a trace: a CSV file with a time, input and output tokens a row, as public traces have them.

Read by name of the column, whatever its case: those of the Azure LLM inference traces (TIMESTAMP, ContextTokens,
GeneratedTokens; github.com/Azure/AzurePublicDataset), of BurstGPT (Timestamp, Request tokens, Response tokens;
github.com/HPMLL/BurstGPT) and plain ones. Times are seconds or dates.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.requests import Requests
from pamprof.analysis.simulation.workload import MOST_TOKENS
from pamprof.errors import RecordError
from pamprof.units import plain_number

if TYPE_CHECKING:
    from pathlib import Path

_TIMES = ("time", "timestamp", "time_seconds", "arrival_seconds", "arrival_time", "arrived_at", "arrival")
_INPUTS = ("input_tokens", "input", "contexttokens", "request tokens", "prompt_tokens", "num_prefill_tokens", "prompt")
_OUTPUTS = (
    "output_tokens", "output", "generatedtokens", "response tokens", "completion_tokens", "num_decode_tokens",
    "generated",
)  # fmt: skip


def read_trace(path: Path) -> Requests:
    """The requests of a file; those that generated nothing are left out.

    Raises:
        RecordError: It cannot be read, lacks a column, or a row is none.
    """
    import numpy as np

    try:
        opened = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = opened.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as exc:
        reason = getattr(exc, "strerror", None) or exc  # an OSError's own text names the file again
        raise RecordError(f"{path} cannot be read as a trace: {reason}") from exc
    try:
        table = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as exc:
        raise RecordError(f"{path} is no table of requests: {exc}; look for a quote that is not closed") from exc
    header = [name.strip().lower() for name in table[0]] if table else []
    places = [_column(path, header, names) for names in (_TIMES, _INPUTS, _OUTPUTS)]
    found = []
    for number, row in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        time, tokens = _seconds(cells[0]), [plain_number(cell) for cell in cells[1:]]
        if time is None or any(
            count is None or not 0 <= count <= MOST_TOKENS or count != int(count) for count in tokens
        ):
            raise RecordError(
                f"{path}, line {number}: {', '.join(cells)!r} is no request; each row needs a time in seconds or as a "
                f"date, and whole numbers of input and output tokens up to {MOST_TOKENS:,}"
            )
        if tokens[1]:
            found.append((time, int(tokens[0] or 0), int(tokens[1])))
    found.sort()
    span = found[-1][0] - found[0][0] if found else 0.0
    if len(found) < 2 or span <= 0:
        raise RecordError(f"{path} has no two requests at different times that generated a token, so no rate")
    times, inputs, outputs = (np.array(column) for column in zip(*found, strict=True))
    rate = (len(found) - 1) / span
    return Requests(
        arrival_seconds=times - times[0],
        input_tokens=inputs,
        output_tokens=outputs,
        per_second=float(rate),
        arrival_words="at the trace's times",
        input_words="of the trace",
        output_words="of the trace",
    )


def _column(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    semicolons = " (its columns must be separated by commas)" if len(header) == 1 and ";" in header[0] else ""
    raise RecordError(
        f"{path} has no column {names[0]!r} among {', '.join(header) or 'none'}{semicolons}; a trace has a header with "
        "time, input_tokens and output_tokens"
    )


def _seconds(text: str) -> float | None:
    number = plain_number(text)
    if number is not None:
        seconds = float(number)
        return seconds if isfinite(seconds) else None
    # Azure writes seven decimals of a second; Python reads six.
    head, point, decimals = text.partition(".")
    digits = decimals[:6] if decimals.isdigit() else decimals
    try:
        found = datetime.fromisoformat(f"{head}{point}{digits}")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
