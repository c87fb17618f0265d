"""Bytes of live tensor storage: who holds them now, and how high they climbed during a step.

Storages are counted, not tensors: a view shares its base's storage and costs nothing, and half a view of a large buffer
still keeps all of it. Resident-set size answers another question (it never shrinks, and a freed block is reused without
trace), so storages themselves are followed, from the operator that returned them until they are freed. Buffers that a
kernel allocates and frees inside one operator stay invisible.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode

from pamprof.measure.flops.operator_call import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# How deep objects inside objects are searched for tensors; a cache of layers of planes needs four.
_SEARCH_DEPTH = 6
# The one tensor on it, and the Python object that asks.
_SOLE_HOLDER_COUNT = 2


def held_storages(*holders: object, device_type: str | None = None) -> dict[int, torch.UntypedStorage]:
    """The storages that some objects keep alive, each once, by identity.

    Args:
        holders: Tensors or storages, modules (parameters, buffers and plain tensor attributes), optimizers (their
            state), containers of these, or objects whose attributes are such. Gradients are not looked for.
        device_type: Only storages on this kind of device, such as ``cuda``; None for all.
    """
    found = {id(storage): storage for storage in _search(holders, depth=_SEARCH_DEPTH, seen=set())}
    return {key: item for key, item in found.items() if device_type in (None, item.device.type)}


def held_bytes(*holders: object, device_type: str | None = None) -> int:
    """Bytes of ``held_storages``: shared and tied tensors once, views as the storage they keep."""
    return sum(storage.nbytes() for storage in held_storages(*holders, device_type=device_type).values())


def _search(item: object, *, depth: int, seen: set[int]) -> Iterator[torch.UntypedStorage]:
    if isinstance(item, torch.Tensor):
        yield item.untyped_storage()
    elif isinstance(item, torch.UntypedStorage):
        yield item
    elif depth >= 0 and id(item) not in seen:
        seen.add(id(item))
        for child in _children(item):
            yield from _search(child, depth=depth - 1, seen=seen)


def _children(item: object) -> Iterable[object]:
    """What an object keeps alive that may be or hold a tensor."""
    if isinstance(item, nn.Module):
        # All modules at once, so that a deep model does not run into the search depth. A module's own dictionary holds
        # its parameters and buffers as well as the tensors it keeps as plain attributes.
        return [value for module in item.modules() for name, value in vars(module).items() if name != "_modules"]
    if isinstance(item, torch.optim.Optimizer):
        return item.state.values()
    if isinstance(item, Mapping):
        return item.values()
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return item
    if type(item).__module__.partition(".")[0] in ("torch", "builtins"):
        return ()  # a dtype, a number, a compiler's context: nothing of the arm's own
    slots = [name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(item, "__dict__", {}).values(), *(getattr(item, name, None) for name in slots)]


class StorageSet:
    """Storages followed until they are freed, with the sum of their bytes at every moment."""

    def __init__(self) -> None:
        self.live_bytes = 0
        self._bytes: dict[int, int] = {}
        self._finalizers: dict[int, weakref.finalize[[int], torch.UntypedStorage]] = {}

    def add(self, storage: torch.UntypedStorage) -> None:
        """Follow a storage from now on; one already followed is measured again, since it may have been resized."""
        key, size = id(storage), storage.nbytes()
        if key not in self._finalizers:
            finalizer = weakref.finalize(storage, self._forget, key)
            finalizer.atexit = False
            self._finalizers[key] = finalizer
        self.live_bytes += size - self._bytes.get(key, 0)
        self._bytes[key] = size

    def _forget(self, key: int) -> None:
        self._finalizers.pop(key, None)
        self.live_bytes -= self._bytes.pop(key, 0)

    def close(self) -> None:
        """Stop following; ``live_bytes`` keeps its last value."""
        for finalizer in self._finalizers.values():
            finalizer.detach()
        self._finalizers.clear()


class StorageTracker(TorchDispatchMode):
    """Follows every storage on one kind of device that operators return or read while the mode is active.

    Attributes:
        peak_bytes: Highest live storage so far, storages held before included.
        found_bytes: Storage that operators read and nobody had announced or returned: constants kept elsewhere.

    Args:
        holders: What is alive before the step and belongs to it: modules, optimizer, state, inputs.
        at_new_peak: Called whenever the peak has risen.
        device_type: Which storages to follow, ``cpu`` or ``cuda``.
    """

    supports_higher_order_operators = True

    def __init__(
        self, *holders: object, at_new_peak: Callable[[], None] | None = None, device_type: str = "cpu"
    ) -> None:
        TorchDispatchMode.__init__(self)
        self._storages = StorageSet()
        self._at_new_peak = at_new_peak
        self._device_type = device_type
        self.peak_bytes = 0
        self.found_bytes = 0
        for storage in held_storages(*holders, device_type=device_type).values():
            self._storages.add(storage)
        self._note()

    @property
    def live_bytes(self) -> int:
        """Bytes of the followed storages that are alive now."""
        return self._storages.live_bytes

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operator and follow what it read and returned."""
        del types
        keywords = dict(kwargs or {})
        if isinstance(func, OpOverload):
            with self:  # under inference mode composite operators arrive whole
                parts = func.decompose(*args, **keywords)
            if parts is not NotImplemented:
                return parts
        output = func(*args, **keywords)
        # What was read is still alive, so the moment after the call is the operator's fullest.
        before = self.live_bytes
        self._add(args, keywords)
        self.found_bytes += self.live_bytes - before
        self._add(output)
        if not _sums_in_place(func, args):
            self._note()
        return output

    def follow(self, *values: object) -> None:
        """Follow the storages of all tensors in ``values`` that lie on the device."""
        self._add(*values)
        self._note()

    def _add(self, *values: object) -> None:
        for tensor in tensors_in(values):
            if tensor.device.type == self._device_type:
                self._storages.add(tensor.untyped_storage())

    def close(self) -> None:
        """Stop following; the figures stay."""
        self._storages.close()

    def _note(self) -> None:
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            if self._at_new_peak is not None:
                self._at_new_peak()


def _sums_in_place(func: Callable[..., object], args: Sequence[object]) -> bool:
    """Whether autograd's engine adds up two gradients of one tensor here, and would do so in place without a tracker.

    The engine adds into the first where nobody else holds its storage, but never under a dispatch mode. A backward
    written in Python adds as it says.
    """
    if func is not torch.ops.aten.add.Tensor or torch._C._current_graph_task_id() == -1:
        return False
    if isinstance(torch._C._current_autograd_node(), BackwardCFunction) or not isinstance(args[0], torch.Tensor):
        return False
    storage = args[0].untyped_storage()
    return bool(torch._C._storage_Use_Count(storage._cdata) <= _SOLE_HOLDER_COUNT)
