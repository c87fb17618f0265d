"""Matrix FLOPs of the operators that multiply and add: products, convolutions, recurrent layers, fused attention.

A real multiply-add is 2 FLOP and a complex one 8 (four real multiply-adds). The bias of ``addmm`` and its kin is
elementwise work, one addition (complex: two) per output element.

A sparse operand counts the multiply-adds of the entries that it stores. A grouped product counts the rows (or columns)
up to its last offset.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch

from pamprof.measure.flops.attention import ATTENTION_OPERATORS, attention_work
from pamprof.measure.flops.operator_call import OperatorCall, is_sparse, stored_elements, tensors_in
from pamprof.measure.flops.recurrent import RECURRENT_FORMULAS
from pamprof.workloads.kernel_flops import OperatorWork

Formula = Callable[[OperatorCall], "OperatorWork | None"]


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


def _multiply_adds(left: torch.Tensor, right: torch.Tensor) -> int:
    """Multiply-adds of [..., m, k] times [..., k, n]; of a sparse operand only the entries that it stores take part."""
    if is_sparse(left) and is_sparse(right):
        # Entry (i, k) meets every stored entry of row k.
        return int((_stored_along(left, -1) * _stored_along(right, -2)).sum())
    if is_sparse(right):
        return left.shape[-2] * stored_elements(right)
    return stored_elements(left) * right.shape[-1]


def _stored_along(matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """How many entries a sparse matrix [m, k] stores at each place of ``axis``."""
    ones = matrix.detach().to_sparse_coo()
    return torch.bincount(ones._indices()[axis], minlength=ones.shape[axis])


def _mm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("self"), call.tensor("other" if call.argument("mat2") is None else "mat2")
    return _product(left, right, _multiply_adds(left, right), _bias(call))


def _bias(call: OperatorCall) -> int:
    """The addition of ``bias``, where the operator has one and got it."""
    output = call.output_tensor()
    return output.numel() if output is not None and isinstance(call.argument("bias"), torch.Tensor) else 0


def _int8pack_mm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("self"), call.tensor("mat2")  # [m, k] and [n, k]; each column has a scale
    return _product(left, right, left.numel() * right.shape[0], left.shape[0] * right.shape[0])


def _foreach_mm(call: OperatorCall) -> OperatorWork:
    lefts, rights = tensors_in(call.argument("self")), tensors_in(call.argument("mat2"))
    flops = sum(
        multiply_add_flops(left, right) * _multiply_adds(left, right) for left, right in zip(lefts, rights, strict=True)
    )
    return OperatorWork(matrix_flop_count=flops, matrix_dense_flop_count=flops)


def _grouped_mm(call: OperatorCall) -> OperatorWork | None:
    left, right, offsets = call.tensor("self"), call.tensor("mat2"), call.argument("offs")
    if left.dim() == right.dim() == 3:
        return _product(left, right, left.numel() * right.shape[2], _bias(call))
    if not isinstance(offsets, torch.Tensor):
        return None
    # The groups divide rows of the left, columns of the right, or with two matrices what is summed over.
    if left.dim() == right.dim():
        divided, others = left.shape[1], left.shape[0] * right.shape[1]
    elif left.dim() == 2:
        divided, others = left.shape[0], right.shape[1] * right.shape[2]
    else:
        divided, others = right.shape[1], left.shape[1] * left.shape[2]
    if type(offsets) is torch.Tensor and offsets.device.type != "meta":
        divided = min(divided, int(offsets[-1]))
    return _product(left, right, divided * others, _bias(call))


def _addmm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("mat1"), call.tensor("mat2")
    elements = left.shape[0] * right.shape[1]
    # The fused activation of _addmm_activation is one operation per element.
    activation = elements if call.name == "aten::_addmm_activation" else 0
    return _product(left, right, _multiply_adds(left, right), _addend(call, elements) + activation)


def _sampled_addmm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("mat1"), call.tensor("mat2")
    entries = stored_elements(call.tensor("self"))
    return _product(left, right, entries * left.shape[-1], _addend(call, entries))


def _baddbmm(call: OperatorCall) -> OperatorWork:
    left, right = call.tensor("batch1"), call.tensor("batch2")
    elements = left.shape[0] * left.shape[1] * right.shape[2]
    return _product(left, right, _multiply_adds(left, right), _addend(call, elements))


def _addbmm(call: OperatorCall) -> OperatorWork:
    # The sum over the batch is part of the product's own accumulation: [n, B k] times [B k, p].
    left, right = call.tensor("batch1"), call.tensor("batch2")
    return _product(left, right, left.numel() * right.shape[2], _addend(call, left.shape[1] * right.shape[2]))


def _mv(call: OperatorCall) -> OperatorWork:
    matrix, vector = call.tensor("self"), call.tensor("vec")
    return _product(matrix, vector, stored_elements(matrix))


def _addmv(call: OperatorCall) -> OperatorWork:
    matrix, vector = call.tensor("mat"), call.tensor("vec")
    return _product(matrix, vector, stored_elements(matrix), _addend(call, matrix.shape[0]))


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


MATRIX_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::_int_mm", "aten::_scaled_mm", "aten::_scaled_mm_v2"), _mm),
    "aten::_sparse_sparse_matmul": _mm,
    "aten::_weight_int8pack_mm": _int8pack_mm,
    "aten::_foreach_mm": _foreach_mm,
    **dict.fromkeys(
        ("aten::_grouped_mm", "aten::_scaled_grouped_mm", "aten::_scaled_grouped_mm_v2"),
        _grouped_mm,
    ),
    **dict.fromkeys(("aten::addmm", "aten::_addmm_activation", "aten::_sparse_addmm"), _addmm),
    "aten::sparse_sampled_addmm": _sampled_addmm,
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
    **RECURRENT_FORMULAS,
    **dict.fromkeys(ATTENTION_OPERATORS, attention_work),
}
"""In-place and ``out=`` forms (a trailing underscore) share the formula of their base."""
