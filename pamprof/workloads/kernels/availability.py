"""Where the kernels of the ``fused`` implementation can run, and the reason where they cannot.

Ampere (compute capability 8.0) and later: the kernels multiply in bfloat16, which earlier devices have no units for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

OLDEST_CAPABILITY = (8, 0)


def unavailable_reason(device: torch.device) -> str | None:
    """Why the kernels cannot run on ``device``, as a sentence with a remedy; None where they can.

    They run on the meta device and under fake tensors too, where nothing is computed, and on a CPU in Triton's
    interpreter, which is far too slow to measure but not to test.
    """
    # The device first: where it does not serve, installing Triton would not help.
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < OLDEST_CAPABILITY:
            found, oldest = (".".join(map(str, version)) for version in (capability, OLDEST_CAPABILITY))
            return (
                f"the fused implementation needs a GPU of compute capability {oldest} or later, "
                f"{torch.cuda.get_device_name(device)} has {found}; measure the planar implementation"
            )
    else:
        faked = device.type == "meta" or torch._C._len_torch_dispatch_stack() > 0
        interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
        if not (faked or interpreted):
            needed = f"the fused implementation needs a CUDA device, this is {device.type}"
            return f"{needed}; measure the planar implementation"
    return missing_triton()


def missing_triton() -> str | None:
    """That Triton is not installed, as a sentence with a remedy; None where it is."""
    if find_spec("triton") is None:
        return "the fused implementation needs Triton, which is not installed; install pamprof[kernels]"
    return None
