"""Matrix FLOPs of the operators that multiply and add: products, convolutions, fused attention.

A real multiply-add is 2 FLOP and a complex one 8 (four real multiply-adds). The bias of ``addmm`` and its kin is
elementwise work, one addition (complex: two) per output element.

Fused attention counts the two products of the forward pass and the four of the backward pass. Its kernels compute the
scores a second time in the backward pass to save memory; that recomputation is the kernel's affair and is not counted,
so that forward and backward are 1 : 2 as for every other product. A causal mask counts the pairs it keeps, and the
dense count stands beside it. The softmax inside is elementwise work on the pairs kept.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from pamprof.measure.flops.operator_call import OperatorCall, tensors_in
from pamprof.workloads.kernel_flops import OperatorWork

Formula = Callable[[OperatorCall], "OperatorWork | None"]

# Per kept pair: scale 1 and softmax 5 (maximum, subtract, exponential, sum, divide); backward softmax 4 and scale 1.
ATTENTION_FORWARD_ELEMENTWISE = 6
ATTENTION_BACKWARD_ELEMENTWISE = 5


def multiply_add_flops(*operands: torch.Tensor) -> int:
    """FLOP of one multiply-add on these operands: 8 if all are complex, 4 if one is real, 2 if none is complex."""
    complex_operands = sum(operand.is_complex() for operand in operands)
    return 2 if complex_operands == 0 else 8 if complex_operands == len(operands) else 4


def _product(left: torch.Tensor, right: torch.Tensor, multiply_adds: int, elementwise: int = 0) -> OperatorWork:
    flops = multiply_adds * multiply_add_flops(left, right)
    return OperatorWork(matrix_flop_count=flops, matrix_dense_flop_count=flops, elementwise_flop_count=elementwise)


def _addend(call: OperatorCall, output_elements: int) -> int:
    """Elementwise work of ``beta * addend + alpha * product``."""
    weight = 2 if call.tensor("self").is_complex() else 1
    beta, alpha = call.argument("beta"), call.argument("alpha")
    operations = (0 if beta == 0 else 1 if beta == 1 else 2) + (0 if alpha == 1 else 1)
    return weight * operations * output_elements


def _mm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("self"), call.tensor("mat2")
    return _product(left, right, left.numel() * right.shape[-1])


def _addmm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("mat1"), call.tensor("mat2")
    elements = left.shape[0] * right.shape[1]
    # The fused activation of _addmm_activation is one operation per element.
    activation = elements if call.name == "aten::_addmm_activation" else 0
    return _product(left, right, left.numel() * right.shape[1], _addend(call, elements) + activation)


def _baddbmm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("batch1"), call.tensor("batch2")
    multiply_adds = left.numel() * right.shape[2]
    return _product(left, right, multiply_adds, _addend(call, left.shape[0] * left.shape[1] * right.shape[2]))


def _addbmm(call: OperatorCall) -> OperatorWork:
    # The sum over the batch is part of the product's own accumulation: [n, B k] times [B k, p].
    left, right = call.tensor("batch1"), call.tensor("batch2")
    return _product(left, right, left.numel() * right.shape[2], _addend(call, left.shape[1] * right.shape[2]))


def _mv(call: OperatorCall) -> OperatorWork:
    matrix, vector = call.tensor("self"), call.tensor("vec")
    return _product(matrix, vector, matrix.numel())


def _addmv(call: OperatorCall) -> OperatorWork:
    matrix, vector = call.tensor("mat"), call.tensor("vec")
    return _product(matrix, vector, matrix.numel(), _addend(call, matrix.shape[0]))


def _dot(call: OperatorCall) -> OperatorWork:
    left = call.tensor("self")
    right = call.tensor("other" if call.name == "aten::vdot" else "tensor")
    return _product(left, right, left.numel())


def _addr(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("vec1"), call.tensor("vec2")
    elements = left.numel() * right.numel()
    # A rank-1 update is one multiply-add per element: the addition belongs to it.
    addition = elements * (2 if call.tensor("self").is_complex() else 1)
    return _product(left, right, elements, max(0, _addend(call, elements) - addition))


def _convolution_multiply_adds(
    output: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor, transposed: bool
) -> int:
    """Every output element (transposed: every input element) meets one filter of its group; padding counts as data."""
    return (inputs if transposed else output).numel() * prod(weight.shape[1:])


def _convolution(call: OperatorCall) -> OperatorWork | None:
    output = call.output_tensor()
    if output is None:
        return None
    inputs, weight = call.tensor("input" if call.argument("input") is not None else "self"), call.tensor("weight")
    transposed = bool(call.argument("transposed"))
    bias = call.argument("bias")
    addition = output.numel() * (2 if output.is_complex() else 1) if isinstance(bias, torch.Tensor) else 0
    return _product(inputs, weight, _convolution_multiply_adds(output, weight, inputs, transposed), addition)


def _convolution_backward(call: OperatorCall) -> OperatorWork:
    gradient, inputs, weight = call.tensor("grad_output"), call.tensor("input"), call.tensor("weight")
    mask = call.argument("output_mask")
    wanted = [bool(item) for item in mask] if isinstance(mask, (list, tuple)) else [True, True, True]
    once = _convolution_multiply_adds(gradient, weight, inputs, bool(call.argument("transposed")))
    bias = gradient.numel() * (2 if gradient.is_complex() else 1) if wanted[2] else 0
    return _product(gradient, weight, once * sum(wanted[:2]), bias)


def attended_pairs(queries: int, keys: int, mask: str) -> int:
    """Pairs of query and key that a mask keeps.

    Args:
        queries: Number of queries.
        keys: Number of keys.
        mask: ``dense``; ``top-left``, where query i sees keys 0 to i; or ``bottom-right``, where the last query sees
            all keys, as in a continued prompt whose first ``keys - queries`` tokens are a prefix.
    """
    if mask == "dense":
        return queries * keys
    square = min(queries, keys)
    triangle = square * (square + 1) // 2
    if mask == "top-left":
        return triangle + max(0, queries - keys) * keys
    return triangle + max(0, keys - queries) * queries


# Which corner the kernel's causal mask starts from when queries and keys differ in number: the flash kernels align the
# last query with the last key, the others query 0 with key 0. (torch.nn.functional offers flash square masks only.)
_BOTTOM_RIGHT_OPERATORS = frozenset(
    f"aten::{name}{direction}"
    for name, directions in (
        ("_scaled_dot_product_flash_attention", ("", "_backward")),
        ("_flash_attention", ("_forward", "_backward")),
    )
    for direction in directions
)
# These take [B, T, H, d]; the others [B, H, T, d].
_TIME_FIRST_OPERATORS = frozenset(
    f"aten::{name}_attention_{direction}" for name in ("_flash", "_efficient") for direction in ("forward", "backward")
)
_VARIABLE_LENGTH_ARGUMENTS = ("cum_seq_q", "cu_seqlens_q")
_WINDOW_ARGUMENTS = ("window_size_left", "window_size_right", "window_size")
_EFFICIENT_MASKS = {0: "dense", 1: "top-left", 2: "bottom-right"}


def _attention(call: OperatorCall) -> OperatorWork | None:
    query, key, value = call.tensor("query"), call.tensor("key"), call.tensor("value")
    ragged = call.name in _TIME_FIRST_OPERATORS and any(
        tensors_in([call.argument(name)]) for name in _VARIABLE_LENGTH_ARGUMENTS
    )
    if ragged or any(call.argument(name) not in (None, -1) for name in _WINDOW_ARGUMENTS):
        # Lengths live on the device, or a window cuts the mask: no exact count from shapes alone.
        return None
    time_axis, head_axis = (1, 2) if call.name in _TIME_FIRST_OPERATORS else (2, 1)
    mask_type = call.argument("custom_mask_type")
    if isinstance(mask_type, int):
        mask = _EFFICIENT_MASKS[mask_type]
    elif call.argument("is_causal"):
        mask = "bottom-right" if call.name in _BOTTOM_RIGHT_OPERATORS else "top-left"
    else:
        mask = "dense"
    queries, keys = query.shape[time_axis], key.shape[time_axis]
    heads = query.shape[0] * query.shape[head_axis]  # grouped key heads are shared, the products are not fewer
    backward = call.name.endswith("backward")
    flops_per_pair = 2 * (query.shape[3] + value.shape[3]) * (2 if backward else 1) * heads
    pairs, dense_pairs = attended_pairs(queries, keys, mask), attended_pairs(queries, keys, "dense")
    biased = any(isinstance(call.argument(name), torch.Tensor) for name in ("attn_mask", "attn_bias", "bias"))
    per_pair = ATTENTION_BACKWARD_ELEMENTWISE if backward else ATTENTION_FORWARD_ELEMENTWISE + biased
    return OperatorWork(
        matrix_flop_count=flops_per_pair * pairs,
        matrix_dense_flop_count=flops_per_pair * dense_pairs,
        elementwise_flop_count=per_pair * heads * pairs,
    )


MATRIX_FORMULAS: dict[str, Formula] = {
    "aten::mm": _mm,
    "aten::bmm": _mm,
    "aten::addmm": _addmm,
    "aten::_addmm_activation": _addmm,
    "aten::baddbmm": _baddbmm,
    "aten::addbmm": _addbmm,
    "aten::mv": _mv,
    "aten::addmv": _addmv,
    "aten::dot": _dot,
    "aten::vdot": _dot,
    "aten::addr": _addr,
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
    "aten::cudnn_convolution": _convolution,
    "aten::convolution_overrideable": _convolution,
    "aten::convolution_backward": _convolution_backward,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _attention,
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_backward": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_efficient_attention_backward": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention_backward": _attention,
    "aten::_flash_attention_forward": _attention,
    "aten::_flash_attention_backward": _attention,
    "aten::_efficient_attention_forward": _attention,
    "aten::_efficient_attention_backward": _attention,
    "pamprof::flash_attention_4": _attention,
    "pamprof::flash_attention_4_backward": _attention,
    "pamprof::flash_attention_3": _attention,
    "pamprof::flash_attention_3_backward": _attention,
    "pamprof::flash_attention_2": _attention,
    "pamprof::flash_attention_2_backward": _attention,
    "pamprof::flex_decoding_attention": _attention,
}
"""In-place and ``out=`` forms (a trailing underscore) share the formula of their base."""
