"""Least bytes that one operator call moves to and from memory: every tensor that it reads or writes, once each."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pamprof.measure.flops.elementwise import base_name, is_view
from pamprof.measure.flops.operator_call import is_sparse, stored_elements, tensors_in

if TYPE_CHECKING:
    import torch

    from pamprof.measure.flops.operator_call import OperatorCall

# Allocate, or show what is there in another shape.
_IDLE = frozenset(
    {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "_unsafe_view"}
)

# Overwrite their first argument without reading it.
_OVERWRITING = frozenset({"copy", "fill", "zero", "_foreach_copy", "_foreach_zero", "normal", "uniform"})

# Read of their first argument, or write of it, only as much as they return or are given.
_GATHERING = frozenset({"embedding", "index", "_unsafe_index", "index_select", "gather", "take"})
_SCATTERING = frozenset({"index_put", "_index_put_impl", "index_copy", "index_add", "scatter", "scatter_add"})


def least_bytes(call: OperatorCall) -> int | None:
    """Bytes of ``call``; 0 for a view, None where its tensors have no size of their own."""
    base = base_name(call.operator)
    if base in _IDLE or is_view(call.operator):
        return 0
    returned = tensors_in(call.output)
    if any(tensor.is_nested for tensor in (*tensors_in(call.positional), *returned)):
        return None
    read: list[torch.Tensor] = []
    written = list(returned)
    for argument in call.operator._schema.arguments:
        tensors = tensors_in(call.argument(argument.name))
        changes = argument.alias_info is not None and argument.alias_info.is_write
        if changes and argument.name != "grads":  # which an optimizer writes only to undo a scale
            written += [tensor for tensor in tensors if not any(tensor is each for each in returned)]
        if not argument.is_out:
            read += tensors
    if base in _OVERWRITING:
        first = tensors_in(call.positional[:1])
        read = [tensor for tensor in read if not any(tensor is each for each in first)]
    moved = sum(map(_bytes, (*read, *written)))
    if base in _GATHERING:  # what is taken instead of all there is
        return moved - sum(map(_bytes, tensors_in(call.positional[:1]))) + sum(map(_bytes, returned))
    if base in _SCATTERING:
        whole = sum(map(_bytes, tensors_in(call.positional[:1])))
        sources = [tensor for tensor in tensors_in(call.positional[1:]) if tensor.dtype == returned[0].dtype]
        in_place = any(call.positional[0] is each for each in returned)
        return moved - (2 * whole if in_place else 0) + sum(map(_bytes, sources))
    return moved


def _bytes(tensor: torch.Tensor) -> int:
    """What it takes in memory; an expanded dimension is one element."""
    if is_sparse(tensor):
        return stored_elements(tensor) * tensor.element_size()
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0)
    return prod(sizes) * tensor.element_size()
