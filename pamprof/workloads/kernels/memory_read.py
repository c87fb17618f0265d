"""A pass over memory that only reads: every program loads one block and stores its largest word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

# Words of a program and its warps: 32 or 64 words a thread, loaded 16 bytes at once before the first is used.
CONFIGURATIONS = ((4096, 4), (16384, 8))


@triton.jit
def _largest_kernel(words, largest, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    program = tl.program_id(0)
    offset = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    block = tl.load(words + offset, eviction_policy="evict_first")  # read once; the cache has no use for it
    tl.store(largest + program, tl.max(block, 0))


def largest_words(words: Tensor, *, block_size: int, warp_count: int) -> Tensor:
    """The largest of every ``block_size`` words: ``words`` [N] int32, N a multiple of it, gives [N / block_size] int32.

    Writes 4 bytes for every ``4 * block_size`` that it reads.
    """
    largest = torch.empty(words.numel() // block_size, dtype=torch.int32, device=words.device)
    _largest_kernel[(largest.numel(),)](words, largest, BLOCK=block_size, num_warps=warp_count)
    return largest
