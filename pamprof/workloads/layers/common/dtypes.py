"""torch's name of each precision that a layer's weights are cast to."""

from __future__ import annotations

import torch

from pamprof.records import Dtype

TORCH_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16}
