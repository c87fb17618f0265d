"""What a process's torch is set to as a whole, so that one layer's change of it costs no other arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SETTINGS: Mapping[str, tuple[Callable[[], object], Callable[..., object]]] = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (torch.get_default_device, lambda device: torch.set_default_device(_or_none(device))),
    "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the precision of float32 products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "deterministic algorithms": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "cuDNN's search for algorithms": (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    "cuDNN's TF32": (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda value: setattr(torch.backends.cudnn, "allow_tf32", value),
    ),
}


def torch_state() -> dict[str, object]:
    """Every setting of this process's torch that a layer could change for the arms after it, by name."""
    return {name: read() for name, (read, _) in _SETTINGS.items()}


def restore_torch(state: Mapping[str, object]) -> tuple[str, ...]:
    """Set torch as it was; what had changed, each as ``name from value to value``."""
    found = torch_state()
    changed = [name for name, value in state.items() if found[name] != value]
    for name in changed:
        _SETTINGS[name][1](state[name])
    return tuple(f"{name} from {state[name]} to {found[name]}" for name in changed)


def _or_none(device: torch.device) -> torch.device | None:
    """None for the CPU: a default device that was set, even to the CPU, slows every call that makes a tensor."""
    return None if device.type == "cpu" else device
