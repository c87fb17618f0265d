"""``pamprof.peak_memory``: the peak memory of one call, and what it is made of."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import nn

    from pamprof.records import Memory


def peak_memory(call: Callable[..., object], *arguments: object, compiled: bool = False) -> Memory:
    """The peak tensor storage of ``call(*arguments)`` in bytes, taken apart.

    Runs the call three times: once so that optimizer state and workspaces exist, once with its tensors followed, once
    for the allocator's own peak. Modules and optimizers are found where ``call`` is one, is a method of one, or names
    them (globals, closures, ``functools.partial``) or is given them. Gradients of these modules are dropped.

    Args:
        call: A step: a module's forward pass, or a function that trains.
        arguments: What it is called with; tensors among them are its inputs.
        compiled: Whether the call runs code of ``torch.compile``, whose tensors cannot be followed one by one.

    Returns:
        ``peak_bytes``, measured, and its parts: ``parameter_bytes`` (buffers included), ``gradient_bytes``,
        ``optimizer_bytes``, ``saved_activation_bytes``, ``input_bytes``, ``short_lived_bytes``, ``workspace_bytes`` and
        ``unaccounted_bytes``; None where unknown.

    Raises:
        UnsupportedError: Tensors on a device other than a CPU or a CUDA GPU.
    """
    from torch import nn

    from pamprof.measure.flops.operator_call import tensors_in
    from pamprof.measure.memory.allocator_peak import cuda_storage_bytes
    from pamprof.measure.memory.breakdown import decompose
    from pamprof.measure.memory.storage_tracker import held_bytes

    modules, optimizers = owners(call, *arguments)
    module = nn.ModuleList(modules)
    inputs = list(tensors_in(arguments))
    device = device_of([*inputs, *module.parameters(), *module.buffers()])
    others_bytes = 0
    if device.type == "cuda":  # what else lies there is no part of the call
        held = held_bytes(module, optimizers, inputs, device_type="cuda")
        others_bytes = max(0, cuda_storage_bytes(device, "current") - held)
    step = functools.partial(call, *arguments)
    step()
    return decompose(
        step,
        device=device,
        allocated_before_bytes=others_bytes,
        module=module,
        optimizer=optimizers or None,
        state=None,
        inputs=inputs,
        compiled=compiled,
    )


def owners(*values: object) -> tuple[list[nn.Module], list[torch.optim.Optimizer]]:
    """Modules and optimizers that ``values`` are, belong to or name, each once."""
    import torch

    found: dict[int, object] = {}
    for value in values:
        for item in _named_by(value):
            found.setdefault(id(item), item)
    modules = [item for item in found.values() if isinstance(item, torch.nn.Module)]
    inner = {id(part) for module in modules for part in module.modules() if part is not module}
    optimizers = [item for item in found.values() if isinstance(item, torch.optim.Optimizer)]
    return [module for module in modules if id(module) not in inner], optimizers


def device_of(tensors: list[torch.Tensor]) -> torch.device:
    """Where a call runs: the first device of its tensors that is not the CPU."""
    import torch

    devices = [tensor.device for tensor in tensors]
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def _named_by(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _named_by(part)
    elif inspect.ismethod(value):
        yield value.__self__
    elif inspect.isfunction(value):
        names = inspect.getclosurevars(value)
        yield from (*names.nonlocals.values(), *names.globals.values())
