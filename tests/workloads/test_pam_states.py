"""Several states a head: every form and implementation against a recurrence written out here, in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from pamprof.errors import SpecError
from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.layers.pam.complex.block import PamLayer
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.pam.recurrence import chunked_pam, dual_pam, log_chunked_pam, recurrent_pam
from pamprof.workloads.layers.recurrent.chunks.core import ChunkCore, core_forward, final_state
from pamprof.workloads.layers.recurrent.chunks.planes import turn
from pamprof.workloads.matching.match import match
from pamprof.workloads.registry import definition

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
IMPLEMENTATIONS = ["published", "planar", "gauss", "complex"]
D, H, HEAD, LAYERS, HIDDEN, VOCABULARY, STATES = 12, 2, 4, 2, 20, 31, 3
IDS = torch.randint(0, VOCABULARY, (2, 75), generator=torch.Generator().manual_seed(0))


def recurrence(  # noqa: PLR0917 - the order of every form
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, c: Tensor, held: Tensor
) -> tuple[Tensor, Tensor]:
    """S^k = decay^k S^k + v conj(k)^T and y = sum_k c^k S^k q / sqrt(d); [B, H, T, d], decay and c [B, H, K, T]."""
    outputs = []
    for t in range(q.shape[2]):
        outer = torch.einsum("bhv,bhk->bhvk", v[:, :, t], k[:, :, t].conj())
        held = torch.stack([decay[:, :, n, t, None, None] * held[:, :, n] + outer for n in range(decay.shape[2])], 2)
        outputs.append(torch.einsum("bhn,bhnvk,bhk->bhv", c[..., t], held, q[:, :, t]) / q.shape[-1] ** 0.5)
    return torch.stack(outputs, 2), held


def random_inputs(length: int) -> tuple[Tensor, ...]:
    """q, k, v, decays, phases and a state of three states."""
    generator = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, 2, 2, length, 4, dtype=torch.complex128, generator=generator)
    decay = torch.rand(2, 2, 3, length, dtype=torch.float64, generator=generator) * 0.9 + 0.1
    phases = 3 * torch.randn(2, 2, 3, length, dtype=torch.float64, generator=generator)
    held = torch.randn(2, 2, 3, 4, 4, dtype=torch.complex128, generator=generator)
    return q, k, v, decay, phases, held


def by_planes(  # noqa: PLR0917 - likewise
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, c: Tensor, held: Tensor
) -> tuple[Tensor, Tensor]:
    """The plane core in chunks of 5, its state continued from ``held``: what the planar implementations run."""

    def rows(z: Tensor, *, turned: bool) -> Tensor:
        plane = torch.cat((z.real, z.imag), -1).unflatten(2, (-1, 5))
        return torch.cat((plane, turn(plane)), -2) if turned else plane

    core = rows(q, turned=False), rows(k, turned=True), rows(v, turned=True), decay.log().unflatten(-1, (-1, 5))
    coefficients = torch.view_as_real(c).unflatten(3, (-1, 5))
    state = torch.cat((held.mT.real, held.mT.imag), -1)
    output, _, written, _ = core_forward(*core, planes=2, initial_state=state, coefficients=coefficients)
    after = final_state(written, *core[1:], planes=2, initial_state=state)
    return torch.complex(*output.flatten(2, 3).chunk(2, -1)), torch.complex(*after.chunk(2, -1)).mT


FORMS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "recurrent": lambda *x: recurrent_pam(*x[:4], x[5], coefficients=x[4]),
    "dual": lambda *x: dual_pam(*x[:4], x[5], coefficients=x[4]),
    "chunked": lambda *x: chunked_pam(*x[:4], x[5], coefficients=x[4], chunk_size=7),
    "logarithm": lambda *x: log_chunked_pam(*x[:3], x[3].log(), x[5], coefficients=x[4], chunk_size=7),
    "planes": by_planes,
}


@pytest.mark.parametrize("length", [5, 20])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_its_gradients_are_those_of_the_recurrence(form: str, length: int) -> None:
    found, wanted = [], []
    for results, function in ((found, FORMS[form]), (wanted, recurrence)):
        leaves = [x.clone().requires_grad_(True) for x in random_inputs(length)]
        q, k, v, decay, phases, held = leaves
        output, state = function(q, k, v, decay, torch.polar(torch.ones_like(phases), phases), held)
        weight = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
        objective = (output.real * weight + output.imag * weight.flip(-1)).sum() + (state.real - 2 * state.imag).sum()
        results += [output, state, *torch.autograd.grad(objective, leaves)]
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [5, 20])
def test_the_hand_written_backward_of_the_plane_core_is_that_of_the_recurrence(length: int) -> None:
    found, wanted = [], []
    for results in (found, wanted):
        leaves = [x.clone().requires_grad_(True) for x in random_inputs(length)[:5]]
        q, k, v, decay, phases = leaves
        if results is found:
            rows = [torch.cat((z.real, z.imag), -1).unflatten(2, (-1, 5)) for z in (q, k, v)]
            core = rows[0], *(torch.cat((row, turn(row)), -2) for row in rows[1:])
            c = torch.stack((phases.cos(), phases.sin()), -1).unflatten(3, (-1, 5))
            planes = ChunkCore.apply(*core, decay.log().unflatten(-1, (-1, 5)), 2, c).flatten(2, 3)
        else:
            c = torch.polar(torch.ones_like(phases), phases)
            output, _ = recurrence(q, k, v, decay, c, torch.zeros_like(random_inputs(length)[5]))
            planes = torch.cat((output.real, output.imag), -1)
        weight = torch.linspace(-1, 1, planes.numel(), dtype=torch.float64).view(planes.shape)
        results += [planes, *torch.autograd.grad((planes * weight).sum(), leaves)]
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [5, 20])
def test_the_core_of_the_real_twin_and_its_gradients_are_those_of_the_recurrence(length: int) -> None:
    found, wanted = [], []
    for results in (found, wanted):
        given = random_inputs(length)
        leaves = [(x.real if x.is_complex() else x).clone().requires_grad_(True) for x in given]
        q, k, v, decay, shares, held = leaves
        if results is found:
            core = *(x.unflatten(2, (-1, 5)) for x in (q, k, v)), decay.log().unflatten(-1, (-1, 5))
            c, before = shares.unsqueeze(-1).unflatten(3, (-1, 5)), held.mT
            output, _, written, _ = core_forward(*core, planes=1, initial_state=before, coefficients=c)
            state = final_state(written, *core[1:], planes=1, initial_state=before).mT
            output = output.flatten(2, 3)
        else:
            c = shares.to(torch.complex128)
            output, state = recurrence(*(x.to(torch.complex128) for x in (q, k, v)), decay, c, held.to(c.dtype))
            output, state = output.real, state.real
        weight = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
        results += [output, state, *torch.autograd.grad((output * weight).sum() + 2 * state.sum(), leaves)]
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_a_decay_of_zero_in_one_state_forgets_in_that_state_alone() -> None:
    q, k, v, decay, phases, held = random_inputs(9)
    decay[:, :, 1, 4] = 0.0
    c = torch.polar(torch.ones_like(phases), phases)
    expected = recurrence(q, k, v, decay, c, held)
    for form in ("recurrent", "dual", "chunked"):
        torch.testing.assert_close(FORMS[form](q, k, v, decay, c, held), expected, rtol=1e-12, atol=1e-12)


def test_coefficients_of_another_shape_are_refused() -> None:
    q, k, v, decay, phases, _ = random_inputs(5)
    with pytest.raises(SpecError, match=r"coefficients are torch\.float64"):
        recurrent_pam(q, k, v, decay, coefficients=phases)
    with pytest.raises(SpecError, match=r"it must be torch\.float64 \(2, 2, 3, 5\)"):
        recurrent_pam(q, k, v, decay[:, :, 0], coefficients=phases.to(torch.complex128))


def v11_state_dict(*, gate_width: int) -> dict[str, Tensor]:
    """Key by key as the authors store it, values far from their initial ones."""
    inner = H * HEAD
    shapes = {
        "embed.embed_real.weight": (VOCABULARY, D),
        "embed.embed_imag.weight": (VOCABULARY, D),
        "embed_norm.scale": (D,),
        "output_norm.scale": (D,),
        "lm_head_norm.scale": (D,),
        "lm_head_proj.weight_real": (D, D),
        "lm_head_proj.weight_imag": (D, D),
        "lm_head_proj.bias_real": (D,),
        "lm_head_proj.bias_imag": (D,),
    }
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        shapes |= {
            block + "norm1.scale": (D,),
            block + "norm2.scale": (D,),
            block + "cgu_scale": (),
            block + "pam_scale": (),
            block + "cgu.act.bias": (HIDDEN,),
            block + "cgu.act.beta": (HIDDEN,),
            block + "pam.dt_proj.weight": (H, 2 * D),
            block + "pam.dt_proj.bias": (H,),
            block + "pam.dt_bias": (H,),
            block + "pam.state_dt_offset": (STATES,),
            block + "pam.phase_proj.weight": (H * STATES, D),
            block + "pam.phase_proj.bias": (H * STATES,),
            block + "pam.protect_gate.weight": (H, gate_width),
            block + "pam.protect_gate.bias": (H,),
        }
        for name, shape in (
            ("cgu.gate_proj", (HIDDEN, D)),
            ("cgu.up_proj", (HIDDEN, D)),
            ("cgu.down_proj", (D, HIDDEN)),
            ("pam.qkv_proj", (3 * inner, D)),
            ("pam.o_proj", (D, inner)),
        ):
            shapes |= {f"{block}{name}.weight_{part}": shape for part in ("real", "imag")}
    generator = torch.Generator().manual_seed(1)
    return {
        key: 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64) + ("scale" in key)
        for key, shape in sorted(shapes.items())
    }


def size(z: Tensor) -> Tensor:
    return (z.real**2 + z.imag**2 + 1e-8).sqrt()


def forward(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Logits [B, T, V] of the model as its paper and its authors' v11 define it, in complex128."""

    def norm(z: Tensor, name: str) -> Tensor:
        mean = (size(z) ** 2).mean(-1, keepdim=True)
        return weights[f"{name}.scale"] * (size(z) / (mean + 1e-6).sqrt()) * z / (size(z) + 1e-8)

    def linear(z: Tensor, name: str) -> Tensor:
        return z @ torch.complex(weights[f"{name}.weight_real"], weights[f"{name}.weight_imag"]).T

    table = torch.complex(weights["embed.embed_real.weight"], weights["embed.embed_imag.weight"])
    z = norm(table[ids], "embed_norm")
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        x = norm(z, block + "norm1")
        g, u = linear(x, block + "cgu.gate_proj"), linear(x, block + "cgu.up_proj")
        opening = torch.sigmoid(size(g)) * g / (size(g) + 1e-8)
        weight = torch.sigmoid(weights[block + "cgu.act.beta"] * size(u) + weights[block + "cgu.act.bias"])
        gated = opening * size(u) * weight * u / (size(u) + 1e-8)
        z = z + weights[block + "cgu_scale"] * linear(gated, block + "cgu.down_proj")
        x = norm(z, block + "norm2")
        q, k, v = linear(x, block + "pam.qkv_proj").unflatten(-1, (3, H, HEAD)).permute(2, 0, 3, 1, 4)
        frequency = 10_000.0 ** (-torch.arange(HEAD, dtype=torch.float64) / HEAD)
        turned = torch.exp(1j * torch.arange(ids.shape[1], dtype=torch.float64)[:, None] * frequency)
        row = torch.cat((x.real, x.imag), -1)
        of_gate = weights[block + "pam.protect_gate.weight"]
        gate_input = row if of_gate.shape[1] == 2 * D else size(x)
        p = torch.sigmoid(gate_input @ of_gate.T + weights[block + "pam.protect_gate.bias"]).mT  # [B, H, T]
        step = row @ weights[block + "pam.dt_proj.weight"].T + weights[block + "pam.dt_proj.bias"]
        step = (step + weights[block + "pam.dt_bias"]).mT
        offsets = weights[block + "pam.state_dt_offset"]
        dt = torch.stack([torch.log1p(torch.exp(step + offset)) for offset in offsets], 2)
        decay = torch.exp(-dt) * (1 - p[:, :, None]) + p[:, :, None]
        phi = size(x) @ weights[block + "pam.phase_proj.weight"].T + weights[block + "pam.phase_proj.bias"]
        c = torch.exp(1j * phi.view(*ids.shape, H, STATES)).permute(0, 2, 3, 1)
        nothing = torch.zeros(len(ids), H, STATES, HEAD, HEAD, dtype=torch.complex128)
        y, _ = recurrence(q * turned, k * turned, v * (1 - p)[..., None], decay, c, nothing)
        z = z + weights[block + "pam_scale"] * linear(y.transpose(1, 2).flatten(2), block + "pam.o_proj")
    projected = linear(norm(z, "output_norm"), "lm_head_proj")
    projected = projected + torch.complex(weights["lm_head_proj.bias_real"], weights["lm_head_proj.bias_imag"])
    u = norm(projected, "lm_head_norm")
    return u.real @ table.real.T + u.imag @ table.imag.T


def weighted(logits: Tensor) -> Tensor:
    return (logits * torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view(logits.shape)).sum()


@pytest.fixture(scope="module", params=[D, 2 * D], ids=["gate of magnitudes", "gate of parts"])
def published(request: pytest.FixtureRequest) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """A state dict, its logits and the gradients of a weighted sum of them, all of the forward above."""
    state_dict = v11_state_dict(gate_width=request.param)
    leaves = {key: value.clone().requires_grad_(True) for key, value in state_dict.items()}
    logits = forward(leaves, IDS)
    gradients = torch.autograd.grad(weighted(logits), list(leaves.values()))
    return state_dict, logits.detach(), dict(zip(leaves, gradients, strict=True))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_v11_state_dict_gives_the_logits_and_gradients_of_its_formulas(
    implementation: str, published: tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]
) -> None:
    state_dict, logits, gradients = published
    model = PamLanguageModel.from_qllm2_state_dict(state_dict, implementation=implementation)
    assert (model.spec.state_count, model.spec.depth, model.spec.heads) == (STATES, LAYERS, H)
    found = model(IDS)
    torch.testing.assert_close(found, logits, rtol=1e-12, atol=1e-12)
    weighted(found).backward()
    for name, parameter in model.named_parameters():
        scale = float(gradients[name].abs().max())
        difference = float((parameter.grad - gradients[name]).abs().max())
        assert difference <= 1e-10 * max(scale, 1.0), name


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_pieces_then_decode_equal_the_whole(
    implementation: str, published: tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]
) -> None:
    state_dict, logits, _ = published
    model = PamLanguageModel.from_qllm2_state_dict(state_dict, implementation=implementation).eval()
    state = model.new_state(2, 75)
    for tensor in state.tensors:
        tensor.fill_(7.0)  # position 0 begins a sequence, whatever was held before
    with torch.no_grad():
        for start, stop in pairwise((0, 3, 70, 72)):
            found = model.prefill(IDS[:, start:stop], state, start)
            torch.testing.assert_close(found, logits[:, stop - 1], rtol=1e-12, atol=1e-12)
        for position in range(72, 75):
            found = model.decode(IDS[:, position], state, position)
            torch.testing.assert_close(found, logits[:, position], rtol=1e-12, atol=1e-12)


def test_a_layer_reads_its_part_of_a_v11_state_dict_in_every_form() -> None:
    prefix = "blocks.1.pam."
    stored = v11_state_dict(gate_width=2 * D)
    part = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    x = torch.randn(1, 9, D, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        results = [PamLayer.from_qllm2_state_dict(part, form=form)(x) for form in ("recurrent", "dual", "chunked")]
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], rtol=1e-12, atol=1e-12)
    assert results[0][1].shape == (1, H, STATES, HEAD, HEAD)
    del part["phase_proj.bias"]
    with pytest.raises(SpecError, match=r"missing phase_proj\.bias"):
        PamLayer.from_qllm2_state_dict(part)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_implementation_agrees_with_the_naive_recurrence(
    implementation: str, dtype: Dtype, tolerance: float, phase: Phase
) -> None:
    if not DEFINITION.supports(implementation, dtype):
        pytest.skip("torch has no bfloat16 complex numbers")
    spec = replace(DEFINITION.preset("tiny"), state_count=3, gate_reads_parts=dtype is Dtype.FLOAT32)
    error, _ = DEFINITION.oracle_error(
        spec, implementation=implementation, phase=phase, device=CPU, dtype=dtype, seed=0
    )
    assert error < tolerance


@pytest.mark.parametrize("layer", ["pam", "real_pam"])
def test_a_bfloat16_state_halves_the_bytes_of_all_states_and_rounds_them_alone(layer: str) -> None:
    found = definition(layer)
    one = found.preset("tiny")
    three = replace(one, state_count=3)
    kept = replace(three, state_dtype=Dtype.BFLOAT16)
    sizes = {"scope": Scope.MODEL, "batch_size": 3, "context": 9, "dtype": Dtype.FLOAT32}
    counts = [found.state_byte_count(spec, **sizes) for spec in (one, three, kept)]
    assert counts == [2 * counts[2] // 3, 2 * counts[2], counts[2]]
    model = found.build(kept, implementation="planar", scope=Scope.MODEL, device=CPU, seed=0)
    assert model.new_state(3, 9).byte_count() == counts[2]
    error, _ = found.oracle_error(
        kept, implementation="planar", phase=Phase.DECODE, device=CPU, dtype=Dtype.FLOAT32, seed=0
    )
    assert 1e-4 < error < 1e-2


@pytest.mark.parametrize("states", [1, 3])
@pytest.mark.parametrize(
    ("layer", "implementation"),
    [("pam", "planar"), ("pam", "gauss"), ("pam", "published"), ("real_pam", "planar"), ("vector_pam", "planar")],
)
def test_a_bfloat16_state_is_rounded_once_a_token(layer: str, implementation: str, states: int) -> None:
    found = definition(layer)
    if states > 1 and layer == "vector_pam":
        pytest.skip("a vector state is one")
    spec = replace(found.preset("tiny"), state_count=states)
    x = torch.randn(2, 1, *found.position_shape(spec), generator=torch.Generator().manual_seed(3))
    kept = []
    for dtype in (None, Dtype.BFLOAT16):
        own = replace(spec, state_dtype=dtype)
        block = found.build(own, implementation=implementation, scope=Scope.LAYER, device=CPU, seed=0).eval()
        state = block.new_state(2, 9)
        before = torch.randn(state.tensors[0].shape, generator=torch.Generator().manual_seed(4)).bfloat16()
        state.tensors[0].copy_(before)
        with torch.no_grad():
            read = block.decode(x, state, 5)
        kept.append((read, state.tensors[0]))
    (read, exact), (rounded_read, rounded) = kept
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(exact, exact.bfloat16().float())
    assert torch.equal(rounded, exact.bfloat16())
    torch.testing.assert_close(rounded_read, read)


def test_states_start_apart_in_decay_and_equal_in_phase() -> None:
    spec = replace(DEFINITION.preset("tiny"), state_count=3)
    parameters = dict(PamLanguageModel(spec).named_parameters())
    assert parameters["blocks.0.pam.state_dt_offset"].tolist() == [-2.0, 0.0, 2.0]
    assert not parameters["blocks.1.pam.phase_proj.weight"].any()
    one = dict(PamLanguageModel(replace(spec, state_count=1)).named_parameters())
    assert all(torch.equal(value, parameters[name]) for name, value in one.items())


def test_only_layers_with_a_state_take_several() -> None:
    with pytest.raises(SpecError, match="transformer state_count is 3; it must be 1"):
        definition("transformer").check(replace(definition("transformer").preset("tiny"), state_count=3))


def test_a_match_gives_the_twin_as_many_states_and_the_transformer_none() -> None:
    reference = DEFINITION.preset("100m-k3")
    arms = match(
        reference,
        ("transformer", "real_pam", "pam"),
        axis="parameters",
        sequence_length=2048,
        dtype=Dtype.BFLOAT16,
        preset="100m-k3",
    )
    assert [arm.spec.state_count for arm in arms] == [1, 3, 3]
    assert all(abs(residual.residual) <= 0.01 for arm in arms for residual in arm.residuals[:1])
