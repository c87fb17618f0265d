"""Two ranks compute what one device does: losses, gradients, logits, states; what cannot be shared is refused."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import pamprof
from pamprof.records import Dtype, Scope
from pamprof.workloads.base import TensorSplit
from pamprof.workloads.parallel.tensor_parallel import keep_own_part, own_part, rank_spec, split_refusal
from pamprof.workloads.registry import definition
from tests.workloads.interpreted import measured

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
LARGEST = {"loss": 1e-12, "norm": 1e-12, "gradient": 1e-12, "logits": 1e-5}


@pytest.fixture(scope="module")
def differences():
    """Of one launch of two ranks, in a process of its own: ranks are forked, and this one has threads."""
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    command = [sys.executable, "-W", "ignore", "-m", "tests.workloads.ranks_cases"]
    environment = {**os.environ, "PYTHONPATH": repository, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository, env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout)


class TestTwoRanksAgainstOneDevice:
    @pytest.mark.parametrize("parallel", ["ddp", "fsdp", "tp"])
    def test_losses_gradients_and_their_norm_are_equal_in_float64(self, differences, parallel):
        chosen = {name: value for name, value in differences.items() if f" train {parallel}" in name}
        assert {name.split()[0] for name in chosen} >= {"pam", "transformer"}
        assert not {name: value for name, value in chosen.items() if not value <= LARGEST[name.split()[-1]]}

    @pytest.mark.parametrize("phase", ["prefill", "decode"])
    def test_logits_are_equal_and_each_rank_holds_half_of_every_state_and_cache(self, differences, phase):
        chosen = {name: value for name, value in differences.items() if f" {phase} " in name}
        assert {name.split()[0] for name in chosen} == {"pam", "real_pam", "transformer", "llama"}
        assert {value for name, value in chosen.items() if name.endswith(" state")} == {0.5}
        assert not {name: value for name, value in chosen.items() if name.endswith("logits") and not value <= 1e-5}

    @needs_triton
    @pytest.mark.sweep  # a minute and a half in the interpreter
    def test_the_fused_kernels_agree_under_all_three(self):
        found = measured("tests.workloads.fused_ranks_cases")
        assert {name.split()[3] for name in found if " train " in name} == {"ddp", "fsdp", "tp"}
        assert not {name: value for name, value in found.items() if not (value <= 1e-5 or name.endswith(" state"))}


class TestParts:
    def test_rows_of_joint_maps_are_divided_section_by_section(self):
        split = TensorSplit(rows={"query_key_value": (2, 1, 1)}, columns=("down",))
        rows = torch.arange(8)[:, None]
        assert own_part("query_key_value.weight", rows, split, rank=0, ranks=2).flatten().tolist() == [0, 1, 4, 6]
        assert own_part("query_key_value.weight", rows, split, rank=1, ranks=2).flatten().tolist() == [2, 3, 5, 7]

    def test_of_an_output_map_each_rank_has_columns_and_all_have_the_bias(self):
        split = TensorSplit(rows={}, columns=("down",))
        assert own_part("down.weight", torch.arange(6).view(1, 6), split, rank=1, ranks=2).tolist() == [[3, 4, 5]]
        assert own_part("down.bias", torch.arange(6), split, rank=1, ranks=2) is None
        assert own_part("norm.weight", torch.arange(6), split, rank=1, ranks=2) is None

    def test_of_inner_channels_that_do_not_divide_the_first_rank_has_one_more(self):
        spec = replace(definition("pam").preset("tiny"), heads=4, hidden_dim=7)
        assert [rank_spec(spec, 2, rank).hidden_dim for rank in (0, 1)] == [4, 3]
        assert rank_spec(spec, 2, 1).heads == 2


class TestEightRanks:
    """Without processes: what one of eight keeps of the 1b models, built without data."""

    @pytest.mark.parametrize(
        ("layer", "whole"),
        [
            ("pam", 24 * 16 * 72 * 2 * 72 * 4),  # blocks, heads, complex 72 x 72 in float32
            ("llama", 16 * 2 * 8 * 1024 * 64 * 2),  # blocks, keys and values, heads of them, tokens, width in bfloat16
        ],
    )
    def test_a_rank_holds_an_eighth_of_state_or_cache_to_the_byte(self, layer, whole):
        known = definition(layer)
        spec, implementation = known.preset("1b"), "planar" if layer == "pam" else "sdpa"
        meta = torch.device("meta")
        group = SimpleNamespace(size=lambda: 8)
        found = []
        for ranks in (1, 8):
            model = known.build(spec, implementation=implementation, scope=Scope.MODEL, device=meta, seed=0)
            if ranks > 1:
                divided = keep_own_part(model, known, spec, rank=3, group=group)
                assert len(divided) >= 4 * spec.depth
            model.prepare_inference(Dtype.BFLOAT16)
            found.append(model.new_state(1, 1024).byte_count())
        assert found == [whole, whole // 8]


class TestRefusals:
    def test_the_six_heads_of_100m_are_not_shared_by_four_ranks(self):
        refusal = split_refusal(definition("pam"), definition("pam").preset("100m"), 4)
        assert refusal == "pam has 6 heads, which 4 ranks cannot share equally; 2 or 3 or 6 ranks can"
        assert split_refusal(definition("pam"), definition("pam").preset("100m"), 2) is None

    def test_shared_keys_and_values_must_divide_too(self):
        refusal = split_refusal(definition("llama"), definition("llama").preset("100m"), 2)
        assert refusal == "llama has 3 key and value heads, which 2 ranks cannot share equally; 3 ranks can"

    def test_dropout_is_not_shared(self):
        spec = replace(definition("pam").preset("100m"), dropout=0.1)
        assert "--dropout 0" in (split_refusal(definition("pam"), spec, 2) or "")
