"""The error of a measured block against a naive one in float64, on short random sequences.

Nothing is shared with the measured code but the parameter values; each layer writes its own naive block.

Axes: B batch, T time, D model_dim, H heads, d head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.records import Dtype, Phase
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.relative_error import relative_error

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.recurrent.model import RecurrentLayer, RecurrentState

ORACLE_CHUNK_SIZE = 64

_SEQUENCE_LENGTH = ORACLE_CHUNK_SIZE + 37  # two chunks, the second one not full
_BATCH_SIZE = 2
ORACLE_DECODE_BATCH_SIZES = (_BATCH_SIZE,)
_MOST_SEQUENCES = 13  # no divisor of a tile, so that rows a tile apart are of different sequences

NaiveBlock = Callable[[Mapping[str, Tensor], Tensor, int], tuple[Tensor, Tensor]]


def block_error(
    layer: RecurrentLayer,
    spec: LayerSpec,
    naive: NaiveBlock,
    *,
    phase: Phase,
    device: torch.device,
    dtype: Dtype,
    seed: int,
    shape: tuple[int, ...],
    decode_batch_sizes: Sequence[int] = ORACLE_DECODE_BATCH_SIZES,
) -> float:
    """Largest relative rms error of what one phase of ``layer`` returns and stores; overwrites its parameters.

    Args:
        layer: The block, built for ``spec`` on ``device``.
        spec: Its sizes.
        naive: The oracle: weights, float64 inputs and heads to float64 outputs and final state.
        phase: Train compares output and input gradient, prefill output and state (of a second piece too), decode one
            step after a prefill.
        device: Where the block runs; the oracle runs on the CPU.
        dtype: Precision policy of the block.
        seed: Of parameters and inputs.
        shape: Of one position's input: (2, D) planes, or (D,).
        decode_batch_sizes: Sequences of the step in decode, one after the other: some kernels are chosen by it. From
            13 on the same sequences come again.

    Returns:
        Root mean square of the difference over root mean square of the oracle.
    """
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(shape, generator=generator, dtype=torch.float64)
    common = common / common.norm(dim=0) if len(shape) == 2 else common.sign()
    excite(layer, generator)
    open_gates(layer, common, generator)
    weights = {name.removeprefix("blocks.0."): p.detach().cpu().double() for name, p in layer.named_parameters()}
    count = min(max(decode_batch_sizes), _MOST_SEQUENCES) if phase is Phase.DECODE else _BATCH_SIZE
    noise = torch.randn((count, _SEQUENCE_LENGTH, *shape), generator=generator, dtype=torch.float64)
    inputs = common + 0.5 * noise
    if phase is Phase.TRAIN:
        projection = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
        expected_inputs = inputs.clone().requires_grad_(True)
        expected, _ = naive(weights, expected_inputs, spec.heads)
        (expected_gradient,) = torch.autograd.grad((expected * projection).mean(), expected_inputs)
        layer.train()
        given = inputs.to(device, torch.float32).requires_grad_(True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is Dtype.BFLOAT16):
            found = layer(given)
            loss = layer.loss(given, projection.to(device, torch.float32))
        (gradient,) = torch.autograd.grad(loss, given)
        return max(relative_error(found, expected), relative_error(gradient, expected_gradient))
    with torch.no_grad():
        expected, expected_state = naive(weights, inputs, spec.heads)
        layer.eval()
        layer.prepare_inference(dtype)
        given = inputs.to(device, TORCH_DTYPES[dtype])
        state = layer.new_state(count, _SEQUENCE_LENGTH)
        if phase is Phase.DECODE:
            layer.prefill(given[:, :-1], state)
            errors = []
            for batch_size in decode_batch_sizes:
                sequence = torch.arange(batch_size) % count
                repeated = layer.new_state(batch_size, _SEQUENCE_LENGTH)
                for whole, kept in zip(repeated.tensors, state.tensors, strict=True):
                    whole.copy_(kept[sequence.to(device)])
                found = layer.decode(given[sequence.to(device), -1:], repeated, _SEQUENCE_LENGTH - 1)
                errors.append(relative_error(found, expected[sequence, -1:]))
                errors.append(_state_error(layer, repeated, expected_state[sequence]))
            return max(errors)
        found = layer.prefill(given, state)
        return max(relative_error(found, expected), _state_error(layer, state, expected_state))


@torch.no_grad()
def excite(layer: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw parameters at which every part of a block matters.

    At initial values a block is almost the identity, and a broken recurrence would hide behind the residual. So maps
    get unit gain, both residual scales one half, and the heads decays from fast to slow.
    """
    names = dict(layer.named_parameters())
    for name, parameter in sorted(names.items()):
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 2:
            planes = 2 if name.endswith(("weight_real", "weight_imag")) else 1
            values = values / sqrt(planes * parameter.shape[1])
        elif name.endswith(("cgu_scale", "pam_scale")):
            values = torch.full((), 0.5)
        elif name.endswith("dt_bias"):
            values = torch.linspace(-5.0, -1.0, parameter.shape[0])
        elif name.endswith("state_dt_offset"):
            values = torch.linspace(-2.0, 2.0, parameter.shape[0])
        elif name.endswith("act.bias") and name.replace("bias", "beta") not in names:
            values = -0.3 * values.abs()  # a positive threshold would make the activation's direction singular at 0
        else:
            values = 0.2 * values + (1.0 if name.endswith(("scale", "beta")) else 0.0)
        parameter.copy_(values)


@torch.no_grad()
def open_gates(layer: torch.nn.Module, common: Tensor, generator: torch.Generator) -> None:
    """Align a complex gate's map with what all inputs have in ``common`` [2, D], so that no gate is near zero.

    A gate's direction g / |g| turns by any angle for a rounding of a g near zero. Among hundreds of thousands of random
    gates a few would be so near that they alone decided the error of the gradient, for every implementation alike.
    """
    for name, module in layer.named_modules():
        if not name.endswith("cgu.gate_proj"):
            continue
        outputs, inputs = module.weight_real.shape
        angle = 6.28 * torch.rand((outputs, 1), generator=generator, dtype=torch.float64)
        aligned = torch.polar(torch.full_like(angle, 2.0 / inputs), angle) * torch.complex(common[0], -common[1])
        module.weight_real.copy_(0.25 * module.weight_real.cpu() + aligned.real)
        module.weight_imag.copy_(0.25 * module.weight_imag.cpu() + aligned.imag)


def _state_error(layer: RecurrentLayer, state: RecurrentState, expected: Tensor) -> float:
    kept = state.tensors[0]
    wide = kept.float() if kept.dtype == torch.bfloat16 else kept  # torch has no bfloat16 complex numbers
    return relative_error(layer.arithmetic.complex_state(wide), expected)
