"""Golden arrays, where there are any: the folder is named by the environment variable PAMPROF_GOLDEN."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
import pytest
import torch


def golden(name: str) -> dict[str, torch.Tensor]:
    """Arrays of one golden file as tensors; skips the test where the folder is not set."""
    folder = os.environ.get("PAMPROF_GOLDEN")
    if not folder:
        pytest.skip("PAMPROF_GOLDEN is not set: no golden arrays to compare with")
    with numpy.load(Path(folder) / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def planes(z: torch.Tensor) -> torch.Tensor:
    """Complex [..., D] as planes [..., 2, D]."""
    return torch.stack((z.real, z.imag), -2)
