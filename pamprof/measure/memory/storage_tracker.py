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
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from pamprof.measure.dispatch import observed
from pamprof.measure.flops.operator_call import is_sparse, sparse_parts, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from torch._ops import HigherOrderOperator, OpOverload

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


def storages_of(tensor: torch.Tensor) -> tuple[torch.UntypedStorage, ...]:
    """Where a tensor lies: one storage, or those of the parts of a sparse or wrapped one; none where torch hides it."""
    if is_sparse(tensor):
        parts: Sequence[torch.Tensor] = sparse_parts(tensor.detach())
    elif callable(flatten := getattr(tensor, "__tensor_flatten__", None)):
        parts = [getattr(tensor, name) for name in flatten()[0]]
    else:
        try:
            return (tensor.untyped_storage(),)
        except NotImplementedError:
            return ()
    return tuple(storage for part in parts for storage in storages_of(part))


def _search(item: object, *, depth: int, seen: set[int]) -> Iterator[torch.UntypedStorage]:
    if isinstance(item, torch.Tensor):
        yield from storages_of(item)
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
        self._lock = RLock()  # a storage may be freed by any thread, and while another is added
        self._bytes: dict[int, int] = {}
        self._finalizers: dict[int, weakref.finalize[[int], torch.UntypedStorage]] = {}

    def add(self, storage: torch.UntypedStorage) -> bool:
        """Follow a storage from now on, and say whether it is new; one followed already is measured again."""
        key, size = id(storage), storage.nbytes()
        with self._lock:
            new = key not in self._finalizers
            if new:
                finalizer = weakref.finalize(storage, self._forget, key)
                finalizer.atexit = False
                self._finalizers[key] = finalizer
            self.live_bytes += size - self._bytes.get(key, 0)
            self._bytes[key] = size
        return new

    def _forget(self, key: int) -> None:
        with self._lock:
            self._finalizers.pop(key, None)
            self.live_bytes -= self._bytes.pop(key, 0)

    def close(self) -> None:
        """Stop following; ``live_bytes`` keeps its last value."""
        for finalizer in self._finalizers.values():
            finalizer.detach()
        self._finalizers.clear()


class StorageTracker:
    """Follows every storage on one kind of device that operators return or read, or that is resized, in its context.

    Attributes:
        peak_bytes: Highest live storage so far, storages held before included.
        found_bytes: Storage that operators read and nobody had announced or returned: constants kept elsewhere.

    Args:
        holders: What is alive before the step and belongs to it: modules, optimizer, state, inputs.
        at_new_peak: Called whenever the peak has risen.
        device_type: Which storages to follow, ``cpu`` or ``cuda``.
    """

    def __init__(
        self, *holders: object, at_new_peak: Callable[[], None] | None = None, device_type: str = "cpu"
    ) -> None:
        self._context = ExitStack()
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

    def __enter__(self) -> Self:
        """Begin to follow; what is compiled runs as the eager code it was made from, and stays compiled for later."""
        self._context.enter_context(torch.compiler.set_stance("force_eager"))
        self._context.enter_context(_resizing(self.follow_storage))
        self._context.enter_context(observed(self))
        return self

    def __exit__(self, *_: object) -> None:
        """No more is followed; what is goes on until ``close``."""
        self._context.close()

    def ran(self, operator: OpOverload, args: Sequence[object], keywords: Mapping[str, object], output: object) -> None:
        """Follow what an operator read and returned."""
        # What was read is still alive, so the moment after the call is the operator's fullest.
        self.found_bytes += self._add(args, keywords)
        self._add(output)
        if not _sums_in_place(operator, args):
            self._note()

    def ran_whole(
        self, operator: HigherOrderOperator, args: Sequence[object], keywords: Mapping[str, object], output: object
    ) -> None:
        """Follow what a higher-order operator read and returned."""
        del operator
        self.found_bytes += self._add(args, keywords)
        self._add(output)
        self._note()

    def follow_storage(self, storage: torch.UntypedStorage) -> None:
        """Follow a storage, or measure it again."""
        if storage.device.type == self._device_type:
            self._storages.add(storage)
            self._note()

    def follow(self, *values: object) -> None:
        """Follow the storages of all tensors in ``values`` that lie on the device."""
        self._add(*values)
        self._note()

    def _add(self, *values: object) -> int:
        """Follow the storages of all tensors; the bytes of those that are new."""
        new_bytes = 0
        for tensor in tensors_in(values):
            for storage in storages_of(tensor):
                if storage.device.type == self._device_type and self._storages.add(storage):
                    new_bytes += storage.nbytes()
        return new_bytes

    def close(self) -> None:
        """Stop following; the figures stay."""
        self._storages.close()

    def _note(self) -> None:
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            if self._at_new_peak is not None:
                self._at_new_peak()


@contextmanager
def _resizing(followed: Callable[[torch.UntypedStorage], None]) -> Iterator[None]:
    """Tell of every storage that is resized, which sharded parameters are on every use and no operator shows."""
    resize = torch.UntypedStorage.resize_

    def resize_and_tell(storage: torch.UntypedStorage, size: int) -> object:
        found = resize(storage, size)
        followed(storage)
        return found

    setattr(torch.UntypedStorage, "resize_", resize_and_tell)  # noqa: B010  # its type is not to be changed
    try:
        yield
    finally:
        setattr(torch.UntypedStorage, "resize_", resize)  # noqa: B010


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
