"""The fused decode step on a CUDA device: what one block before an oracle cannot show, and kernels that overlap."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from pamprof.records import Dtype
from pamprof.workloads.kernels.availability import unavailable_reason
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.recurrent.oracle import excite

if TYPE_CHECKING:
    from pamprof.workloads.layers.recurrent.model import RecurrentState

CUDA = torch.device("cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or importlib.util.find_spec("triton") is None or bool(unavailable_reason(CUDA)),
        reason="no CUDA device for these kernels",
    ),
]


def model(preset: str, implementation: str, dtype: Dtype, depth: int) -> PamLanguageModel:
    """Lively parameters, rounded to bfloat16 for every implementation."""
    spec = replace(DEFINITION.preset(preset), depth=depth, vocabulary_size=512, dropout=0.0)
    made = PamLanguageModel(spec, implementation=implementation, seed=0)
    excite(made, torch.Generator().manual_seed(1))
    for parameter in made.parameters():
        parameter.data = parameter.data.bfloat16().float()
    made.to(CUDA).eval()
    made.prepare_inference(dtype)
    return made


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("preset", ["100m", "1b"])
@torch.no_grad()
def test_two_blocks_and_their_head_are_the_planar_ones_in_every_form_of_a_step(preset):
    from pamprof.workloads.layers.pam.fused.decode import step_batch_sizes

    fused, planar = (model(preset, *kind, 2) for kind in (("fused", Dtype.BFLOAT16), ("planar", Dtype.FLOAT32)))
    for size in step_batch_sizes(fused.spec, torch.bfloat16, CUDA):
        ids = torch.randint(0, 512, (size,), device=CUDA, generator=torch.Generator(CUDA).manual_seed(size))
        states = [each.new_state(size, 16) for each in (fused, planar)]
        for state in states:
            state.randomise(torch.Generator(CUDA).manual_seed(3))
        found, expected = (each.decode(ids, state, 9) for each, state in zip((fused, planar), states, strict=True))
        errors = [difference(found, expected)]
        errors += [difference(*pair) for pair in zip(states[0].tensors, states[1].tensors, strict=True)]
        assert max(errors) < 3e-2, (size, errors)


@pytest.mark.parametrize("batch_size", [1, 3, 16, 22])
@torch.no_grad()
def test_a_state_read_ahead_is_the_one_that_was_written(batch_size):
    """Hundreds of replayed steps that overlap as they may, bit for bit those in which every kernel waits."""
    from pamprof.workloads.layers.pam.fused import block as pam_fused

    fused = model("100m", "fused", Dtype.BFLOAT16, 4)
    ids = torch.arange(batch_size, device=CUDA)
    ends: list[tuple[Tensor, RecurrentState]] = []
    memory_step = pam_fused.memory_step

    def waiting(*given: Any) -> Tensor:
        *others, ahead, offset = given
        assert ahead  # else both are the same
        return memory_step(*others, False, offset)

    for step in (memory_step, waiting):
        with mock.patch.object(pam_fused, "memory_step", step):
            state = fused.new_state(batch_size, 16)
            fused.decode(ids, state, 9)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits = fused.decode(ids, state, 9)
            state.randomise(torch.Generator(CUDA).manual_seed(3))
            for _ in range(500):
                graph.replay()
            torch.cuda.synchronize()
            ends.append((logits, state))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][0].isfinite().all()
    for ahead, waited in zip(ends[0][1].tensors, ends[1][1].tensors, strict=True):
        assert torch.equal(ahead, waited)


@torch.no_grad()
def test_thousands_of_tokens_leave_of_a_state_what_its_decays_say():
    from pamprof.workloads.kernels.decode.recurrence import memory_step

    steps = torch.tensor([-16.0, -12.0, -9.0, -7.0, -5.0, -3.0], device=CUDA)
    gates = torch.tensor([4.0, -3.0, 2.0, 0.0, 1.0, 3.0], device=CUDA)
    logits = torch.stack((steps, gates))[:, None, :, None].contiguous()
    state, table = torch.ones(1, 6, 64, 128, device=CUDA), torch.ones(1, 64, device=CUDA)
    nothing = torch.zeros(1, 1, 2, 3 * 6 * 64, device=CUDA)
    tokens = 8192
    for _ in range(tokens):
        memory_step(nothing, logits, table, table, state)
    lost = torch.sigmoid(steps.double()) * torch.sigmoid(-gates.double())
    expected = torch.exp(tokens * torch.log1p(-lost))
    kept = expected > 1e-3
    assert kept.sum() >= 3
    error = (state.double()[0].mean((1, 2)) / expected - 1).abs()[kept]
    # A decay is off by 2^-25 at most and a product with it as much, each the same way at worst.
    assert float(error.max()) < tokens * 2**-24
