"""The kernels of one step as data: which operator launched them, what that computes and moves, and how long they ran.

The counter sees every operator with its arguments, the profiler every kernel with the moment of its launch. So one step
is run under both, each operator inside a mark of its own: a kernel belongs to the operator in whose mark the host
launched it. Kernels run as long as in any other step, though the host, which is watched, launches them later.

Code of torch.compile does not run under the counter. It is profiled without, and its kernels are found by what the
profiler says of the operators that launched them; matrix products have the work of those operands in the eager step.
On a CPU operators are the kernels: those of the fastest of up to five short steps, counted in one before.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from contextlib import contextmanager
from time import perf_counter_ns
from typing import TYPE_CHECKING

import torch
from torch.autograd.profiler import profile as autograd_profile  # imports no compiler, which takes a second
from torch.profiler import ProfilerActivity, record_function

from pamprof.measure.flops.counter import counting
from pamprof.measure.flops.operator_bytes import least_bytes
from pamprof.measure.flops.operator_call import tensors_in
from pamprof.measure.machine.kernels.classes import operator_class
from pamprof.measure.machine.kernels.compiled import compiled_calls
from pamprof.measure.machine.kernels.profile import Span, device_spans, host_spans, profiling
from pamprof.measure.machine.kernels.rows import Call, Launched, added_up, launched_kernels
from pamprof.records import Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pamprof.measure.flops.operator_call import OperatorCall
    from pamprof.records import StepKernels
    from pamprof.workloads.kernel_flops import OperatorWork

_MARK = "pamprof operator "

# On a CPU, where other processes take cores away.
_STEPS = 5
_ENOUGH_NANOSECONDS = 100_000_000


def profile_operators(step: Callable[[], object], *, on_cuda: bool) -> StepKernels | str:
    """Profile one step that runs operator by operator; the reason as a sentence where nothing was seen.

    Args:
        step: Warm, eager: not replayed, not compiled.
        on_cuda: Whether its kernels run on the current CUDA device; else operators are the kernels.
    """
    if not on_cuda:
        return _on_host(step)
    operators = _MarkedOperators(profiled=True)
    with profiling(ProfilerActivity.CPU, ProfilerActivity.CUDA) as profiler:
        with counting(operators.observe, around=operators.mark):
            step()
        torch.cuda.synchronize()
    marks = [
        (span.start, span.end, operators.calls[int(span.name.removeprefix(_MARK))])
        for span in host_spans(profiler)
        if span.name.startswith(_MARK)
    ]
    return launched_kernels(device_spans(profiler), marks, Execution.EAGER)


def _on_host(step: Callable[[], object]) -> StepKernels | str:
    """The least disturbed of a few steps on the CPU; of one, where that takes long.

    The counter costs the host some microseconds an operator, which is much of a small one. So it tells which operators
    run in which order, and the profiler how long they take in steps that nobody counts. Where the two do not agree the
    times are those beside the counter.
    """
    operators = _MarkedOperators(profiled=False)
    with counting(operators.observe, around=operators.mark):
        step()
    counted = [(start, end, operators.calls[number]) for number, (start, end) in operators.spans()]
    found: list[list[tuple[int, int, Call]]] = []
    begun = perf_counter_ns()
    while len(found) < _STEPS and (not found or perf_counter_ns() - begun < _ENOUGH_NANOSECONDS):
        with autograd_profile() as profiler:
            step()
        aligned = in_order(host_spans(profiler), [call for _, _, call in counted])
        if aligned is None:
            found = [counted]
            break
        found.append(aligned)
    best = min(found, key=lambda each: sum(end - start for start, end, _ in each))
    timed = [(call, Launched(nanoseconds=end - start)) for start, end, call in best]
    return added_up(timed, [(start, end) for start, end, _ in best], Execution.EAGER)


def in_order(spans: Iterable[Span], calls: Sequence[Call]) -> list[tuple[int, int, Call]] | None:
    """When each call ran, as the profiler saw it; None where it saw others, or another order.

    Composite operators are around those that were counted, and what an operator calls itself is inside it.
    """
    pending, found = deque(calls), list[tuple[int, int, Call]]()
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        inside = found and span.start < found[-1][1]
        if pending and not inside and span.name == pending[0].operator:
            found.append((span.start, span.end, pending.popleft()))
    return None if pending else found


def profile_compiled(eager: Callable[[], object]) -> StepKernels | str:
    """Profile one compiled step on the current CUDA device.

    Args:
        eager: The step with its regions compiled, warm; counting runs it once as the code it was compiled from.
    """
    operators = _MarkedOperators(profiled=False)
    with counting(operators.observe, around=operators.mark):
        eager()
    torch.cuda.synchronize()
    with profiling(ProfilerActivity.CPU, ProfilerActivity.CUDA, record_shapes=True) as profiler:
        eager()
        torch.cuda.synchronize()
    return launched_kernels(
        device_spans(profiler), compiled_calls(host_spans(profiler), operators.calls.values()), Execution.COMPILED
    )


class _MarkedOperators:
    """Every operator of a step, and the time on the host that it took, which kernels or a clock are read by."""

    def __init__(self, *, profiled: bool) -> None:
        self.calls: dict[int, Call] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        self._profiled = profiled
        self._numbers = itertools.count()
        self._thread = threading.local()

    def spans(self) -> list[tuple[int, tuple[int, int]]]:
        """Number and nanoseconds, from when to when, of each call, in order."""
        return sorted(self._spans.items(), key=lambda item: item[1])

    @contextmanager
    def mark(self) -> Iterator[None]:
        """Around one operator."""
        number = next(self._numbers)
        if self._profiled:
            with record_function(f"{_MARK}{number}"):
                yield
        else:
            start = perf_counter_ns()
            yield
            self._spans[number] = (start, perf_counter_ns())
        self._thread.number = number

    def observe(self, name: str, work: OperatorWork | None, call: OperatorCall | None) -> None:
        """Keep the call that has just run in this thread."""
        moved = (work.byte_count if work is not None else None) or (None if call is None else least_bytes(call))
        self.calls[self._thread.number] = Call(
            operator=name,
            kernel_class=operator_class(name, work, moved),
            shapes=() if call is None else _shapes(call),
            dtype=None if call is None else _dtype(call),
            matrix_flop_count=None if work is None else work.matrix_flop_count,
            elementwise_flop_count=None if work is None else work.elementwise_flop_count,
            byte_count=moved,
        )


def _shapes(call: OperatorCall) -> tuple[tuple[int, ...], ...]:
    shapes: list[tuple[int, ...]] = []
    for value in (*call.positional, *call.keywords.values()):
        if isinstance(value, torch.Tensor):
            shapes.append(tuple(value.shape))
        elif isinstance(value, (list, tuple)) and (tensors := tensors_in(value)):
            shapes.append((sum(tensor.numel() for tensor in tensors),))
    return tuple(shapes)


def _dtype(call: OperatorCall) -> str | None:
    tensors = (*tensors_in(call.positional), *tensors_in(call.keywords), *tensors_in(call.output))
    numbers = (tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex())
    found = next(numbers, None)
    return None if found is None else str(found).removeprefix("torch.")
