"""Formulas of users for operators that the counter does not know; importing this brings no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, overload

from pamprof.errors import UsageError
from pamprof.workloads.kernel_flops import OperatorWork, qualified_name, register_kernel_flops

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef
    from torch._ops import OpOverload, OpOverloadPacket

FlopFormula = TypeVar("FlopFormula", bound=Callable[..., int | OperatorWork])


@overload
def flops_of(operator: str | OpOverload | OpOverloadPacket | CustomOpDef, formula: FlopFormula) -> FlopFormula: ...
@overload
def flops_of(
    operator: str | OpOverload | OpOverloadPacket | CustomOpDef, formula: None = None
) -> Callable[[FlopFormula], FlopFormula]: ...
def flops_of(
    operator: str | OpOverload | OpOverloadPacket | CustomOpDef, formula: FlopFormula | None = None
) -> FlopFormula | Callable[[FlopFormula], FlopFormula]:
    """Say what one call of an operator costs; the counter asks this before its own formulas.

    ::

        pamprof.flops_of("my::scan", lambda x, weight, *, output: 2 * x.numel() * weight.shape[-1])

        @pamprof.flops_of("my::scan")
        def scan_flops(x, weight, *, output): ...

    The formula belongs beside the operator: a module that registers it when it is imported is counted everywhere. A
    backward pass that is an operator of its own needs a formula of its own.

    Args:
        operator: ``"namespace::name"``, or the operator itself; all its overloads are meant. A name that has a formula
            from an earlier call gets the new one.
        formula: Called after each call, with the operator's arguments as they were dispatched (by position or by name)
            and ``output=`` its result. Tensors are the real ones: use their shapes and dtypes only, since they may be
            on the meta device. Returns matrix FLOPs, or a ``pamprof.OperatorWork`` where some are elementwise or a
            causal mask skips part of the dense product; a real multiply-add is 2, a complex one 8. Left out,
            ``flops_of`` is a decorator.

    Returns:
        The formula itself; as a decorator, what registers it.

    Raises:
        UsageError: The name has no namespace or is one of pamprof's own; when counting, the formula returns something
            other than a count.
    """
    name = qualified_name(operator)
    if name.startswith("pamprof::"):
        raise UsageError(f"operator {name} is counted by pamprof itself; register formulas for your own operators")

    def register(given: FlopFormula) -> FlopFormula:
        def work(*args: object, **keywords: object) -> OperatorWork:
            return _work(name, given(*args, **keywords))

        register_kernel_flops(name, work, replace=True)
        return given

    return register if formula is None else register(formula)


def _work(name: str, found: object) -> OperatorWork:
    if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
        return OperatorWork(matrix_flop_count=found, matrix_dense_flop_count=found)
    if isinstance(found, OperatorWork):  # what is left out of the dense count is dense
        return replace(found, matrix_dense_flop_count=max(found.matrix_flop_count, found.matrix_dense_flop_count))
    raise UsageError(
        f"the FLOP formula of {name} returned {found!r}; return a whole number of 0 or more, or an OperatorWork"
    )
