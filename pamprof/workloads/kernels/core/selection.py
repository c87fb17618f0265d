"""Which configuration a call uses: what was selected in this process for its shape and kind of device, else the rule's.

Axes: B batch, T time, H heads, d head_dim.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

import torch

from pamprof.workloads.kernels.core.configuration import (
    H200_MULTIPROCESSORS,
    Configuration,
    CoreShape,
    choose_configuration,
)

_selected: dict[tuple[CoreShape, str], Configuration] = {}


def select_configuration(shape: CoreShape, device: torch.device, configuration: Configuration) -> None:
    """Use ``configuration`` for calls of ``shape`` on devices of this kind from now on, in this process.

    Code that was compiled or captured before keeps what it was made with.
    """
    _selected[shape, _kind(device)] = configuration


def configuration_for(shape: CoreShape, device: torch.device) -> Configuration:
    """What a call of ``shape`` on ``device`` uses."""
    chosen = _selected.get((shape, _kind(device)))
    if chosen is not None:
        return chosen
    return choose_configuration(shape, multiprocessors(device), hopper=has_hopper_kernels(device))


@cache
def multiprocessors(device: torch.device) -> int:
    """Of a CUDA device; elsewhere those of an H200, so that work counted on meta tensors is that of the GPU."""
    if device.type != "cuda":
        return H200_MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@cache
def has_hopper_kernels(device: torch.device) -> bool:
    """Whether the device has the matrix units of ``hopper_output_kernel``, and the installed Triton its language."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != (9, 0):
        return False
    try:
        import_module("pamprof.workloads.kernels.core.output_hopper")
    except (ImportError, AttributeError):
        return False
    return True


def _kind(device: torch.device) -> str:
    """Meta tensors stand for the GPU's: what is counted on them is what runs there."""
    return "cuda" if device.type == "meta" else device.type
