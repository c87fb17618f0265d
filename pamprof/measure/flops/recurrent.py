"""FLOPs of recurrent layers and cells that run as one operator: LSTM on a CPU, and what cuDNN and MIOpen have.

A layer multiplies each token of each sequence by its input weights, its recurrent weights and, where it has one, its
projection: 2·B·T·4h(i + h) FLOP for an LSTM of h units over i inputs. The backward pass takes each product twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.measure.flops.operator_call import tensors_in
from pamprof.workloads.kernel_flops import OperatorWork

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.flops.operator_call import OperatorCall

# Of torch's modes (ReLU, tanh, LSTM, GRU): gates of a cell, and operations that make one unit of the new state from the
# gates' sums: four activations, three operations on the cell's state and two on the output; GRU three, one and three.
_GATES = (1, 1, 4, 3)
_UNIT_OPERATIONS = (1, 1, 4 + 3 + 2, 3 + 1 + 3)
_LSTM, _GRU = 2, 3


def _layer(call: OperatorCall) -> OperatorWork | None:
    mode, hidden = call.argument("mode"), call.argument("hidden_size")
    if not isinstance(mode, int) or not isinstance(hidden, int):
        return None
    tokens = call.tensor("input")
    rows = tokens.numel() // tokens.shape[-1]  # packed sequences have no padding
    names = [argument.name for argument in call.operator._schema.arguments if argument.name.startswith("weight")]
    weights = tensors_in([call.argument(name) for name in names if name != "weight_buf"])
    matrices, biases = ([weight for weight in weights if weight.dim() == dim] for dim in (2, 1))
    flops = 2 * rows * sum(weight.numel() for weight in matrices)
    gates = sum(weight.shape[0] for weight in matrices if weight.shape[0] == _GATES[mode] * hidden) // 2
    operations = sum(bias.numel() for bias in biases) + gates + gates // _GATES[mode] * _UNIT_OPERATIONS[mode]
    products = 1
    if call.name.endswith("backward"):
        mask = call.argument("output_mask")
        products = 2 if not isinstance(mask, (list, tuple)) or mask[3] else 1  # whether the weights have gradients
        operations *= 2  # the derivative of each
    return OperatorWork(
        matrix_flop_count=products * flops,
        matrix_dense_flop_count=products * flops,
        elementwise_flop_count=rows * operations,
    )


def _cell(call: OperatorCall) -> OperatorWork:
    """The gates' products are operators of their own; this adds them up and makes the state."""
    mode = _LSTM if "lstm" in call.name else _GRU
    backward = "backward" in call.name
    if backward:
        state = call.tensor("cx") if mode == _LSTM else call.tensor("grad_hy")
        has_bias = bool(call.argument("has_bias"))
    else:
        state = call.tensor("cx" if mode == _LSTM else "hx")
        has_bias = isinstance(call.argument("input_bias"), torch.Tensor)
    operations = _GATES[mode] * (3 if has_bias else 1) + _UNIT_OPERATIONS[mode]
    return OperatorWork(elementwise_flop_count=(2 if backward else 1) * operations * state.numel())


_LAYERS = ("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn")
_CELLS = ("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")

RECURRENT_FORMULAS: dict[str, Callable[[OperatorCall], OperatorWork | None]] = {
    **{f"aten::{name}{direction}": _layer for name in _LAYERS for direction in ("", "_backward")},
    **{f"aten::{name}{direction}": _cell for name in _CELLS for direction in ("", "_backward", "_backward_impl")},
}
