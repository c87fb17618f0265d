"""Errors of the fused block and model against the planar ones with the same weights, printed as JSON.

Run by test_pam_fused in Triton's interpreter.
"""

import json
from dataclasses import replace
from math import isnan
from unittest import mock

import torch
from torch import Tensor, nn

from pamprof.records import Dtype, LayerSpec, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.pam.fused.block import FusedBlock
from pamprof.workloads.layers.pam.fused.decode import MANY_SEQUENCES
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from pamprof.workloads.layers.recurrent.oracle import excite, open_gates

CPU = torch.device("cpu")
LENGTH = 41  # two chunks of the core, the second one not full
MODEL_LENGTH = 9
SPEC = replace(
    DEFINITION.preset("tiny"), depth=2, vocabulary_size=61, model_dim=24, heads=2, head_dim=12, hidden_dim=44
)
# What all inputs share, so that no gate comes near zero, where its direction would be that of a rounding.
COMMON = torch.randn(2, SPEC.model_dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
COMMON /= COMMON.norm(dim=0)
errors: dict[str, float] = {}


def difference(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    assert found.shape == expected.shape
    error = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
    return float("inf") if isnan(error) else error


def layers(spec: LayerSpec) -> tuple[RecurrentLayer, RecurrentLayer]:
    """A planar and a fused block with the same lively weights."""
    pair = []
    for implementation in ("planar", "fused"):
        layer = DEFINITION.build(spec, implementation=implementation, scope=Scope.LAYER, device=CPU, seed=3)
        assert isinstance(layer, RecurrentLayer)
        generator = torch.Generator().manual_seed(1)
        excite(layer, generator)
        open_gates(layer, COMMON, generator)
        pair.append(layer)
    return pair[0], pair[1]


def gradients(layer: RecurrentLayer, inputs: Tensor, targets: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = inputs.clone().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = layer(inputs)
        loss = layer.loss(inputs, targets)
    loss.backward()
    assert inputs.grad is not None
    named = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {"output": output, "input": inputs.grad, **{name: grad for name, grad in named.items() if grad is not None}}


def training(case: str, spec: LayerSpec, length: int, dtype: torch.dtype) -> None:
    planar, fused = layers(spec)
    inputs, targets = torch.randn(2, 2, length, 2, spec.model_dim)
    inputs = COMMON.float() + 0.5 * inputs
    expected, found = (gradients(layer, inputs, targets, dtype) for layer in (planar, fused))
    assert expected.keys() == found.keys()
    if dtype == torch.float32:
        for name, gradient in expected.items():
            errors[f"train {case} {name}"] = difference(found[name], gradient)
        return
    planar.zero_grad()
    exact = gradients(planar, inputs, targets, torch.float32)
    for name, gradient in exact.items():
        error, other = difference(found[name], gradient), difference(expected[name], gradient)
        errors[f"train_{case} {name}"] = error
        # Sums over all tokens that nearly cancel, as a scalar's or a gate's, are as wrong as chance has it.
        if name in ("output", "input") or name.endswith(("weight_real", "weight_imag")):
            errors[f"train_{case}_ratio {name}"] = error / max(other, 5e-3)


@torch.no_grad()
def inference(case: str, batch: int, dtype: Dtype, state_dtype: Dtype | None) -> None:
    """A prompt in two pieces (a random state where there are many sequences) and two tokens on the other's state."""
    planar, fused = layers(replace(SPEC, state_dtype=state_dtype))
    kind = torch.float32 if dtype is Dtype.FLOAT32 else torch.bfloat16
    inputs = torch.randn(batch, LENGTH + 2, 2, SPEC.model_dim).to(kind)
    before = {name: parameter.clone() for name, parameter in fused.named_parameters()}
    states = []
    for layer in (planar, fused):
        layer.eval()
        layer.prepare_inference(dtype)
        states.append(layer.new_state(batch, LENGTH))
    unchanged = [torch.equal(before[name].to(value.dtype), value) for name, value in fused.named_parameters()]
    errors[f"parameters_kept {case}"] = 0.0 if all(unchanged) else float("inf")
    for kept in states:
        kept.randomise(torch.Generator().manual_seed(6))
    for start, end in ((0, 17), (17, LENGTH)) if batch < MANY_SEQUENCES else ():
        expected, found = (
            layer.prefill(inputs[:, start:end], state, start)
            for layer, state in zip((planar, fused), states, strict=True)
        )
        errors[f"prefill {case} {start}"] = difference(found, expected)
    errors[f"state {case} prefill"] = difference(states[1].tensors[0], states[0].tensors[0])
    for position in (LENGTH, LENGTH + 1):
        token = inputs[:, position : position + 1]
        # Each continues what the other has left.
        states.reverse()
        expected, found = (
            layer.decode(token, state, position) for layer, state in zip((planar, fused), states, strict=True)
        )
        errors[f"decode {case} {position}"] = difference(found, expected)
        errors[f"state {case} {position}"] = difference(states[1].tensors[0], states[0].tensors[0])


def models() -> None:
    """Loss, gradients and logits of the language model, and the tokens it would choose one by one."""
    planar, fused = (PamLanguageModel(SPEC, implementation=name, seed=5) for name in ("planar", "fused"))
    assert list(planar.state_dict()) == list(fused.state_dict())
    fused.load_state_dict(planar.state_dict())
    ids = torch.randint(0, SPEC.vocabulary_size, (2, MODEL_LENGTH))
    for model in (planar, fused):
        model.loss(ids, ids.roll(-1, 1)).backward()
    for (name, expected), found in zip(planar.named_parameters(), fused.parameters(), strict=True):
        assert expected.grad is not None
        assert found.grad is not None
        errors[f"model_gradient {name}"] = difference(found.grad, expected.grad)
    with torch.no_grad():
        whole = planar(ids)
        errors["logits forward"] = difference(fused(ids), whole)
        # Not made for inference, weights are made anew at every step, which kernels that read them early must not meet.
        unprepared = fused.new_state(2, MODEL_LENGTH)
        fused.prefill(ids[:, :-1], unprepared)
        with mock.patch.object(FusedBlock, "_step", side_effect=AssertionError("read before they are there")):
            found = fused.decode(ids[:, -1], unprepared, MODEL_LENGTH - 1)
        errors["logits unprepared decode"] = difference(found, whole[:, -1])
        for model in (planar, fused):
            model.eval()
            model.prepare_inference(Dtype.FLOAT32)
        state = fused.new_state(2, MODEL_LENGTH)
        errors["logits prefill"] = difference(fused.prefill(ids[:, :-1], state), whole[:, -2])
        errors["logits decode"] = difference(fused.decode(ids[:, -1], state, MODEL_LENGTH - 1), whole[:, -1])
        many = torch.randint(0, SPEC.vocabulary_size, (16,))
        states = [model.new_state(16, LENGTH) for model in (planar, fused)]
        for kept in states:
            kept.randomise(torch.Generator().manual_seed(6))
        expected, found = (model.decode(many, kept, 7) for model, kept in zip((planar, fused), states, strict=True))
        errors["logits many"] = difference(found, expected)


@torch.no_grad()
def last_piece(batch_size: int, dtype: Dtype | None) -> None:
    """A prompt whose last piece is one token; ``dtype`` None leaves weights as trained."""
    planar, fused = (PamLanguageModel(SPEC, implementation=name, seed=5) for name in ("planar", "fused"))
    ids = torch.randint(0, SPEC.vocabulary_size, (batch_size, 1))
    logits = []
    for model in (planar, fused):
        model.eval()
        if dtype is not None:
            model.prepare_inference(dtype)
        state = model.new_state(batch_size, LENGTH)
        state.randomise(torch.Generator().manual_seed(6))
        logits.append(model.prefill(ids, state, 7))
    errors[f"piece {dtype} {batch_size}"] = difference(logits[1], logits[0])


def dropping() -> None:
    """In training a fifth of the branches goes and the mean stays; in evaluation nothing does."""
    _, fused = layers(replace(SPEC, dropout=0.2))
    _, whole = layers(SPEC)
    inputs = torch.randn(4, 9, 2, SPEC.model_dim)
    with torch.no_grad():
        nn.init.zeros_(fused.blocks[0].cgu_scale)
        nn.init.zeros_(whole.blocks[0].cgu_scale)
        fused.train()
        branch, expected = fused(inputs) - inputs, whole(inputs) - inputs
        dropped = branch == 0
        errors["dropped share"] = abs(float(dropped.double().mean()) - 0.2)
        errors["dropout_scale kept"] = difference(branch[~dropped], expected[~dropped] / 0.8)
        fused.eval()
        errors["dropout_off output"] = difference(fused(inputs), whole(inputs))
    fused.train()
    leaf = inputs.clone().requires_grad_(True)
    torch.manual_seed(4)
    output = fused(leaf)
    along = torch.randn_like(output)
    (gradient,) = torch.autograd.grad((output * along).sum(), leaf)
    # The same masks again, a little to either side along a direction: the derivative in that direction.
    direction, step = torch.randn_like(inputs), 1e-2
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            torch.manual_seed(4)
            ends.append((fused(inputs + sign * step * direction).double() * along).sum())
    slope = (ends[0] - ends[1]) / (2 * step)
    errors["dropout_gradient along"] = difference((gradient * direction).double().sum(), slope)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    training("float32", SPEC, LENGTH, torch.float32)
    training("bfloat16", SPEC, LENGTH, torch.bfloat16)
    training("short", replace(SPEC, activation="modrelu"), 1, torch.float32)
    inference("float32 few", 2, Dtype.FLOAT32, None)
    inference("float32 many", 16, Dtype.FLOAT32, None)
    inference("bfloat16 few", 2, Dtype.BFLOAT16, None)
    inference("bfloat16 many", 16, Dtype.BFLOAT16, None)
    inference("bfloat16 state", 2, Dtype.BFLOAT16, Dtype.BFLOAT16)
    models()
    for batch_size, dtype in ((2, None), (MANY_SEQUENCES, Dtype.FLOAT32), (MANY_SEQUENCES, Dtype.BFLOAT16)):
        last_piece(batch_size, dtype)
    dropping()
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
