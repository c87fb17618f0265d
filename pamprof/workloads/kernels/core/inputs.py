"""What the core's kernels read, in both directions, and whether anything is held between chunks.

Axes: B batch, T time, H heads, K states, d head_dim, R = B · H rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pamprof.workloads.kernels.core.configuration import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreInputs:
    """What both directions read.

    Attributes:
        queries: [B, T, 2, H, d], last axis contiguous, in bfloat16, float16 or float32.
        keys: The same, with the same strides.
        values: The same, with the same strides.
        log_decay: float32 [B, H, T], contiguous; of several states [B, H, K, T].
        initial_state: float32 [B, H, d, 2 d], contiguous, or None for zeros; [B, H, K, d, 2 d].
        scale: Factor of the outputs.
        coefficients: What the reads of several states are multiplied by, real and imaginary parts, float32
            [2, B, H, K, T], contiguous; None for one state.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    log_decay: Tensor
    initial_state: Tensor | None
    scale: float
    coefficients: Tensor | None = None

    @property
    def states(self) -> int:
        """K."""
        return 1 if self.coefficients is None else self.coefficients.shape[3]

    @property
    def state_rows(self) -> int:
        """R K."""
        return self.log_decay.shape[:-1].numel()

    @property
    def turns(self) -> tuple[Tensor | None, Tensor | None]:
        """Real and imaginary parts of the coefficients, None for one state."""
        return (None, None) if self.coefficients is None else (self.coefficients[0], self.coefficients[1])

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, H and d."""
        batch_size, length, _, heads, head_dim = self.queries.shape
        return batch_size, length, heads, head_dim

    def state(self, *between: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Room for states [R K, *between, d, 2 d]."""
        head_dim = self.sizes[3]
        return self.queries.new_empty((self.state_rows, *between, head_dim, 2 * head_dim), dtype=dtype)


def head_step(*planes: Tensor) -> int:
    """The largest power of two up to 16 that divides the strides of heads of planes [B, T, 2, H, d]."""
    return math.gcd(16, *(tensor.stride(3) for tensor in planes))


def keeps_states(inputs: CoreInputs, configuration: Configuration) -> bool:
    """Whether any chunk begins with more than zeros."""
    return inputs.initial_state is not None or inputs.sizes[1] > configuration.chunk
