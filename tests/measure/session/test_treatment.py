"""What a run records of an arm's treatment: seen on the built step, asked of the layer, and without Triton on a CPU."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from pamprof.measure.flops.counter import count_flops
from pamprof.measure.session.treatment import kernel_notes, kernel_shares, logits_width
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.base import KernelNotes
from pamprof.workloads.registry import definition

CPU = torch.device("cpu")


def workload(implementation: str, phase: Phase = Phase.TRAIN) -> Workload:
    return Workload(
        spec=definition("pam").preset("tiny"),
        implementation=implementation,
        execution=Execution.EAGER,
        phase=phase,
        scope=Scope.MODEL,
        batch_size=2,
        sequence_length=300,
        dtype=Dtype.FLOAT32,
    )


@pytest.mark.parametrize("layer", ["transformer", "pam", "real_pam", "llama"])
def test_logits_width_is_that_of_the_logits_a_step_computes(layer):
    found = definition(layer)
    spec = replace(found.preset("tiny"), vocabulary_size=1001)
    model = found.build(
        spec, implementation=found.implementations[0], scope=Scope.MODEL, device=torch.device("meta"), seed=0
    )
    assert logits_width(model) == 1024


def test_a_block_alone_has_no_logits():
    found = definition("transformer")
    block = found.build(found.preset("tiny"), implementation="sdpa", scope=Scope.LAYER, device=CPU, seed=0)
    assert logits_width(block) is None


def test_attention_operators_name_what_torch_chose_each_once():
    q = torch.randn(1, 2, 8, 16)

    def step():
        for _ in range(2):
            torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    assert count_flops(step).attention_operators == ("aten::_scaled_dot_product_flash_attention_for_cpu",)
    assert count_flops(lambda: q @ q.mT).attention_operators == ()


def test_an_implementation_without_kernels_has_nothing_to_note_and_loads_no_triton():
    program = (
        "import sys, torch; from pamprof.measure.session.treatment import kernel_notes; "
        "from tests.measure.session.test_treatment import workload; "
        "notes = [kernel_notes(workload(name), torch.device('cpu')) for name in ('planar', 'fused')]; "
        "assert all(note.configurations == note.refused == () for note in notes), notes; "
        "assert 'pamprof.workloads.kernels.core.notes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (
        kernel_notes(replace(workload("planar"), spec=definition("transformer").preset("tiny")), CPU) == KernelNotes()
    )


def test_shares_of_a_profile_that_failed_are_none():
    assert kernel_shares("no profiler") == ()


class TestCoreNotes:
    """The core's own notes, with comparisons as a GPU's process would have made them."""

    @pytest.fixture
    def core_notes(self):
        return pytest.importorskip("pamprof.workloads.kernels.core.notes")

    def result(self, configuration, fault=None):
        from pamprof.workloads.kernels.core.check import CheckResult

        return CheckResult(configuration=configuration, errors=(("output", 2e-6), ("q gradient", 4e-6)), fault=fault)

    def noted(self, core_notes, monkeypatch, results, phase=Phase.TRAIN):
        monkeypatch.setattr(core_notes, "check_results", lambda: tuple(results))
        monkeypatch.setattr(core_notes, "configuration_for", lambda shape, device: self.wanted(core_notes))
        return core_notes.core_notes(workload("fused", phase), torch.device("cuda"))

    def wanted(self, core_notes):
        from pamprof.workloads.kernels.core.configuration import CoreShape, choose_configuration

        shape = CoreShape(batch_size=2, length=300, heads=3, head_dim=16, dtype=torch.float32, differentiates=True)
        return choose_configuration(shape)

    def test_the_configuration_that_was_found_exact_is_named_with_its_error(self, core_notes, monkeypatch):
        wanted = self.wanted(core_notes)
        notes = self.noted(core_notes, monkeypatch, [self.result(wanted)])
        (line,) = notes.configurations
        assert line.startswith(f"core: chunk {wanted.chunk}, ")
        assert f"{wanted.forward_segments(300)} segments forward" in line
        assert "4.0e-06" in line
        assert notes.refused == ()

    def test_a_refused_one_is_listed_and_its_substitute_named(self, core_notes, monkeypatch):
        wanted = self.wanted(core_notes)
        other = replace(wanted, output_warps=8, output_stages=2, state_warps=8, state_stages=2, gradient_warps=8,
                        gradient_stages=2)  # fmt: skip
        results = [self.result(wanted, "output is off by 1.0e+00"), self.result(other)]
        notes = self.noted(core_notes, monkeypatch, results)
        assert "output warps 8" in notes.configurations[0]
        assert notes.refused == (f"core: {wanted.described()}: output is off by 1.0e+00",)

    def test_what_was_never_compared_is_not_claimed(self, core_notes, monkeypatch):
        assert self.noted(core_notes, monkeypatch, []) == KernelNotes()

    def test_decode_runs_no_core(self, core_notes, monkeypatch):
        assert (
            self.noted(core_notes, monkeypatch, [self.result(self.wanted(core_notes))], Phase.DECODE) == KernelNotes()
        )
