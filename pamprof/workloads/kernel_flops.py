"""FLOP formulas of custom operators, which keep the count complete when a step runs hand-written kernels.

A kernel launched bare, as ``kernel[grid](...)``, is invisible to any counter. Wrap it as an operator with
``torch.library`` and register what it does; an operator without a formula is reported as uncounted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef
    from torch._ops import OpOverload, OpOverloadPacket


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWork:
    """Floating-point operations, and bytes, of one operator call.

    Attributes:
        matrix_flop_count: Multiply-adds of matrix products, real 2, complex 8; a causal mask skips what it masks.
        matrix_dense_flop_count: The same with causal masks computed in full.
        elementwise_flop_count: Pointwise and reduction work, real 1, complex multiplication 6, complex addition 2.
        byte_count: Least bytes moved to and from memory: every tensor read or written once by each kernel that touches
            it; None where nobody says.
    """

    matrix_flop_count: int = 0
    matrix_dense_flop_count: int = 0
    elementwise_flop_count: int = 0
    byte_count: int | None = None


KernelFormula = Callable[..., OperatorWork]

_formulas: dict[str, KernelFormula] = {}


def register_kernel_flops(
    operator: str | OpOverload | OpOverloadPacket, formula: KernelFormula, *, replace: bool = False
) -> None:
    """Say what one call of a custom operator costs.

    Args:
        operator: ``"namespace::name"``, or the operator itself; all its overloads are meant.
        formula: Called with the operator's own arguments and ``output=`` its result; shapes only, tensors may be on
            the meta device.
        replace: Whether the formula takes the place of one that is there.

    Raises:
        UsageError: The name has no namespace, or the operator already has a formula.
    """
    name = qualified_name(operator)
    if name in _formulas and not replace:
        raise UsageError(f"operator {name} already has a FLOP formula; register it once, where the kernel is defined")
    _formulas[name] = formula


def kernel_formula(name: str) -> KernelFormula | None:
    """The formula registered for ``"namespace::name"``, or None."""
    return _formulas.get(name)


def qualified_name(operator: str | OpOverload | OpOverloadPacket | CustomOpDef) -> str:
    """``"namespace::name"`` of an operator, which may be given as just that.

    Raises:
        UsageError: The text has no namespace.
    """
    if isinstance(operator, str):
        name = operator
    else:
        overload = getattr(operator, "_opoverload", operator)  # torch.library.custom_op wraps it
        name = "::".join(str(getattr(overload, "overloadpacket", overload)).split(".", maxsplit=1))
    if not all(name.partition("::")[::2]) or name.count("::") != 1:
        raise UsageError(f"kernel formula for {name!r}: an operator is named 'namespace::name'; give both parts")
    return name
