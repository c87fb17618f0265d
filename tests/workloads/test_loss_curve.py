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
    assert "The ladder: what stands between the reference and the subject" in text
    assert "from __future__" not in text


def test_batches_repeat_and_targets_follow_inputs(loss_curve):
    text = bytes(range(256)) * 4
    data = loss_curve.batches(text, steps=3, batch_size=2, length=10)
    assert data.shape == (3, 2, 11)
    assert torch.equal(data, loss_curve.batches(text, steps=3, batch_size=2, length=10))
    assert torch.equal(data[..., 1:], (data[..., :-1] + 1) % 256)


STEPS = 40
PLAIN = (2.0,) * STEPS
ROUNDED = tuple(2.0 + 1e-5 * 1.2**step for step in range(STEPS))  # beyond 1e-3 from step 26 on, 0.0018 on average
SEED = (2.1,) * STEPS


@pytest.mark.parametrize(
    ("candidate", "is_indistinguishable"),
    [
        (PLAIN, True),
        (tuple(2.0 - 1.5e-5 * 1.2**step for step in range(STEPS)), True),
        (tuple(2.0 - 3e-5 * 1.2**step for step in range(STEPS)), False),  # three times as far on average
        ((*PLAIN[:12], 2.0011, *PLAIN[13:]), False),  # one step apart too early
        ((*PLAIN[:14], 2.0011, *PLAIN[15:]), True),
        (tuple(2.0 + 9e-3 for _ in range(STEPS)), False),
        ((*PLAIN[:39], float("nan")), False),
    ],
)
def test_a_candidate_may_drift_away_about_as_fast_as_rounding_does(loss_curve, candidate, is_indistinguishable):
    found = loss_curve.judged("fused", Dtype.FLOAT32, (candidate, PLAIN, ROUNDED, SEED))
    assert found.rounding.onset_step == 26
    assert found.indistinguishable is is_indistinguishable


def test_no_candidate_may_be_farther_away_than_another_seed(loss_curve):
    curves = (tuple(loss + 2e-4 for loss in PLAIN), PLAIN, ROUNDED, tuple(loss + 1e-4 for loss in PLAIN))
    assert not loss_curve.judged("fused", Dtype.FLOAT32, curves).indistinguishable


def test_a_learning_rate_off_by_two_percent_is_told_apart(loss_curve, small, monkeypatch):
    device, data = torch.device("cpu"), loss_curve.batches(bytes(range(256)) * 9, steps=40, batch_size=2, length=64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        right = loss_curve.compared("planar", data, spec=small, dtype=Dtype.FLOAT32, device=device)
        monkeypatch.setattr(loss_curve, "LEARNING_RATE", 1.02 * loss_curve.LEARNING_RATE)
        wrong = loss_curve.losses("planar", data, spec=small, dtype=Dtype.FLOAT32, seed=0, device=device)
    finally:
        torch.set_num_threads(threads)
    assert right.indistinguishable
    assert right.rounding.mean > 0
    curves = (wrong, right.plain_losses, right.other_rounding_losses, right.other_seed_losses)
    assert not loss_curve.judged("planar", Dtype.FLOAT32, curves).indistinguishable


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
    assert outcome["difference"] == {"largest": 0.0, "mean": 0.0, "onset_step": 40}
    assert outcome["scale"]["largest"] > 0
    assert outcome["plain_losses"][-1] < outcome["plain_losses"][0] - 0.1
    rows = list(csv.DictReader((tmp_path / "loss-curve.csv").read_text().splitlines()))
    assert [float(row["planar_loss_nats"]) for row in rows] == outcome["plain_losses"]
    assert (tmp_path / "loss-curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_candidate_that_cannot_run_ends_with_its_reason(loss_curve, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert loss_curve.main(["--steps", "2", "--length", "64", "--output-dir", str(tmp_path)], small) == 1
    assert "needs a CUDA device" in capsys.readouterr().err
