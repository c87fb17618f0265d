"""Elementwise FLOPs of one operator call, by the weights of ``elementwise_weights``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import log2, prod
from typing import TYPE_CHECKING

import torch

from pamprof.measure.flops.elementwise_weights import (
    FREE,
    INPUT_WEIGHTS,
    OPTIMIZER_WEIGHTS,
    POINTWISE_WEIGHTS,
    SOURCE_ARGUMENTS,
)
from pamprof.measure.flops.operator_call import OperatorCall, operator_name, stored_elements, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._ops import OpOverload


def elementwise_flops(call: OperatorCall) -> int | None:
    """Elementwise FLOP of one call by the convention; None when the operator has no entry in it."""
    base = base_name(call.operator)
    if base is None:
        return None
    if base in FREE or is_view(call.operator):
        return 0
    for formula in (_source_flops, _input_flops, _fourier_flops, _optimizer_flops, _pointwise_flops):
        flops = formula(base, call)
        if flops is not None:
            return flops
    return None


@cache
def base_name(operator: OpOverload) -> str | None:
    """The name an in-place operator shares with its functional twin; None outside ``aten``."""
    namespace, name = operator_name(operator).split("::", maxsplit=1)
    return (name.removesuffix("_") or name) if namespace == "aten" else None


def is_reduction(name: str) -> bool:
    """Whether the operator of that name passes over rows, or over all elements, and adds up or compares them."""
    base = name.removeprefix("aten::").removesuffix("_")
    listed = base in INPUT_WEIGHTS or base in ("_foreach_norm", "nll_loss_forward", "nll_loss_backward")
    return listed or base.startswith("_fft_")


@cache
def is_view(operator: OpOverload) -> bool:
    """Whether it changes how memory is looked at: a view, a view in place, or the copy of a view."""
    if operator.is_view or torch.Tag.inplace_view in operator.tags:
        return True
    name = operator.overloadpacket.__name__
    viewed = getattr(torch.ops.aten, name.removesuffix("_copy"), None) if name.endswith("_copy") else None
    return viewed is not None and any(getattr(viewed, overload).is_view for overload in viewed.overloads())


@cache
def _is_pointwise(base: str) -> bool:
    if base in POINTWISE_WEIGHTS:
        return True
    packet = getattr(torch.ops.aten, base, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )


def _is_arithmetic(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _weight(weights: tuple[int, int], *tensors: torch.Tensor) -> int:
    return weights[1] if any(tensor.is_complex() for tensor in tensors) else weights[0]


def _source_flops(base: str, call: OperatorCall) -> int | None:
    name = SOURCE_ARGUMENTS.get(base)
    if name is None:
        return None
    if base in ("index_put", "_index_put_impl") and not call.argument("accumulate"):
        return 0
    source = call.tensor(name)
    return source.numel() * (2 if source.is_complex() else 1)


def _input_flops(base: str, call: OperatorCall) -> int | None:
    is_list_form = base == "_foreach_norm"
    weights = INPUT_WEIGHTS["linalg_vector_norm"] if is_list_form else INPUT_WEIGHTS.get(base)
    if weights is None:
        return None
    if base in ("max", "min") and isinstance(call.argument("other"), torch.Tensor):
        return None  # the two-tensor form is pointwise
    inputs = tensors_in(call.positional[:1])
    flops = sum(stored_elements(tensor) * _weight(weights, tensor) for tensor in inputs if _is_arithmetic(tensor))
    if base == "mean":
        flops += sum(tensor.numel() * _weight((1, 2), tensor) for tensor in tensors_in(call.output))
    return flops


def _fourier_flops(base: str, call: OperatorCall) -> int | None:
    if base not in ("_fft_c2c", "_fft_r2c", "_fft_c2r"):
        return None
    output = call.output_tensor()
    dimensions = call.argument("dim")
    if output is None or not isinstance(dimensions, Sequence):
        return None
    signal = output if base == "_fft_c2r" else call.tensor("self")
    points = prod(signal.shape[int(dimension)] for dimension in dimensions)
    return round((5 if base == "_fft_c2c" else 2.5) * signal.numel() * log2(points)) if points > 1 else 0


def _optimizer_flops(base: str, call: OperatorCall) -> int | None:
    weight = OPTIMIZER_WEIGHTS.get(base)
    return None if weight is None else weight * sum(tensor.numel() for tensor in tensors_in(call.positional[:1]))


def _pointwise_flops(base: str, call: OperatorCall) -> int | None:
    is_list_form = base.startswith("_foreach_")
    name = base.removeprefix("_foreach_")
    if not _is_pointwise(name):
        return None
    if is_list_form or base.startswith("_amp_foreach"):
        rows = _rows(call.positional)
        return sum(_one_pointwise(name, row, row[0], 1) for row in rows if isinstance(row[0], torch.Tensor))
    output = call.output_tensor()
    if output is None:
        return 0
    return _one_pointwise(name, call.positional, output, call.argument("alpha"))


def _rows(positional: Sequence[object]) -> list[tuple[object, ...]]:
    """The arguments of a list operator, call by call; scalars are shared by all."""
    lists = [item for item in positional if isinstance(item, (list, tuple))]
    length = len(lists[0]) if lists else 0
    return [
        tuple(item[index] if isinstance(item, (list, tuple)) and len(item) == length else item for item in positional)
        for index in range(length)
    ]


def _one_pointwise(name: str, operands: Sequence[object], output: torch.Tensor, alpha: object) -> int:
    tensors = [operand for operand in operands if isinstance(operand, torch.Tensor)]
    if not _is_arithmetic(output):
        return 0
    weight = _POINTWISE_RULES.get(name, _function_weight)(name, operands, [*tensors, output])
    if alpha not in (None, 1, 1.0):
        weight += 2 if output.is_complex() else 1
    return weight * stored_elements(output)


def _function_weight(name: str, operands: Sequence[object], tensors: Sequence[torch.Tensor]) -> int:
    del operands
    default = (2, 4) if name.endswith("_backward") else (1, 2)
    return _weight(POINTWISE_WEIGHTS.get(name, default), *tensors)


def _is_complex_operand(operand: object) -> bool:
    return operand.is_complex() if isinstance(operand, torch.Tensor) else isinstance(operand, complex)


def _multiply_weight(name: str, operands: Sequence[object], tensors: Sequence[torch.Tensor]) -> int:
    del name, tensors
    return (1, 2, 6)[sum(_is_complex_operand(operand) for operand in operands[:2])]


def _divide_weight(name: str, operands: Sequence[object], tensors: Sequence[torch.Tensor]) -> int:
    del name, tensors
    numerator, denominator = (_is_complex_operand(operand) for operand in operands[:2])
    return 11 if denominator else 2 if numerator else 1


_POINTWISE_RULES: dict[str, Callable[[str, Sequence[object], Sequence[torch.Tensor]], int]] = {
    "mul": _multiply_weight,
    "div": _divide_weight,
}
