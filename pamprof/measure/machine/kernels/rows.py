"""Kernels of a step joined with the operators that launched them, and added up into the rows of a record."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof.measure.machine.kernels.classes import kernel_name_class
from pamprof.measure.machine.kernels.profile import Span, short_name, union_length
from pamprof.records import Execution, KernelClass, KernelUse, StepKernels

if TYPE_CHECKING:
    from collections.abc import Iterable

# Uses below this share of the time that multiply no matrices are one row an operator.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator call."""

    operator: str
    kernel_class: KernelClass | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    dtype: str | None = None
    matrix_flop_count: int | None = None
    elementwise_flop_count: int | None = None
    byte_count: int | None = None


@dataclass(slots=True)
class Launched:
    """What one call launched: how often, how long, and its kernels' time by short name."""

    count: int = 0
    nanoseconds: int = 0
    names: Counter[str] = field(default_factory=Counter)


def launched_kernels(
    device: Iterable[Span], hosts: Iterable[tuple[int, int, Call]], execution: Execution
) -> StepKernels | str:
    """Join what ran on the device with the calls in whose time on the host, nanoseconds, it was launched."""
    ordered = sorted(hosts, key=lambda host: host[0])
    starts = [start for start, _, _ in ordered]
    launched: dict[int, Launched] = defaultdict(Launched)
    unowned: list[tuple[Call, Launched]] = []
    spans: list[tuple[int, int]] = []
    for kernel in device:
        place = bisect_right(starts, kernel.launched_at) - 1 if kernel.launched_at is not None else -1
        owned = place >= 0 and kernel.launched_at is not None and kernel.launched_at < ordered[place][1]
        name = short_name(kernel.name)
        found = launched[place] if owned else Launched()
        found.count += 1
        found.nanoseconds += kernel.end - kernel.start
        found.names[name] += kernel.end - kernel.start
        spans.append((kernel.start, kernel.end))
        if not owned:
            unowned.append((Call(operator=name, kernel_class=kernel_name_class(kernel.name)), found))
    if not spans:
        return "the profiler saw no kernel on the device"
    return added_up([*((ordered[place][2], each) for place, each in launched.items()), *unowned], spans, execution)


def added_up(
    timed: list[tuple[Call, Launched]], spans: list[tuple[int, int]], execution: Execution
) -> StepKernels | str:
    """One row for calls that are alike, those that took longest first."""
    total = sum(launched.nanoseconds for _, launched in timed)
    if not total:
        return "no operator ran in the profiled step"
    alike = _grouped((call, [(call, launched)]) for call, launched in timed)
    small = {call for call, each in alike.items() if _is_small(call, sum(one.nanoseconds for _, one in each) / total)}
    rows = _grouped(
        (Call(operator=call.operator, kernel_class=call.kernel_class) if call in small else call, each)
        for call, each in alike.items()
    )
    uses = [_use(row, each) for row, each in rows.items()]
    return StepKernels(
        uses=tuple(sorted((use for use in uses if use.seconds > 0), key=lambda use: -use.seconds)),
        execution=execution,
        busy_seconds=union_length(sorted(spans)) * 1e-9,
    )


def _grouped(
    calls: Iterable[tuple[Call, list[tuple[Call, Launched]]]],
) -> dict[Call, list[tuple[Call, Launched]]]:
    groups: dict[Call, list[tuple[Call, Launched]]] = defaultdict(list)
    for call, each in calls:
        groups[call] += each
    return groups


def _is_small(call: Call, share: float) -> bool:
    return call.kernel_class is KernelClass.OTHER or (share < _LEAST_SHARE and not call.matrix_flop_count)


def _use(row: Call, calls: list[tuple[Call, Launched]]) -> KernelUse:
    names: Counter[str] = Counter()
    for _, launched in calls:
        names.update(launched.names)
    kernel = names.most_common(1)[0][0] if names else None
    dtypes = {call.dtype for call, _ in calls}
    return KernelUse(
        operator=row.operator,
        kernel=kernel,
        kernel_class=row.kernel_class or kernel_name_class(kernel or row.operator),
        shapes=row.shapes,
        dtype=dtypes.pop() if len(dtypes) == 1 else None,
        call_count=len(calls),
        kernel_count=sum(launched.count for _, launched in calls),
        matrix_flop_count=_sum(call.matrix_flop_count for call, _ in calls),
        elementwise_flop_count=_sum(call.elementwise_flop_count for call, _ in calls),
        byte_count=_sum(call.byte_count for call, _ in calls),
        seconds=sum(launched.nanoseconds for _, launched in calls) * 1e-9,
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Their sum; None where one is not known."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)
