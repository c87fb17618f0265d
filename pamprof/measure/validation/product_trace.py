"""Which operators of a step multiply matrices, and how to run the step so that a profiler sees each of them apart.

The step is run twice: once to find the products with the FLOP counter's own formulas, once more to do something around
each. An operator is known by its place in the order of dispatch, which is the same both times.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pamprof.measure.flops.counter import work_of
from pamprof.measure.flops.elementwise_weights import FREE_NAMESPACES
from pamprof.measure.flops.operator_call import OperatorCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FACTORS = {
    "aten::mm": ("self", "mat2"),
    "aten::bmm": ("self", "mat2"),
    "aten::addmm": ("mat1", "mat2"),
    "aten::_addmm_activation": ("mat1", "mat2"),
    "aten::baddbmm": ("batch1", "batch2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product, or one fused attention, as the FLOP counter counts it.

    Attributes:
        operator: ``namespace::name``.
        batch: Products side by side; of an attention, batch times heads.
        rows: Rows of the result; of an attention, queries.
        columns: Columns of the result; of an attention, keys.
        inner: What is summed over; of an attention, head_dim. The four are 0 where the operator is none we take apart.
        attention: Whether it is an attention.
        flop_count: Causal as causal.
        dense_flop_count: Causal as dense.
    """

    operator: str
    batch: int = 0
    rows: int = 0
    columns: int = 0
    inner: int = 0
    attention: bool = False
    flop_count: int
    dense_flop_count: int


def find_products(step: Callable[[], object]) -> dict[int, Product]:
    """The products of one step by their place in the order of dispatch."""
    found: dict[int, Product] = {}
    registry: Mapping[object, Callable[..., int]] = FlopCounterMode(display=False).flop_registry

    def look(place: int, call: OperatorCall) -> None:
        work = work_of(call, registry)
        if work is not None and work.matrix_flop_count:
            batch, rows, columns, inner = _sizes(call)
            found[place] = Product(
                operator=call.name,
                batch=batch,
                rows=rows,
                columns=columns,
                inner=inner,
                attention="attention" in call.name,
                flop_count=work.matrix_flop_count,
                dense_flop_count=work.matrix_dense_flop_count,
            )

    with _Dispatch(lambda _: nullcontext(), look):
        step()
    return found


def run_with(
    step: Callable[[], object], places: Mapping[int, Product], around: Callable[[], AbstractContextManager[None]]
) -> int:
    """Run the step with a context of ``around`` for the operator at each of ``places``; how many there were."""
    entered = 0

    def choose(place: int) -> AbstractContextManager[None]:
        nonlocal entered
        if place not in places:
            return nullcontext()
        entered += 1
        return around()

    with _Dispatch(choose, lambda *_: None):
        step()
    return entered


def _sizes(call: OperatorCall) -> tuple[int, int, int, int]:
    if call.name in _FACTORS:
        left, right = (call.tensor(name) for name in _FACTORS[call.name])
        batch = left.shape[0] if left.dim() == 3 else 1
        return batch, left.shape[-2], right.shape[-1], left.shape[-1]
    if call.name.startswith("aten::_scaled_dot_product"):
        query, key = call.tensor("query"), call.tensor("key")
        return query.shape[0] * query.shape[1], query.shape[2], key.shape[2], query.shape[3]
    return 0, 0, 0, 0


class _Dispatch(TorchDispatchMode):
    """Numbers the operators that reach a kernel, as the FLOP counter meets them."""

    supports_higher_order_operators = True

    def __init__(
        self,
        around: Callable[[int], AbstractContextManager[None]],
        after: Callable[[int, OperatorCall], None],
    ) -> None:
        TorchDispatchMode.__init__(self)
        self._around = around
        self._after = after
        self._place = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operator inside its context, then show it."""
        del types
        keywords = dict(kwargs or {})
        if not isinstance(func, OpOverload) or func.namespace in FREE_NAMESPACES:
            return func(*args, **keywords)
        with self:
            parts = func.decompose(*args, **keywords)
        if parts is not NotImplemented:
            return parts
        place, self._place = self._place, self._place + 1
        with self._around(place):
            output = func(*args, **keywords)
        self._after(place, OperatorCall(operator=func, positional=args, keywords=keywords, output=output))
        return output
