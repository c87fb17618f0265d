"""The messages of one step, from torch's profiler: how many bytes, how long, and how long nothing else ran.

NCCL's calls tell their sizes, its kernels lie on the device's time line beside all others. gloo works in threads of the
host, beside the step's own; there is its time but not what it hid behind. A replayed graph makes no calls: sizes then
come from the same step run eagerly.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.machine.kernels.profile import PROFILED_DTYPES, union_length
from pamprof.measure.machine.step_trace import traced
from pamprof.records import Collective, Communication
from pamprof.workloads.execution import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pamprof.measure.ranks.rank_team import RankTeam
    from pamprof.workloads.steps import PreparedStep

Span = tuple[float, float]

# By the letters of the names that NCCL's calls and kernels, and gloo's calls, have for them.
_OPERATIONS = {
    "allreduce": "all-reduce",
    "allgather": "all-gather",
    "reducescatter": "reduce-scatter",
    "broadcast": "broadcast",
    "alltoall": "all-to-all",
}
# What NCCL's calls, which name torch's scalar types, and gloo's have besides the words of operators.
_ITEM_BYTES = {
    **{word: size for word, (_, size) in PROFILED_DTYPES.items()},
    **{"Byte": 1, "Char": 1, "ComplexFloat": 8, "ComplexDouble": 16, "unsigned char": 1, "signed char": 1, "short": 2},
}
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")


def profile_communication(step: PreparedStep, team: RankTeam, *, on_cuda: bool) -> Communication | str:
    """The messages of a step, whose ranks all run it here; the reason as a sentence where that failed on one of them.

    The samples were taken by now: what fails here costs the messages alone, on all ranks alike.
    """
    found: Communication | None = None
    fault: str | None = None
    try:
        events = _events(step.run, on_cuda=on_cuda)
        called = events if step.run is step.eager else _events(step.eager, on_cuda=on_cuda)
        found = communication_of(events, called, ranks=team.size, on_cuda=on_cuda)
    except Exception as exc:  # noqa: BLE001 - the profiler, a full disk, the layer
        fault = f"the profiled step failed on rank {team.rank}: {type(exc).__name__}: {first_line(exc)}"
    faults = [told for told in team.gathered(fault) if told is not None]
    return faults[0] if faults or found is None else found


def communication_of(
    events: Iterable[dict[str, Any]], called: Iterable[dict[str, Any]], *, ranks: int, on_cuda: bool
) -> Communication:
    """Messages among a trace's events: times from ``events``, calls and sizes from ``called``."""
    counts: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for event in called:
        if (call := _call(event, ranks=ranks)) is not None:
            operation, byte_count = call
            counts[operation] += 1
            sizes[operation] += byte_count
    spans: dict[str, list[Span]] = defaultdict(list)
    others: list[Span] = []
    for event in events:
        span = event.get("ts", 0.0), event.get("ts", 0.0) + event.get("dur", 0.0)
        if on_cuda and event.get("cat") in _ON_DEVICE:
            (spans[_operation(event["name"])] if "nccl" in event["name"].lower() else others).append(span)
        elif not on_cuda and event.get("name", "").startswith("gloo:"):
            spans[_operation(event["name"])].append(span)
    every = sorted(span for found in spans.values() for span in found)
    unseen = bool(counts) and not every
    exposed = None
    if on_cuda and not unseen:
        together = sorted([*every, *others])
        exposed = (_covered(together) - _covered(sorted(others))) * 1e-6
    return Communication(
        collectives=tuple(
            Collective(
                operation=operation,
                count=counts[operation],
                bytes=sizes[operation],
                seconds=_covered(sorted(spans[operation])) * 1e-6 if spans[operation] else None,
            )
            for operation in sorted(counts, key=lambda operation: -sizes[operation])
        ),
        seconds=None if unseen else _covered(every) * 1e-6,
        exposed_seconds=exposed,
    )


def _events(step: Callable[[], object], *, on_cuda: bool) -> list[dict[str, Any]]:
    trace = traced(step, on_cuda=on_cuda)[1].decode("utf-8", errors="replace")
    events: list[dict[str, Any]] = msgspec.json.decode(trace, strict=False)["traceEvents"]
    return events


def _call(event: dict[str, Any], *, ranks: int) -> tuple[str, int] | None:
    """What a call does and its bytes; None where the event is no call."""
    name, arguments = event.get("name", ""), event.get("args", {})
    if name == "record_param_comms" and "In msg nelems" in arguments:
        operation = _operation(str(arguments.get("Collective name", "")))
        if operation not in _OPERATIONS.values():  # waits and barriers are told, too
            return None
        numbers = max(int(arguments["In msg nelems"]), int(arguments.get("Out msg nelems", 0)))
        return operation, numbers * _item_bytes(str(arguments.get("dtype", "")))
    if name.startswith("gloo:"):
        operation = _operation(name)
        if operation not in _OPERATIONS.values():
            return None
        kinds = arguments.get("Input type", ())
        given = sum(
            prod(shape) * _item_bytes(str(kind))
            for shape, kind in zip(arguments.get("Input Dims", ()), kinds, strict=False)
            if shape
        )
        return operation, given * (ranks if operation == "all-gather" else 1)
    return None


def _item_bytes(word: str) -> int:
    """Bytes of a number of a dtype in the profiler's words.

    Raises:
        UnsupportedError: Nobody knows the word.
    """
    if word in _ITEM_BYTES:
        return _ITEM_BYTES[word]
    dtype = getattr(torch, word.lower(), None)  # as "BFloat16" and "Float8_e4m3fn" have it
    if not isinstance(dtype, torch.dtype):
        raise UnsupportedError(f"messages of dtype {word!r} have a size that is not known here; add it to {__name__}")
    return dtype.itemsize


def _operation(name: str) -> str:
    letters = name.lower().replace("_", "")
    return next((operation for part, operation in _OPERATIONS.items() if part in letters), name)


def _covered(spans: Sequence[Span]) -> float:
    return union_length(list(spans)) if spans else 0.0
