"""The part of Triton that host code calls: Triton ships no types."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, overload

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

class KernelInterface:
    """What can be launched on a grid from the host, compiled or interpreted."""

    def __getitem__(self, grid: int | tuple[int, ...]) -> Callable[..., Any]: ...

class JITFunction(KernelInterface, Generic[_Arguments, _Result]):
    """A kernel, or a device function that other device code calls with the arguments it declares."""

    def __call__(self, *arguments: _Arguments.args, **constants: _Arguments.kwargs) -> _Result: ...

@overload
def jit(function: Callable[_Arguments, _Result]) -> JITFunction[_Arguments, _Result]: ...
@overload
def jit(
    *, do_not_specialize: Iterable[str] = ...
) -> Callable[[Callable[_Arguments, _Result]], JITFunction[_Arguments, _Result]]: ...
def cdiv(dividend: int, divisor: int) -> int: ...
def next_power_of_2(number: int) -> int: ...
def __getattr__(name: str) -> Any: ...
