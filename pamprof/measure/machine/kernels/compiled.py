"""Calls of a compiled step, from what the profiler says of its operators and the eager step they were compiled from."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from math import prod
from typing import TYPE_CHECKING

from pamprof.measure.machine.kernels.classes import kernel_name_class
from pamprof.measure.machine.kernels.profile import PROFILED_DTYPES
from pamprof.measure.machine.kernels.rows import Call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.measure.machine.kernels.profile import Span

# Of a compiled arm: products, by where their two operands stand among the arguments.
_OF_ROWS = re.compile(r"copy|index|scatter|gather|embedding|slice|select")
_OF_LISTS = ("aten::_foreach_", "aten::_fused_adam", "aten::_amp_foreach")
_OPERANDS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1, "aten::_scaled_mm": 0}


def compiled_calls(hosts: Iterable[Span], counted: Iterable[Call]) -> list[tuple[int, int, Call]]:
    """The calls of a compiled step: operators as the profiler saw them, with the work of their twins in the eager step.

    An operator inside another one belongs to it where the outer one was counted; else the inner one stands for itself.
    """
    eager: dict[tuple[str, tuple[tuple[int, ...], ...]], Call] = {}
    products: dict[tuple[tuple[int, ...], ...], Call] = {}
    of_lists: dict[str, deque[Call]] = defaultdict(deque)
    for call in counted:
        shapes = tuple(filter(None, call.shapes))
        eager.setdefault((call.operator, shapes), call)
        if call.operator in _OPERANDS:
            first = _OPERANDS[call.operator]
            products.setdefault(shapes[first : first + 2], call)
        if call.operator.startswith(_OF_LISTS):
            of_lists[call.operator].append(call)
    found: list[tuple[int, int, Call]] = []
    for span in sorted(hosts, key=lambda span: (span.start, -span.end)):
        shapes = tuple(filter(None, span.shapes))  # scalars have none, and stand among the tensors
        twin = eager.get((span.name, shapes)) or eager.get((span.name, shapes[:-1]))  # the last is that of ``out=``
        if twin is None and span.name in _OPERANDS:
            first = _OPERANDS[span.name]
            twin = products.get(shapes[first : first + 2])
        if of_lists.get(span.name):  # whose shapes the profiler does not tell; outside the compiled code, so in order
            twin = of_lists[span.name].popleft()
        if twin is None and not span.name.startswith("aten::") and ("::" in span.name or "triton_" in span.name):
            twin = _seen_call(span)
        if twin is not None and not (found and span.start < found[-1][1]):
            found.append((span.start, span.end, twin))
    return found


def _seen_call(span: Span) -> Call:
    """A compiler's kernel, or an operator that the eager step does not have, from what the profiler says of it."""
    known = [(shape, *PROFILED_DTYPES[kind]) for shape, kind in zip(span.shapes, span.dtypes, strict=False)
             if kind in PROFILED_DTYPES and shape]  # fmt: skip
    return Call(
        operator=span.name,
        kernel_class=kernel_name_class(span.name),
        shapes=tuple(shape for shape, _, _ in known),
        dtype=next((name for _, name, _ in known if name is not None), None),
        byte_count=_least_bytes(span.name, [prod(shape) * size for shape, _, size in known]) or None,
    )


def _least_bytes(name: str, sizes: list[int]) -> int:
    """Every argument once; of the largest at most what the others have where rows of it are taken or overwritten."""
    total, largest = sum(sizes), max(sizes, default=0)
    return total - largest + min(largest, total - largest) if _OF_ROWS.search(name) else total
