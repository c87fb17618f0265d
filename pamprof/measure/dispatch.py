"""Seeing every operator that a step runs, wherever it runs: in composites, in control flow, in subclasses, in threads.

A dispatch mode alone misses much of that. Composite operators arrive whole under inference mode. Bodies of ``cond``,
``while_loop``, ``scan`` and ``map`` run with the mode switched off. A tensor subclass that does its work through
operators on the tensors inside it hides them. And a mode belongs to one thread: a layer that hands products to worker
threads does them unseen.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode,
    _pop_mode_temporarily,
    is_traceable_wrapper_subclass_type,
)
from torch.utils._pytree import tree_map

from pamprof.measure.flops.elementwise_weights import FREE_NAMESPACES
from pamprof.measure.flops.operator_call import tensors_in
from pamprof.measure.threads import in_every_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch._ops import HigherOrderOperator

# These have a subgraph each, of which they run as much as they choose: their work is their own.
_WHOLE_OPERATORS = ("flex_attention", "triton_kernel_wrapper", "inductor_compiled_code")

_CONTROL_FLOW = ("cond", "while_loop", "scan", "map_impl", "associative_scan")


class Observer(Protocol):
    """What is told of every operator."""

    def ran(self, operator: OpOverload, args: Sequence[object], keywords: Mapping[str, object], output: object) -> None:
        """``operator`` was dispatched to a kernel and returned ``output``."""
        ...

    def ran_whole(
        self, operator: HigherOrderOperator, args: Sequence[object], keywords: Mapping[str, object], output: object
    ) -> None:
        """A higher-order operator ran whose parts, if it has any, were not seen."""
        ...


@contextmanager
def observed(
    observer: Observer, *, around: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """Tell ``observer`` of every operator until the context ends, in threads too; it is told by one at a time.

    Each operator runs inside a context of its own, ``around()``, and the observer is told after that has ended.
    """
    lock = threading.RLock()
    with _plain_control_flow(), in_every_thread(lambda: _OperatorMode(observer, lock, around)):
        yield


@contextmanager
def _plain_control_flow() -> Iterator[None]:
    """Let control flow in an observed thread run as the Python it stands for, under plain automatic differentiation.

    Torch differentiates it through a graph that its compiler captures, and does not capture under a dispatch mode; its
    backward pass then computes the bodies' forward pass a second time, which is no part of the model's work.
    """
    operators = [getattr(torch.ops.higher_order, name, None) for name in _CONTROL_FLOW]
    kernels = {
        operator: operator.py_kernels.get(DispatchKey.Autograd) for operator in operators if operator is not None
    }
    for operator, kernel in kernels.items():
        if kernel is not None:
            operator.py_kernels[DispatchKey.Autograd] = partial(_plainly, operator, kernel)
            operator._dispatch_cache.clear()
    try:
        yield
    finally:
        for operator, kernel in kernels.items():
            if kernel is not None:
                operator.py_kernels[DispatchKey.Autograd] = kernel
                operator._dispatch_cache.clear()


def _plainly(operator: HigherOrderOperator, kernel: Callable[..., object], *args: object, **keywords: object) -> object:
    if not isinstance(_get_current_dispatch_mode(), _OperatorMode):
        return kernel(*args, **keywords)  # another thread, or a tracer at work
    with _pop_mode_temporarily() as mode:
        plain = operator.py_kernels[DispatchKey.CompositeExplicitAutograd]
        args, keywords, _ = mode.with_seen_bodies(args, keywords)
        return plain(*args, **keywords)


class _OperatorMode(TorchDispatchMode):
    """Tells an observer of every operator of one thread."""

    supports_higher_order_operators = True

    def __init__(
        self,
        observer: Observer,
        lock: AbstractContextManager[object],
        around: Callable[[], AbstractContextManager[object]],
    ) -> None:
        TorchDispatchMode.__init__(self)
        self._observer = observer
        self._lock = lock
        self._around = around

    def __torch_dispatch__(
        self,
        func: OpOverload | HigherOrderOperator,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operator, or let it be taken apart into others that come here."""
        keywords = dict(kwargs or {})
        if not isinstance(func, OpOverload):
            return self._higher_order(func, args, keywords)
        if any(is_traceable_wrapper_subclass_type(kind) for kind in types):
            return NotImplemented  # the subclass's own dispatch is asked next, and its operators come here
        if func.namespace in FREE_NAMESPACES:
            return func(*args, **keywords)
        if not any(tensor.is_nested for tensor in tensors_in(args)):  # strided nested tensors have kernels of their own
            with self:  # under inference mode composite operators arrive whole; elsewhere they were taken apart already
                parts = func.decompose(*args, **keywords)
            if parts is not NotImplemented:
                return parts
        with self._around():
            output = func(*args, **keywords)
        with self._lock:
            self._observer.ran(func, args, keywords, output)
        return output

    def _higher_order(
        self, operator: HigherOrderOperator, args: Sequence[object], keywords: Mapping[str, object]
    ) -> object:
        """Run control flow with its bodies seen, as often as it runs them; anything else whole."""
        bodies = 0
        if not operator.name().startswith(_WHOLE_OPERATORS):
            args, keywords, bodies = self.with_seen_bodies(args, keywords)
        if bodies:
            return operator(*args, **keywords)
        with self._around():
            output = operator(*args, **keywords)
        with self._lock:
            self._observer.ran_whole(operator, args, keywords, output)
        return output

    def with_seen_bodies(
        self, args: Sequence[object], keywords: Mapping[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object], int]:
        """The arguments with their functions wrapped so that this mode is on inside; and how many there are."""
        bodies = 0

        def seen(item: object) -> object:
            nonlocal bodies
            if not callable(item) or isinstance(item, type):
                return item
            bodies += 1

            def body(*args: object, **keywords: object) -> object:
                with self:
                    return item(*args, **keywords)

            return body

        wrapped = tree_map(seen, (tuple(args), dict(keywords)))
        return *wrapped, bodies
