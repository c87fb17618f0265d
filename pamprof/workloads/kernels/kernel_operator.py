"""Kernels as operators: registered while a step is counted or compiled, launched bare while it is timed.

A bare launch is invisible to a counter and to fake tensors, a registered operator costs the host tens of microseconds
a call. So every kernel is both, and the call decides: the operator wherever something watches, else the launch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from inspect import Signature, signature
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.library import custom_op

from pamprof.workloads.kernel_flops import register_kernel_flops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.workloads.kernel_flops import KernelFormula, OperatorWork

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def kernel_operator(
    name: str, *, fake: Callable[_Arguments, _Result], work: KernelFormula, mutates: Sequence[str] = ()
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Make a function that launches kernels the operator ``pamprof::name`` as well.

    Args:
        name: Of the operator.
        fake: Makes results of the right shapes and dtypes and launches nothing; same arguments as the launch.
        work: What one call costs, from those of the launch's arguments and its ``output`` that the formula names. Where
            it gives no bytes they are those of ``tensor_bytes``: right for kernels that touch each tensor once.
        mutates: Arguments that the launch writes to.
    """

    def register(launch: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        operator = custom_op(f"pamprof::{name}", launch, mutates_args=tuple(mutates))
        operator.register_fake(fake)
        register_kernel_flops(f"pamprof::{name}", with_bytes(work, signature(launch), mutates))

        @wraps(launch)
        def call(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
            if torch.compiler.is_compiling() or _is_watched(arguments):
                result: _Result = operator(*arguments, **keywords)
                return result
            return launch(*arguments, **keywords)

        return call

    return register


def with_bytes(work: KernelFormula, operator: Signature, mutates: Sequence[str]) -> KernelFormula:
    """``work`` with the bytes of every tensor that is read and written, where it does not say other bytes itself.

    Args:
        work: The formula; it gets those of the operator's arguments and of ``output`` that it names.
        operator: The operator's own arguments.
        mutates: Those that are written besides being read.
    """
    used = signature(work).parameters

    def formula(*arguments: object, output: object, **keywords: object) -> OperatorWork:
        bound = operator.bind(*arguments, **keywords)
        bound.apply_defaults()
        given = {**bound.arguments, "output": output}
        found = work(**{name: given[name] for name in used})
        if found.byte_count is not None:
            return found
        return replace(found, byte_count=tensor_bytes(*given.values(), *(given[name] for name in mutates)))

    return formula


def tensor_bytes(*values: object) -> int:
    """Bytes of all tensors among ``values``, however deep in lists; a view counts what it shows."""
    total = 0
    for value in values:
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, (list, tuple)):
            total += tensor_bytes(*value)
    return total


def require_contiguous(**tensors: Tensor) -> None:
    """Raise where a kernel would read or write other places than the tensor's.

    Raises:
        ValueError: A tensor with gaps or in another order.
    """
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} has strides {tensor.stride()}; a kernel needs it contiguous")


def _is_watched(arguments: Sequence[object]) -> bool:
    """Whether a dispatch mode counts or fakes, or the tensors have no data."""
    first = arguments[0]
    return torch._C._len_torch_dispatch_stack() > 0 or (isinstance(first, Tensor) and first.is_meta)
