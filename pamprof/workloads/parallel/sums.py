"""The two ends of a product that ranks share: its input enters every rank's part, its output is the sum of the parts.

A block calls them around its maps; on one device, where ``group`` is None, they do nothing. Between them each rank has
its own heads and channels. Source: Shoeybi et al., arXiv:1909.08053, operators f and g of section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from pamprof.workloads.autograd import Function

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def entering(x: Tensor, group: ProcessGroup | None) -> Tensor:
    """``x``, the same on all ranks; its gradient is the sum of theirs."""
    if group is None or not torch.is_grad_enabled():
        return x
    entered: Tensor = _Entering.apply(x, group)
    return entered


def summed(x: Tensor, group: ProcessGroup | None) -> Tensor:
    """The sum of all ranks' ``x``, which may be overwritten outside training; its gradient is each rank's own."""
    if group is None:
        return x
    if torch.is_grad_enabled():
        total: Tensor = _Summed.apply(x, group)
        return total
    return all_summed(x, group)


def all_summed(x: Tensor, group: ProcessGroup) -> Tensor:
    """The sum of all ranks' ``x``, written over it where it is contiguous."""
    x = x.contiguous()
    distributed.all_reduce(x, group=group)
    return x


class _Entering(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return all_summed(gradient.clone(memory_format=torch.contiguous_format), ctx.group), None


class _Summed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        del ctx
        return all_summed(x.clone(memory_format=torch.contiguous_format), group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        del ctx
        return gradient, None
