"""Count the floating-point operations of one step, complex arithmetic included.

The counter is told of every operator that reaches a device kernel (``measure.dispatch``) and asks, in this order, the
formulas registered for custom kernels, the matrix formulas, the elementwise convention, and whatever formulas torch's
own ``FlopCounterMode`` knows (``torch.utils.flop_counter.register_flop_formula`` fills the same registry). Torch's
counter itself is not used: it takes a complex multiply-add for a real one, causal attention for dense, and nothing
outside matrix products for work. An operator nobody has a formula for is listed as uncounted, so that a total can
never look complete when it is not.

A step may run on meta or fake tensors, where nothing is computed: the largest preset is counted on a laptop. A module
under ``torch.compile`` is counted as the eager code it was made from. Never time a step that is being counted.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.utils.checkpoint
from torch.utils.flop_counter import FlopCounterMode

from pamprof.measure.dispatch import observed
from pamprof.measure.flops.attention_calls import SeparateAttention
from pamprof.measure.flops.elementwise import elementwise_flops
from pamprof.measure.flops.flex_attention import FLEX_ATTENTION, flex_attention_work
from pamprof.measure.flops.matrix import MATRIX_FORMULAS
from pamprof.measure.flops.opened_attention import OpenedAttention
from pamprof.measure.flops.operator_call import OperatorCall, operator_name, tensors_in
from pamprof.records import FlopCount, OperatorCount
from pamprof.workloads.kernel_flops import OperatorWork, kernel_formula, register_kernel_flops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import FrameType

    from torch._ops import HigherOrderOperator, OpOverload

__all__ = ["Observe", "count_flops", "counting", "register_kernel_flops", "work_of"]

# Told the name and the work of every operator as it is counted, None as work where it has no formula; and the call,
# None of a higher-order operator.
Observe = Callable[[str, OperatorWork | None, OperatorCall | None], None]


def count_flops(
    step: Callable[[], object],
    *,
    closed_form_matrix_flop_count: int | None = None,
    observe: Observe | None = None,
) -> FlopCount:
    """Run ``step`` once and count what it did.

    ``operator_count`` counts every operator that dispatches to a kernel after composite operators have been taken
    apart: views, copies and factories included, since each costs the host its dispatch; profiler marks excluded.

    Args:
        step: One step: forward, forward and backward, or one decoded token; its tensors may be on any device.
        closed_form_matrix_flop_count: The layer's own formula, passed through to stand beside the count.
        observe: Told of every operator as it is counted.
    """
    with counting(observe) as counted:
        step()
    return counted(closed_form_matrix_flop_count)


@contextmanager
def counting(
    observe: Observe | None = None,
    *,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[Callable[[int | None], FlopCount]]:
    """Count what runs until the context ends; then what is yielded gives the count, with a closed form beside it.

    Each operator runs inside ``around()``.
    """
    counter = _Counter(observe)

    def counted(closed_form_matrix_flop_count: int | None) -> FlopCount:
        return FlopCount(
            matrix_flop_count=counter.matrix_flop_count,
            matrix_dense_flop_count=counter.matrix_dense_flop_count,
            elementwise_flop_count=counter.elementwise_flop_count,
            closed_form_matrix_flop_count=closed_form_matrix_flop_count,
            operator_count=counter.operator_count,
            uncounted_operators=tuple(
                OperatorCount(operator=name, count=count) for name, count in sorted(counter.uncounted.items())
            ),
            complete=not counter.uncounted,
            kernel_byte_count=counter.kernel_byte_count,
            attention_operators=tuple(dict.fromkeys(counter.attention)),
            recomputed_matrix_flop_count=counter.recomputed_matrix_flop_count,
            recomputed_matrix_dense_flop_count=counter.recomputed_matrix_dense_flop_count,
        )

    eager = torch.compiler.set_stance("force_eager")
    with warnings.catch_warnings(), eager, SeparateAttention(), OpenedAttention(), observed(counter, around=around):
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")  # which counting leaves out
        yield counted


def work_of(call: OperatorCall, torch_formulas: Mapping[object, Callable[..., int]]) -> OperatorWork | None:
    """What one call costs, or None when no formula covers it.

    Args:
        call: A dispatched call.
        torch_formulas: Torch's formulas by operator packet, asked last.
    """
    if any(tensor.is_nested for tensor in tensors_in(call.positional)):
        return None  # strided nested tensors have no lengths in their shape
    own = kernel_formula(call.name)
    if own is not None:
        return own(*call.positional, **call.keywords, output=call.output)
    matrix = MATRIX_FORMULAS.get(call.name) or MATRIX_FORMULAS.get(call.name.removesuffix("_"))
    if matrix is not None:
        return matrix(call)
    elementwise = elementwise_flops(call)
    if elementwise is not None:
        return OperatorWork(elementwise_flop_count=elementwise)
    return _torch_work(call, torch_formulas)


def _torch_work(call: OperatorCall, torch_formulas: Mapping[object, Callable[..., int]]) -> OperatorWork | None:
    formula = torch_formulas.get(call.operator.overloadpacket)
    if formula is None:
        return None
    flops = formula(*call.positional, **call.keywords, out_val=call.output)
    first = call.first_tensor()
    if call.operator.namespace == "aten" and first is not None and first.is_complex():
        flops *= 4  # torch's formulas count a complex multiply-add as a real one
    return OperatorWork(matrix_flop_count=flops, matrix_dense_flop_count=flops)


class _Counter:
    """Adds up the work of every operator that it is told of."""

    def __init__(self, observe: Observe | None) -> None:
        self._observe = observe
        self.matrix_flop_count = 0
        self.matrix_dense_flop_count = 0
        self.elementwise_flop_count = 0
        self.operator_count = 0
        self.recomputed_matrix_flop_count = 0
        self.recomputed_matrix_dense_flop_count = 0
        self.kernel_byte_count: int | None = None
        self.attention: list[str] = []
        self.uncounted: Counter[str] = Counter()
        self._torch_formulas: Mapping[object, Callable[..., int]] = FlopCounterMode(display=False).flop_registry

    def ran(self, operator: OpOverload, args: Sequence[object], keywords: Mapping[str, object], output: object) -> None:
        """Add the work of ``operator``."""
        self.operator_count += 1
        call = OperatorCall(operator=operator, positional=args, keywords=keywords, output=output)
        self._add(operator_name(operator), work_of(call, self._torch_formulas), call)

    def ran_whole(
        self, operator: HigherOrderOperator, args: Sequence[object], keywords: Mapping[str, object], output: object
    ) -> None:
        """Add a kernel launch, or what else runs out of sight and so needs a formula of its own."""
        self.operator_count += 1
        name = operator.name()
        if name in FLEX_ATTENTION:
            work = flex_attention_work(name, args)
        else:
            formula = self._torch_formulas.get(_kernel_of(operator, keywords))
            flops = None if formula is None else formula(*args, **keywords, out_val=output)
            work = None if flops is None else OperatorWork(matrix_flop_count=flops, matrix_dense_flop_count=flops)
        self._add(f"higher_order::{name}", work, None)

    def _add(self, name: str, work: OperatorWork | None, call: OperatorCall | None) -> None:
        if self._observe is not None:
            self._observe(name, work, call)
        if work is None:
            self.uncounted[name] += 1
            return
        self.matrix_flop_count += work.matrix_flop_count
        self.matrix_dense_flop_count += work.matrix_dense_flop_count
        self.elementwise_flop_count += work.elementwise_flop_count
        if work.matrix_flop_count and _is_recomputation():
            self.recomputed_matrix_flop_count += work.matrix_flop_count
            self.recomputed_matrix_dense_flop_count += work.matrix_dense_flop_count
        if work.byte_count is not None:
            self.kernel_byte_count = (self.kernel_byte_count or 0) + work.byte_count
        if "attention" in name and "backward" not in name:
            self.attention.append(name)


def _is_recomputation() -> bool:
    """Whether an activation checkpoint runs its forward pass again: with gradients, inside a backward pass."""
    if torch._C._current_graph_task_id() < 0 or not torch.is_grad_enabled():
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == torch.utils.checkpoint.__file__:
            return True
        frame = frame.f_back
    return False


def _kernel_of(operator: HigherOrderOperator, keywords: Mapping[str, object]) -> object:
    """The Triton function behind a wrapped launch, else the operator itself."""
    if not str(operator).startswith("triton_kernel_wrapper"):
        return operator
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    index = keywords["kernel_idx"]
    kernel: object = kernel_side_table.get_kernel(index) if isinstance(index, int) else operator
    while hasattr(kernel, "fn") and not hasattr(kernel, "src"):  # autotuners and heuristics wrap the function
        kernel = kernel.fn
    return kernel
