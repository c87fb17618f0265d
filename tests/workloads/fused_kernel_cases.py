"""Errors of the block's kernels against float64 formulas and their automatic derivatives, printed as JSON.

Run by test_fused_kernels in Triton's interpreter. Reference and kernel get the same, already rounded, inputs.
"""

import json
from math import isnan
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.kernels import cross_entropy
from pamprof.workloads.kernels.block import (
    gate as block_gate,
    norm as block_norm,
    norm_backward as block_norm_backward,
    norm_gates as block_norm_gates,
    prepare as block_prepare,
    weights as block_weights,
)
from pamprof.workloads.kernels.decode import (
    gate_unit as decode_gate_unit,
    products as decode_products,
    projection as decode_projection,
    recurrence as decode_memory,
)
from pamprof.workloads.layers.pam.complex import stages as definition
from pamprof.workloads.layers.recurrent.rotation import rotation_angles

SHAPES = ((1, 1, 24, 1, 12, 24), (2, 5, 44, 2, 16, 132), (2, 11, 88, 3, 24, 40))  # B, T, D, H, d, h
errors: dict[str, float] = {}


def record(name: str, case: object, found: Tensor, expected: Tensor) -> None:
    found, expected = found.detach().double(), expected.detach().double()
    assert found.shape == expected.shape, (name, case, found.shape, expected.shape)
    error = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
    errors[f"{name} {case} #{len(errors)}"] = float("inf") if isnan(error) else error


def complex_of(planes: Tensor) -> Tensor:
    """Planes [..., 2, n] as complex128 [..., n]."""
    return torch.complex(*planes.double().unbind(-2))


def planes_of(z: Tensor) -> Tensor:
    return torch.stack((z.real, z.imag), -2)


def leaf(x: Tensor) -> Tensor:
    return x.double().requires_grad_(True)


def gates_of(width: int, heads: int, dtype: torch.dtype) -> list[Tensor]:
    step, protect = torch.randn(heads, 2 * width) / width**0.5, torch.randn(heads, width) / width**0.5
    return [step.to(dtype), torch.randn(heads), torch.randn(heads) - 3, protect.to(dtype), torch.randn(heads)]


def logits_of(normed: Tensor, gates: list[Tensor]) -> Tensor:
    """[2, B, H, T] of complex rows [B, T, D]."""
    step_weight, step_bias, dt_bias, protect_weight, protect_bias = (gate.double() for gate in gates)
    step = torch.cat((normed.real, normed.imag), -1) @ step_weight.T + step_bias + dt_bias
    return torch.stack((step.mT, (definition.magnitude(normed) @ protect_weight.T + protect_bias).mT))


def log_decay_of(logits: Tensor) -> Tensor:
    step, gate = logits
    return torch.logaddexp(functional.logsigmoid(-gate) - functional.softplus(step), functional.logsigmoid(gate))


def norms(case: object, batch: int, length: int, width: int, heads: int, dtype: torch.dtype) -> None:
    stream = torch.randn(batch, length, 2, width)
    stream[0, 0, :, 0] = 0.0
    branch = torch.randn(batch, length, 2, width).to(dtype)
    branch[0, 0, :, 0] = 0.0
    scale, gates = torch.rand(width) + 0.5, gates_of(width, heads, torch.float32)
    factor = torch.tensor(0.7)
    normed = block_norm.norm(stream, scale, dtype)
    record("norm", case, normed, planes_of(definition.complex_norm(complex_of(stream), scale.double())))
    parts = torch.randn(3, batch, length, 2, width)
    total, _ = block_norm.add_norm(stream, parts, None, scale, dtype)
    record("add_parts", case, total, stream + parts.double().sum(0))
    total, _ = block_norm.add_norm(stream, branch, factor, scale, dtype)
    record("add_scaled", case, total, stream.double() + 0.7 * branch.double())
    wide_stream, wide_branch, wide_scale = leaf(stream), leaf(branch), leaf(scale)
    wide_gates = [leaf(gate) for gate in gates]
    wide_total = wide_stream + wide_branch
    wide_normed = definition.complex_norm(complex_of(wide_total), wide_scale)
    wide_logits = logits_of(wide_normed, wide_gates)
    total, normed, logits = block_norm_gates.add_norm_gates(stream, branch, None, scale, gates, dtype)
    record("add_norm", case, total, wide_total)
    record("add_norm", case, normed, planes_of(wide_normed))
    record("logits", case, logits, wide_logits)
    along, past = torch.randn_like(stream).to(dtype), torch.randn_like(stream)
    along_logits = torch.randn_like(logits)
    pull = (planes_of(wide_normed) * along).sum() + (wide_total * past).sum() + (wide_logits * along_logits).sum()
    expected = torch.autograd.grad(pull, (wide_stream, wide_branch, wide_scale, *wide_gates))
    by_head = along_logits.transpose(1, 2).flatten(2).contiguous()
    for held in (block_norm_backward._HELD_NUMBERS, 0):  # weights in registers, and loaded for every row
        with patch.object(block_norm_backward, "_HELD_NUMBERS", held):
            found = block_norm_backward.gated_norm_backward(
                total, scale, along, past, by_head, gates[0], gates[3], None, dtype
            )
        record("norm_gradient", case, found[0], expected[0])
        record("branch_gradient", case, found[1], expected[1])
        record("scale_gradient", case, found[2], expected[2])
        record("gate_gradient", case, by_head[1] @ found[3].float(), expected[6])
    record("gate_gradient", case, by_head[0] @ normed.float().flatten(0, 1).flatten(1), expected[3])
    pull = (planes_of(definition.complex_norm(complex_of(wide_total), wide_scale)) * along).sum()
    expected = torch.autograd.grad(pull, (wide_total, wide_scale))
    found = block_norm_backward.norm_backward(total, scale, along, None, None)
    record("norm_gradient", case, found[0], expected[0])
    record("scale_gradient", case, found[2], expected[1])
    assert found[1].numel() == 0


def gate_units(case: object, batch: int, length: int, hidden: int, dtype: torch.dtype) -> None:
    gate_up = torch.randn(batch, length, 2, 2, hidden).to(dtype)
    for slope in (None, torch.rand(hidden) + 0.5):
        bias = torch.randn(hidden) if slope is not None else -0.3 * torch.rand(hidden)
        wide, wide_bias = leaf(gate_up), leaf(bias)
        wide_slope = None if slope is None else leaf(slope)
        g, u = torch.complex(wide[..., 0, :, :], wide[..., 1, :, :]).unbind(-2)
        expected = planes_of(definition.gate(g, definition.activate(u, wide_bias, wide_slope)))
        found = block_gate.gate_unit(gate_up, bias, slope)
        record("gate_unit", case, found, expected)
        along = torch.randn_like(found)
        inputs = (wide, wide_bias) if wide_slope is None else (wide, wide_bias, wide_slope)
        gradients = torch.autograd.grad((expected * along).sum(), inputs)
        for part, gradient in zip(block_gate.gate_unit_backward(gate_up, along, bias, slope), gradients, strict=False):
            record("gate_unit_gradient", case, part, gradient)


def preparation(case: object, batch: int, length: int, heads: int, head_dim: int, dtype: torch.dtype) -> None:
    qkv = torch.randn(batch, length, 2, 3, heads, head_dim).to(dtype)
    logits = torch.randn(2, batch, heads, length) * 3
    angles = rotation_angles(7, length, head_dim, qkv.device)
    cosine, sine = angles.cos().float(), angles.sin().float()
    wide, wide_logits = leaf(qkv), leaf(logits)
    q, k, v = torch.complex(*wide.unbind(2)).unbind(2)
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    share = torch.sigmoid(-wide_logits[1]).transpose(1, 2)[..., None]
    z = torch.stack((q * turn, k * turn, v * share), 2)
    expected = torch.stack((z.real, z.imag), 2)
    wide_decay = log_decay_of(wide_logits)
    prepared = qkv.clone()
    log_decay = block_prepare.prepare(prepared, cosine, sine, logits)
    record("prepared", case, prepared, expected)
    record("log_decay", case, log_decay, wide_decay)
    along, along_decay = torch.randn_like(qkv), torch.randn_like(log_decay)
    pull = (expected * along).sum() + (wide_decay * along_decay).sum()
    gradients = torch.autograd.grad(pull, (wide, wide_logits))
    found = block_prepare.prepare_backward(along, prepared, cosine, sine, logits, along_decay)
    record("prepared_gradient", case, along, gradients[0])
    record("logits_gradient", case, found, gradients[1].transpose(1, 2).flatten(2))


def losses(case: object, vocabulary: int, padding: int, dtype: torch.dtype) -> None:
    logits = 4 * torch.randn(3, vocabulary + padding)
    logits[1, : vocabulary // 2] -= 200.0  # a first tile that vanishes beside a later one
    logits[:, vocabulary:] = 50.0
    logits = logits.to(dtype)
    targets = torch.tensor([0, vocabulary - 1, vocabulary // 2])
    wide = leaf(logits[:, :vocabulary])
    expected = functional.cross_entropy(wide, targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected.mean(), wide)
    for block in (cross_entropy._BLOCK, 256):  # one block with padding, and whole ones before it
        found_gradient = logits.clone()
        with patch.object(cross_entropy, "_BLOCK", block):
            found = cross_entropy.cross_entropy_(found_gradient, targets, vocabulary)
        record("loss", case, found, expected)
        record("loss_gradient", case, found_gradient[:, :vocabulary], gradient)
        assert not found_gradient[:, vocabulary:].any()


def extreme_decays() -> None:
    """From nothing forgotten to everything, far beyond what float32 exponentials hold."""
    values = torch.tensor([-300.0, -60.0, -20.0, -12.0, -4.0, -0.1, 0.0, 2.0, 9.0, 30.0, 110.0, 300.0])
    logits = torch.stack(torch.meshgrid(values, values, indexing="ij")).flatten(1)[:, None, None]
    length = logits.shape[-1]
    qkv, table = torch.ones(1, length, 2, 3, 1, 4), torch.ones(length, 4)
    step, gate = logits.double()
    lost = torch.sigmoid(step) * torch.sigmoid(-gate)  # exact near 0, where a sum of logarithms is not
    expected = torch.where(lost < 0.5, torch.log1p(-lost), log_decay_of(logits.double()))
    found = block_prepare.prepare(qkv, table, table, logits)
    difference = (found.double() - expected).abs() / expected.abs().clamp_min(1e-30)
    errors["extreme_decay"] = float(difference.max())
    along = torch.ones_like(qkv)
    gradient = block_prepare.prepare_backward(along, qkv, table, table, logits, torch.ones_like(found))
    errors["extreme_decay_gradient"] = 0.0 if bool(gradient.isfinite().all()) else float("inf")


def extreme_decode_decays() -> None:
    """The state's factor for the same range."""
    values = torch.tensor([-300.0, -60.0, -20.0, -12.0, -4.0, -0.1, 0.0, 2.0, 9.0, 30.0, 110.0, 300.0])
    logits = torch.stack(torch.meshgrid(values, values, indexing="ij")).flatten(1)[:, None, :, None].contiguous()
    heads, head_dim = logits.shape[2], 4
    state, table = torch.ones(1, heads, head_dim, 2 * head_dim), torch.ones(1, head_dim)
    decode_memory.memory_step(torch.zeros(1, 1, 2, 3 * heads * head_dim), logits, table, table, state)
    step, gate = logits.double()
    lost = torch.sigmoid(step) * torch.sigmoid(-gate)
    expected = torch.where(lost < 0.5, 1 - lost, torch.sigmoid(gate) + torch.sigmoid(-gate) * torch.sigmoid(-step))
    expected = expected[..., None].expand_as(state)
    difference = (state.double() - expected).abs()
    errors["extreme_decode_decay"] = float((difference / expected.clamp_min(1e-37)).max())
    errors["small_decode_loss"] = float(difference[expected > 0.9].max())


def weights(case: object, width: int, outputs: int, dtype: torch.dtype) -> None:
    reals, imags = [leaf(torch.randn(outputs, width)) for _ in range(2)], [torch.randn(outputs, width) for _ in "ab"]
    wide_imags, scale = [leaf(imag) for imag in imags], leaf(torch.tensor(0.7))
    real, imag = scale * torch.cat(reals), scale * torch.cat(wide_imags)
    expected = torch.cat((torch.cat((real, -imag), 1), torch.cat((imag, real), 1)))
    narrow = [real.detach().float() for real in reals]
    block = block_weights.block_weight(narrow, imags, scale.detach().float(), dtype)
    record("block", case, block, expected)
    along = torch.randn_like(block)
    gradients = torch.autograd.grad((expected * along).sum(), (*reals, *wide_imags, scale))
    parts = [
        block_weights.fold_gradient(along, narrow[i], imags[i], scale.detach().float(), i * outputs) for i in range(2)
    ]
    for i in range(2):
        record("block_gradient", case, parts[i][0], gradients[i])
        record("block_gradient", case, parts[i][1], gradients[2 + i])
    record("block_scale_gradient", case, parts[0][2] + parts[1][2], gradients[4])


def decoding(
    case: object, batch: int, width: int, heads: int, head_dim: int, hidden: int, outputs: int, dtype: torch.dtype
) -> None:
    """Inputs of maps are ``width`` and ``hidden``; gate unit and projection write ``outputs``, one or two a program."""
    inner = heads * head_dim
    stream, scale = torch.randn(batch, 1, 2, width).to(dtype), torch.rand(width) + 0.5
    normed = definition.complex_norm(complex_of(stream), scale.double())

    def maps(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Block matrix in ``dtype`` and the complex matrix it stands for."""
        real, imag = (torch.randn(outputs, inputs).to(dtype) / inputs**0.5 for _ in range(2))
        block = torch.cat((torch.cat((real, -imag), 1), torch.cat((imag, real), 1)))
        return block, torch.complex(real.double(), imag.double())

    for slope in (None, torch.rand(outputs).to(dtype) + 0.5):
        bias = -0.3 * torch.rand(outputs).to(dtype)
        block, matrix = maps(2 * outputs, width)
        g, u = (normed @ matrix.T).chunk(2, -1)
        slope64 = None if slope is None else slope.double()
        expected = planes_of(definition.gate(g, definition.activate(u, bias.double(), slope64)))
        record("decode_gate_unit", case, decode_gate_unit.norm_gate_unit(stream, scale, block, bias, slope), expected)
    block, matrix = maps(outputs, hidden)
    x, factor = torch.randn(batch, 1, 2, hidden).to(dtype), torch.tensor(0.7)
    residual = torch.randn(batch, 1, 2, outputs).to(dtype)
    expected = planes_of(complex_of(x) @ matrix.T)
    found = decode_projection.project(x, block, residual, factor, None, None)
    record("decode_project", case, found, residual.double() + 0.7 * expected)
    bias_real, bias_imag = torch.randn(2, outputs).to(dtype)
    found = decode_projection.project(x, block, None, None, bias_real, bias_imag)
    record("decode_project", case, found, expected + torch.stack((bias_real, bias_imag)))
    block, matrix = maps(3 * inner, width)
    gates = gates_of(width, heads, dtype)
    qkv, logits = decode_projection.norm_memory_inputs(stream, scale, block, gates)
    record("decode_qkv", case, qkv, planes_of(normed @ matrix.T))
    record("decode_logits", case, logits, logits_of(normed, gates))
    memory_steps(case, qkv, logits, head_dim)


def memory_steps(case: object, qkv: Tensor, logits: Tensor, head_dim: int) -> None:
    """One token of the memory, from states of both dtypes."""
    _, batch, heads, _ = logits.shape
    angles = rotation_angles(5, 1, head_dim, qkv.device)
    cosine, sine = angles.cos().float(), angles.sin().float()
    for kept in (torch.float32, torch.bfloat16):
        memory = torch.randn(batch, heads, head_dim, 2 * head_dim).to(kept)
        before = torch.complex(*memory.double().chunk(2, -1)).mT
        q, k, v = (part.reshape(batch, heads, head_dim) for part in complex_of(qkv).squeeze(1).chunk(3, -1))
        q, k = (definition.rotate(part.unsqueeze(-2), angles).squeeze(-2) for part in (q, k))
        v = v * torch.sigmoid(-logits[1].double())
        decay = log_decay_of(logits.double()).exp()[..., None]
        after = decay * before + v[..., :, None] * k.conj()[..., None, :]
        read = (after @ q[..., None]).squeeze(-1).flatten(1).unsqueeze(1) / head_dim**0.5
        found = decode_memory.memory_step(qkv, logits, cosine, sine, memory)
        record("decode_memory", case, found, planes_of(read))
        name = "decode_state" if kept == torch.float32 else "decode_bfloat16_state"
        record(name, case, torch.complex(*memory.double().chunk(2, -1)).mT, after)


def products(case: object, batch: int, width: int, hidden: int, dtype: torch.dtype) -> None:
    """Maps of some tens of sequences, whole, in parts and with the gate unit."""
    x = torch.randn(batch, 1, 2, width).to(dtype)
    real, imag = (torch.randn(2 * hidden, width).to(dtype) / width**0.5 for _ in range(2))
    matrix = torch.complex(real.double(), imag.double())
    block = torch.cat((torch.cat((real, -imag), 1), torch.cat((imag, real), 1)))
    expected = complex_of(x) @ matrix.T
    record("decode_product", case, decode_products.product(x, block), planes_of(expected))
    parts = decode_products.partial_products(x, block)
    assert parts.shape[0] > 1 or hidden > width
    record("decode_parts", case, parts.sum(0), planes_of(expected))
    bias = -0.3 * torch.rand(hidden).to(dtype)
    for slope in (None, torch.rand(hidden).to(dtype) + 0.5):
        slope64 = None if slope is None else slope.double()
        g, u = expected.chunk(2, -1)
        wanted = planes_of(definition.gate(g, definition.activate(u, bias.double(), slope64)))
        record("decode_gate_product", case, decode_products.gate_product(x, block, bias, slope), wanted)


def main() -> None:
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for shape in SHAPES if dtype == torch.float32 else SHAPES[1:2]:
            batch, length, width, heads, head_dim, hidden = shape
            torch.manual_seed(0)  # a case has its numbers whatever the others draw
            case = f"{shape} {str(dtype).removeprefix('torch.')}"
            norms(case, batch, length, width, heads, dtype)
            gate_units(case, batch, length, hidden, dtype)
            preparation(case, batch, length, heads, head_dim, dtype)
            weights(case, width, hidden, dtype)
            decoding(case, batch, width, heads, head_dim, hidden, 12, dtype)
        odd = f"odd {str(dtype).removeprefix('torch.')} heads"
        decoding(odd, 3, 24, 3, 12, 20, 20, dtype)  # two outputs a program, of heads as of channels
        # Tiles of 16 rows, of 32, two of 64, and tiles of 32 outputs.
        for batch, width, hidden in ((3, 40, 12), (20, 40, 12), (70, 72, 20), (3, 24, 140)):
            products(f"{batch} {str(dtype).removeprefix('torch.')} {width}", batch, width, hidden, dtype)
        for vocabulary, padding in ((37, 27), (9001, 23)):
            losses(f"{str(dtype).removeprefix('torch.')} {vocabulary}", vocabulary, padding, dtype)
    memory_steps(
        "many float32 heads", torch.randn(33, 1, 2, 3 * 64), torch.randn(2, 33, 2, 1) * 3, 32
    )  # 32 values a program
    extreme_decays()
    extreme_decode_decays()
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
