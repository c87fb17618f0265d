"""Norm, activations, gate unit and linear map of every implementation against the golden arrays and each other."""

from __future__ import annotations

import pytest
import torch

from pamprof.workloads.layers.pam.complex import stages as complex_ops
from pamprof.workloads.layers.pam.complex.block import Form, PamLayer, projections
from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters
from pamprof.workloads.layers.pam.planar.products import ComplexProduct, FourProducts, ThreeProducts
from pamprof.workloads.layers.pam.planar.stages import plane_gate, plane_norm
from pamprof.workloads.layers.pam.published import block as pam_published
from pamprof.workloads.layers.pam.recurrence import log_chunked_pam
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write
from pamprof.workloads.layers.recurrent.parameters import DecayParameters
from tests.workloads.golden import golden, planes

EXACT = {"rtol": 0.0, "atol": 1e-10}


def test_norms_equal_the_golden_arrays() -> None:
    arrays = golden("complexnorm")
    z, scale, y = arrays["x"], arrays["w.scale"], arrays["y"]
    torch.testing.assert_close(complex_ops.complex_norm(z, scale), y, **EXACT)
    torch.testing.assert_close(plane_norm(planes(z), scale), planes(y), **EXACT)
    pairs = pam_published.norm(torch.view_as_real(z), scale)
    torch.testing.assert_close(torch.view_as_complex(pairs), y, **EXACT)


@pytest.mark.parametrize("name", ["modrelu", "modswish"])
def test_activations_equal_the_golden_arrays(name: str) -> None:
    arrays = golden(name)
    found = complex_ops.activate(arrays["x"], arrays["w.bias"], arrays.get("w.beta"))
    torch.testing.assert_close(found, arrays["y"], **EXACT)


@pytest.mark.parametrize("product", [FourProducts(), ThreeProducts()])
def test_linear_maps_equal_the_golden_arrays(product: ComplexProduct) -> None:
    arrays = golden("complexlinear")
    x, y = arrays["x"], arrays["y"]
    real, imag = arrays["w.weight_real"], arrays["w.weight_imag"]
    bias = arrays["w.bias_real"], arrays["w.bias_imag"]
    torch.testing.assert_close(complex_ops.complex_linear(x, real, imag, *bias), y, **EXACT)
    fused = product.fuse(real, imag)
    torch.testing.assert_close(product.apply(planes(x), fused) + torch.stack(bias), planes(y), **EXACT)
    with torch.no_grad():
        one = product.apply(planes(x[:, :1]), fused) + torch.stack(bias)
    torch.testing.assert_close(one, planes(y[:, :1]), **EXACT)
    assert torch.equal(product.parts(fused)[0], real)
    assert torch.equal(product.parts(fused)[1], imag)


def test_gate_units_and_their_gradients_equal_the_golden_arrays() -> None:
    arrays = golden("cgu_modswish")
    weights = {key.removeprefix("w."): value.clone() for key, value in arrays.items() if key.startswith("w.")}

    def check(output: torch.Tensor, leaves: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        torch.testing.assert_close(output, arrays["y"], **EXACT)
        objective = (output.real * arrays["dy"].real + output.imag * arrays["dy"].imag).sum()
        found = torch.autograd.grad(objective, [x, *leaves.values()])
        torch.testing.assert_close(found[0], arrays["gx"], **EXACT)
        for key, gradient in zip(leaves, found[1:], strict=True):
            torch.testing.assert_close(gradient, arrays[f"g.{key}"], **EXACT)

    def leaves_of() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return {k: w.clone().requires_grad_(True) for k, w in weights.items()}, arrays["x"].clone().requires_grad_(True)

    leaves, x = leaves_of()

    def linear(z: torch.Tensor, name: str) -> torch.Tensor:
        return complex_ops.complex_linear(z, leaves[f"{name}.weight_real"], leaves[f"{name}.weight_imag"])

    raised = complex_ops.activate(linear(x, "up_proj"), leaves["act.bias"], leaves["act.beta"])
    check(linear(complex_ops.gate(linear(x, "gate_proj"), raised), "down_proj"), leaves, x)

    leaves, x = leaves_of()
    product = FourProducts()

    def fused(*names: str) -> torch.Tensor:
        return product.fuse(
            torch.cat([leaves[f"{n}.weight_real"] for n in names]),
            torch.cat([leaves[f"{n}.weight_imag"] for n in names]),
        )

    gate_up = product.apply(planes(x), fused("gate_proj", "up_proj")).unflatten(-1, (2, -1))
    gated = plane_gate(gate_up, leaves["act.bias"], leaves["act.beta"])
    output = product.apply(gated, fused("down_proj"))
    check(torch.complex(*output.unbind(-2)), leaves, x)


@pytest.mark.parametrize("beta", [True, False])
def test_hand_written_backward_of_norm_and_gate_passes_gradcheck(beta: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_(True)

    assert torch.autograd.gradcheck(plane_norm, (leaf(2, 3, 2, 5), leaf(5)))
    slope = leaf(5) if beta else None
    assert torch.autograd.gradcheck(lambda *x: plane_gate(*x, slope) if not beta else plane_gate(*x), (
        leaf(2, 3, 2, 2, 5), leaf(5), *((slope,) if slope is not None else ())))  # fmt: skip


@pytest.mark.parametrize("form", ["recurrent", "dual", "chunked"])
def test_whole_layer_equals_the_golden_arrays_in_every_form(form: Form) -> None:
    arrays = golden("pam_layer_T50")
    state_dict = {key.removeprefix("w."): value for key, value in arrays.items() if key.startswith("w.")}
    layer = PamLayer.from_qllm2_state_dict(state_dict, form=form)
    assert (layer.heads, layer.head_dim) == (int(arrays["n_heads"]), int(arrays["head_dim"]))
    with torch.no_grad():
        y, state = layer(arrays["x"])
    for found, key in ((y, "y_recurrent"), (state, "S_recurrent")):
        # The published angles are float32; with those very angles the next test finds no difference at all.
        assert (found - arrays[key]).norm() / arrays[key].norm() < 1e-6


def test_whole_layer_with_the_published_angles_is_exact() -> None:
    arrays = golden("pam_layer_T50")
    state_dict = {key.removeprefix("w."): value for key, value in arrays.items() if key.startswith("w.")}
    layer = PamLayer.from_qllm2_state_dict(state_dict)
    with torch.no_grad():
        q, k, v, log_decay, _ = projections(layer, arrays["x"], arrays["rope"], layer.heads)
        y, state = log_chunked_pam(q, k, v, log_decay, chunk_size=16)
        y = complex_ops.complex_linear(y.transpose(1, 2).flatten(2), layer.o_proj.weight_real, layer.o_proj.weight_imag)
    torch.testing.assert_close(y, arrays["y_recurrent"], rtol=0, atol=1e-12)
    torch.testing.assert_close(state, arrays["S_recurrent"], rtol=0, atol=1e-12)


def test_decay_stays_finite_and_exact_where_a_product_would_underflow() -> None:
    decay = DecayParameters(preset("pam", "tiny"), row_width=96).double()
    with torch.no_grad():
        for parameter in decay.parameters():
            parameter.zero_()
        decay.dt_bias.copy_(torch.tensor([-800.0, 0.0, 800.0]))
        decay.protect_gate.bias.copy_(torch.tensor([0.0, 40.0, -900.0]))
    row, size = torch.zeros(1, 1, 96, dtype=torch.float64), torch.zeros(1, 1, 48, dtype=torch.float64)
    log_decay, write = log_decay_and_write(decay, row, size)
    assert log_decay[0, 0].tolist() == pytest.approx([0.0, 0.0, -800.0], abs=1e-12)
    assert write[0, 0].tolist() == pytest.approx([0.5, 0.0, 1.0], abs=1e-12)


def test_published_linear_map_is_the_complex_one() -> None:
    maps = ComplexLinearParameters(4, 3, bias=True).double()
    for parameter in maps.parameters():
        torch.nn.init.normal_(parameter)
    z = torch.randn(2, 5, 4, dtype=torch.complex128)
    expected = complex_ops.complex_linear(z, maps.weight_real, maps.weight_imag, maps.bias_real, maps.bias_imag)
    found = torch.view_as_complex(pam_published.linear(torch.view_as_real(z), maps))
    torch.testing.assert_close(found, expected)
