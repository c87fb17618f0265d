"""Who did the work: operator, module, and whether it ran in the forward or the backward pass.

Modules announce themselves through torch's global forward hooks. Autograd numbers its nodes in the order in which the
forward pass makes them, so the modules' beginnings and ends on that scale tell which module a node of the backward pass
comes from, with or without gradients of its inputs. What runs while a node is evaluated is backward work; so is a
checkpoint's recomputation, in which the modules announce themselves again. Nodes are numbered thread by thread: a
forward pass that runs in several threads, or is recomputed by a reentrant checkpoint in a GPU's backward thread, has
right sums, but its backward work may stand under another module.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from pamprof.measure.flops.model_flops import OUTSIDE, FlopSum, ModuleFlops, OperatorFlops, total

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from torch import nn
    from torch.autograd.graph import Node
    from torch.utils.hooks import RemovableHandle

    from pamprof.measure.flops.operator_call import OperatorCall
    from pamprof.workloads.kernel_flops import OperatorWork

_NOTHING = FlopSum()


@dataclass(slots=True)
class _Thread:
    """Modules that run in one thread, innermost last, and from which autograd number on which path held."""

    stack: list[tuple[nn.Module, str, bool]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def mark(self, path: str) -> None:
        """Nodes made from here on belong to ``path``."""
        if not self.paths or self.paths[-1] != path:
            self.numbers.append(torch._C._autograd._get_sequence_nr())
            self.paths.append(path)

    def maker(self, number: int) -> str:
        """The path that held when node ``number`` was made."""
        place = bisect_right(self.numbers, number)
        return self.paths[place - 1] if place else OUTSIDE


class Attribution:
    """Collects the work of operators by operator and by module while it is entered.

    Args:
        root: The module whose names are used; None where a plain function is counted.
    """

    def __init__(self, root: nn.Module | None) -> None:
        self._names: dict[int, list[str]] = defaultdict(list)
        self._owners: dict[int, str] = {}
        self._types: dict[str, str] = {}
        for name, module in () if root is None else _walk(root, "", ()):
            self._names[id(module)].append(name)
            self._types[name] = type(module).__name__
            for parameter in module.parameters(recurse=False):
                self._owners.setdefault(id(parameter), name)
        self._module_calls: Counter[str] = Counter()
        self._operator_calls: Counter[str] = Counter()
        self._work: dict[tuple[str, str, bool], FlopSum] = {}  # by operator, module's path, whether backward
        self._threads: dict[int, _Thread] = defaultdict(_Thread)
        self._home = self._threads[threading.get_ident()]
        self._lock = threading.Lock()
        self._hooks: tuple[RemovableHandle, ...] = ()

    def __enter__(self) -> Attribution:
        self._hooks = (
            register_module_forward_pre_hook(self._begin),
            register_module_forward_hook(self._end, always_call=True),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def observe(self, name: str, work: OperatorWork | None, call: OperatorCall | None) -> None:
        """Add the work of one operator, which has just run in this thread."""
        del call
        thread = self._threads[threading.get_ident()]
        node = torch._C._current_autograd_node()
        path = self._path(thread, node)
        thread.mark(path)
        if work is None or not (work.matrix_dense_flop_count or work.elementwise_flop_count):
            return
        amount = FlopSum(
            matrix_flop_count=work.matrix_flop_count,
            matrix_dense_flop_count=work.matrix_dense_flop_count,
            elementwise_flop_count=work.elementwise_flop_count,
        )
        key = (name, path, node is not None)
        with self._lock:
            self._operator_calls[name] += 1
            self._work[key] = self._work.get(key, _NOTHING).plus(amount)

    def operators(self) -> tuple[OperatorFlops, ...]:
        """A row an operator, the most expensive first."""
        rows = []
        for name, count in self._operator_calls.items():
            forward, backward = (
                total(sum_ for (each, _, late), sum_ in self._work.items() if each == name and late is wanted)
                for wanted in (False, True)
            )
            rows.append(
                OperatorFlops(operator=name, call_count=count, backward=backward, **forward.plus(backward).fields())
            )
        return tuple(sorted(rows, key=lambda row: (-row.matrix_flop_count - row.elementwise_flop_count, row.operator)))

    def modules(self) -> tuple[ModuleFlops, ...]:
        """A row a module that was called or holds one that was; what ran outside of any last, where there is such."""
        own: dict[tuple[str, bool], FlopSum] = {}
        for (_, path, late), amount in self._work.items():
            own[path, late] = own.get((path, late), _NOTHING).plus(amount)
        within: dict[tuple[str, bool], FlopSum] = {}
        for (path, late), amount in own.items():
            for around in self._around(path):
                within[around, late] = within.get((around, late), _NOTHING).plus(amount)
        seen = {around for path in (*self._module_calls, *(path for path, _ in own)) for around in self._around(path)}
        order = {path: number for number, path in enumerate((*self._types, OUTSIDE))}
        rows = []
        for path in sorted(seen, key=order.__getitem__):
            (forward, backward), (forward_within, backward_within) = (
                [sums.get((path, late), _NOTHING) for late in (False, True)] for sums in (own, within)
            )
            rows.append(
                ModuleFlops(
                    name=path,
                    type_name=self._types.get(path, ""),
                    other_names=self._other_names(path),
                    call_count=self._module_calls[path],
                    backward=backward,
                    within=forward_within.plus(backward_within),
                    within_backward=backward_within,
                    **forward.plus(backward).fields(),
                )
            )
        return tuple(rows)

    def _around(self, path: str) -> Iterator[str]:
        """The path and those of the modules around it."""
        yield path
        while path and path != OUTSIDE:
            path = path.rpartition(".")[0]
            if path in self._types:
                yield path

    def _other_names(self, path: str) -> tuple[str, ...]:
        names = next((names for names in self._names.values() if path in names), [path])
        return tuple(name for name in names if name != path)

    def _begin(self, module: nn.Module, inputs: object) -> None:
        del inputs
        thread = self._threads[threading.get_ident()]
        node = torch._C._current_autograd_node()
        path = self._name(module, self._path(thread, node), thread)
        self._module_calls[path] += 1
        thread.stack.append((module, path, node is not None))
        thread.mark(path)

    def _end(self, module: nn.Module, inputs: object, output: object) -> None:
        del inputs, output
        thread = self._threads[threading.get_ident()]
        while thread.stack and thread.stack.pop()[0] is not module:
            pass  # one that ended without a word
        thread.mark(self._path(thread, torch._C._current_autograd_node()))

    def _path(self, thread: _Thread, node: Node | None) -> str:
        """The module at work: the innermost that runs, else the one that the node comes from."""
        if thread.stack and (node is None or thread.stack[-1][2]):
            return thread.stack[-1][1]
        if node is None:  # a thread of a module works for it
            return self._home.stack[-1][1] if self._home.stack else OUTSIDE
        variable = getattr(node, "variable", None)  # a leaf's gradient is accumulated
        if isinstance(variable, torch.Tensor):
            return self._owners.get(id(variable), OUTSIDE)
        return self._home.maker(node._sequence_nr())

    def _name(self, module: nn.Module, base: str, thread: _Thread) -> str:
        """The module's own name, nearest to ``base`` where it has several; else one under ``base``."""
        names = self._names.get(id(module), ())
        if names:
            return max(names, key=lambda name: _common(name, base))
        children = thread.stack[-1][0].named_children() if thread.stack else ()
        local = next((name for name, child in children if child is module), type(module).__name__)
        path = f"{base}.{local}" if base not in ("", OUTSIDE) else local
        self._types.setdefault(path, type(module).__name__)
        return path


def _walk(module: nn.Module, name: str, around: tuple[nn.Module, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The module and all inside it under every name each has; a module inside itself is left out."""
    yield name, module
    for local, child in module._modules.items():
        if child is not None and not any(child is each for each in (*around, module)):
            yield from _walk(child, f"{name}.{local}" if name else local, (*around, module))


def _common(name: str, base: str) -> int:
    """How many leading parts two names share."""
    pairs = zip(name.split("."), base.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
