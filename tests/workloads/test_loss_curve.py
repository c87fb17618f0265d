"""The benchmark that compares loss curves: its text, its batches, its rule, and a whole run of plain against plain."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pamprof.records import Dtype

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "loss_curve.py"


@pytest.fixture(scope="module")
def loss_curve():
    found = importlib.util.spec_from_file_location("loss_curve", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["loss_curve"] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules["loss_curve"]


@pytest.fixture
def small(loss_curve):
    return replace(loss_curve.SPEC, model_dim=32, heads=2, head_dim=16, depth=2, hidden_dim=64, chunk_size=32)


def test_text_is_the_readme_and_docstrings(loss_curve):
    text = loss_curve.documentation(SCRIPT.parent.parent).decode()
    assert text.startswith("# pamprof")
    assert "The ladder: what stands between the transformer and PAM" in text
    assert "from __future__" not in text


def test_batches_repeat_and_targets_follow_inputs(loss_curve):
    text = bytes(range(256)) * 4
    data = loss_curve.batches(text, steps=3, batch_size=2, length=10)
    assert data.shape == (3, 2, 11)
    assert torch.equal(data, loss_curve.batches(text, steps=3, batch_size=2, length=10))
    assert torch.equal(data[..., 1:], (data[..., :-1] + 1) % 256)


def test_a_curve_as_far_away_as_another_seed_is_distinguishable_beyond_it(loss_curve):
    plain, other = (3.0, 2.0, 1.0), (3.1, 2.2, 1.1)

    def verdict(candidate):
        return loss_curve.judged("fused", Dtype.FLOAT32, (candidate, plain, other)).indistinguishable

    assert verdict((3.0, 2.0, 1.01))
    assert not verdict((3.0, 2.3, 1.0))  # one step too far
    assert not verdict((3.15, 2.15, 1.15))  # each step near enough, all together not
    assert not verdict((3.0, float("nan"), 1.0))


def test_plain_against_plain_learns_writes_and_passes(loss_curve, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        arguments = ["--candidate", "planar", "--steps", "40", "--batch-size", "2", "--length", "64"]
        status = loss_curve.main([*arguments, "--dtypes", "float32", "--output-dir", str(tmp_path)], small)
    finally:
        torch.set_num_threads(threads)
    assert status == 0
    assert "float32: planar ends at" in capsys.readouterr().out
    (outcome,) = json.loads((tmp_path / "loss-curve.json").read_text())["outcomes"]
    assert outcome["difference"] == {"largest": 0.0, "mean": 0.0}
    assert outcome["scale"]["largest"] > 0
    assert outcome["plain_losses"][-1] < outcome["plain_losses"][0] - 0.1
    rows = list(csv.DictReader((tmp_path / "loss-curve.csv").open()))
    assert [float(row["planar_loss_nats"]) for row in rows] == outcome["plain_losses"]
    assert (tmp_path / "loss-curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_candidate_that_cannot_run_ends_with_its_reason(loss_curve, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert loss_curve.main(["--steps", "2", "--length", "64", "--output-dir", str(tmp_path)], small) == 1
    assert "needs a CUDA device" in capsys.readouterr().err
