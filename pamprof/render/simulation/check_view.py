"""Loads as they were served beside what was predicted of them: sentences and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.simulation.checked import PERCENTILE_NAMES, QUANTITIES
from pamprof.render.formats.table_view import TableView
from pamprof.render.simulation.view import server_words
from pamprof.render.text import cleaned, device_label, listed, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.simulation.checked import CheckedLoad, Compared

_TIMES = {
    "seconds_to_first_token": "the time to the first token",
    "seconds_per_output_token": "the time per output token",
}
_COUNTS = {4: "four", 6: "six"}
COLUMNS = (
    "arm", "load", "requests/s", "", *(f"{words} {name}" for words in QUANTITIES.values() for name in PERCENTILE_NAMES),
)  # fmt: skip
SERVED_COLUMNS = (
    "arm", "load", "served", "tokens", "steps", "sequences a step", "preempted", "busy", "loop's own share",
    "predicted", "server began",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """What is shown of ``pamprof serve-check``."""

    title: str
    alerts: tuple[str, ...]
    sentences: tuple[str, ...]
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]


def check_view(loads: Sequence[CheckedLoad]) -> CheckView:
    """All loads, clean of acting characters."""
    return cleaned(
        CheckView(
            title="Serving, predicted and measured",
            alerts=_doubts(loads),
            sentences=tuple(sentence(load) for load in loads),
            tables=(_times(loads), _served(loads)),
            notes=_notes(loads),
        )
    )


def _doubts(loads: Sequence[CheckedLoad]) -> tuple[str, ...]:
    """One sentence where steps took much longer or shorter than the prediction has them."""
    busy = [
        f"{units.ratio(load.step_ratio)} ({load.check.title} at {load_words(load)})" for load in loads if load.was_busy
    ]
    if not busy:
        return ()
    return (
        f"Steps took {listed(tuple(busy))} of what the prediction has for them: the machine was busy with something "
        "else, as it served or as steps were timed, and how far off the prediction is says little of the simulation.",
    )


def load_words(load: CheckedLoad) -> str:
    """``80% (poisson)``."""
    return f"{load.check.load} ({load.check.arrivals})"


def sentence(load: CheckedLoad) -> str:
    """How far the prediction was off, in one sentence."""
    check, worst = load.check, load.largest_error
    where = f"{check.title} at {load_words(load)}, {units.significant(check.requests_per_second)} requests a second"
    if worst is None:
        return f"{where}: too few requests were served to compare"
    count = len(load.judged)
    stopped = f", interrupted after {plural(_served_count(load), 'request')}" if check.interrupted else ""
    return (
        f"{where}{stopped}: of {_COUNTS.get(count, count)} percentiles of the times to the first and per output token, "
        f"the prediction is furthest off in {_TIMES[worst.quantity]}, {worst.percentile}: "
        f"{units.seconds(worst.predicted)} predicted, "
        f"{units.seconds(worst.measured)} measured ({error_words(worst)})"
    )


def error_words(row: Compared) -> str:
    """``+3.1 %``: the prediction over the measurement."""
    return units.UNKNOWN if row.error is None else f"{row.error * 100:+.1f} %".replace("-", "−")


def _served_count(load: CheckedLoad) -> int:
    return sum(value is not None for value in load.check.finish_seconds)


def _times(loads: Sequence[CheckedLoad]) -> TableView:
    rows = []
    for load in loads:
        check = load.check
        begin = (check.title, load_words(load), units.significant(check.requests_per_second))
        rows += [
            (*begin, "predicted", *(units.seconds(row.predicted) for row in load.rows)),
            (*begin, "measured", *(units.seconds(row.measured) for row in load.rows)),
            (*begin, "off by", *(error_words(row) for row in load.rows)),
        ]
    return TableView(
        title="What users wait",
        summary="Predicted before the server began, and measured; off by: the prediction over the measurement, less 1.",
        columns=COLUMNS,
        right=frozenset(range(2, len(COLUMNS))) - {3},
        rows=tuple(rows),
        notes=(),
    )


def _served(loads: Sequence[CheckedLoad]) -> TableView:
    return TableView(
        title="What the server did",
        summary="The loop's own share is the part of the busy time in which no step ran: admission and bookkeeping.",
        columns=SERVED_COLUMNS,
        right=frozenset(range(2, 9)),
        rows=tuple(
            (
                load.check.title,
                load_words(load),
                f"{_served_count(load):,} of {len(load.check.finish_seconds):,}",
                f"{load.check.token_count:,}",
                f"{load.check.step_count:,}",
                units.significant(load.measured.decoded_tokens / max(1, load.check.decode_step_count)),
                str(load.check.preemption_count),
                units.percent(
                    load.measured.busy_seconds / load.measured.span_seconds if load.measured.span_seconds else 0.0
                ),
                units.percent(load.host_ratio),
                load.check.prediction.written_at,
                load.check.started_at,
            )
            for load in loads
        ),
        notes=(),
    )


def _notes(loads: Sequence[CheckedLoad]) -> tuple[str, ...]:
    checks = [load.check for load in loads]
    devices = dict.fromkeys(device_label(check.environment) for check in checks)
    servers = dict.fromkeys(
        server_words(
            check.title,
            check.policy.largest_batch,
            check.policy.chunk_tokens,
            check.policy.memory_policy if check.policy.bytes_per_token else None,
        )
        + f"; {check.workload.execution}, {check.workload.dtype}; step times: {check.prediction.source}"
        for check in checks
    )
    hashes = [f"{check.prediction.file}: SHA-256 {check.prediction.sha256}" for check in checks]
    return (
        f"Measured on {', '.join(devices)}, session {', '.join(dict.fromkeys(check.session_id for check in checks))}",
        *servers,
        *dict.fromkeys(note for check in checks for note in check.notes),
        f"The first {max((check.measured_from for check in checks), default=0)} requests of each load fill the server "
        "and are not counted",
        *hashes,
    )
