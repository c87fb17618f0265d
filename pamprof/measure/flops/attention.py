"""FLOPs of fused attention operators.

Counted are the two products of the forward pass and the four of the backward pass. The kernels compute the scores a
second time in the backward pass to save memory; that recomputation is the kernel's affair and is not counted, so that
forward and backward are 1 : 2 as for every other product. A causal mask counts the pairs it keeps, and the dense count
stands beside it. The softmax inside is elementwise work on the pairs kept.
"""

from __future__ import annotations

import torch

from pamprof.measure.flops.operator_call import OperatorCall, tensors_in
from pamprof.workloads.kernel_flops import OperatorWork

# Per kept pair: scale 1 and softmax 5 (maximum, subtract, exponential, sum, divide); backward softmax 4 and scale 1.
ATTENTION_FORWARD_ELEMENTWISE = 6
ATTENTION_BACKWARD_ELEMENTWISE = 5


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


def attention_work(call: OperatorCall) -> OperatorWork | None:
    """Work of one call; None where lengths lie on the device or a window cuts the mask: shapes do not tell then."""
    query, key, value = call.tensor("query"), call.tensor("key"), call.tensor("value")
    ragged = call.name in _TIME_FIRST_OPERATORS and any(
        tensors_in([call.argument(name)]) for name in _VARIABLE_LENGTH_ARGUMENTS
    )
    if ragged or any(call.argument(name) not in (None, -1) for name in _WINDOW_ARGUMENTS):
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


def _both_ways(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{direction}" for name in names for direction in ("", "_backward"))


ATTENTION_OPERATORS = (
    *_both_ways(
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "pamprof::flash_attention_4",
        "pamprof::flash_attention_3",
        "pamprof::flash_attention_2",
    ),
    *sorted(_TIME_FIRST_OPERATORS),
    "pamprof::flex_decoding_attention",
)
