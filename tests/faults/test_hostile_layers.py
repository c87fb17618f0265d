"""Layers of other people that misbehave cost their own arm; the good one beside them keeps its number."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from pamprof.analysis.comparison.doubts import doubts_of
from pamprof.analysis.comparison.results import DoubtKind
from pamprof.errors import LayerError, UsageError
from pamprof.measure.session.answering import Pipe
from pamprof.measure.session.arm import checks as arm_checks, memory as arm_memory, runner as arm_runner
from pamprof.measure.session.layer_fault import LONGEST_TRACEBACK, fault_traceback
from pamprof.measure.session.matched_arms import planned_arms
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.torch_state import torch_state
from pamprof.measure.session.wire import GroupRequest, decode_event
from pamprof.measure.session.worker import GroupWorker
from pamprof.records import Dtype, Execution, Phase, Scope, SkipKind, Workload
from pamprof.records.codec import decode, encode
from pamprof.records.store import read_records
from pamprof.workloads import registry, steps
from pamprof.workloads.layers.transformer.definition import TransformerDefinition
from tests.faults import hostile_layers
from tests.faults.hostile_layers import GROWING_ROWS, LAYERS
from tests.synthetic import synthetic_session

QUICK = Settings(
    time_limit_seconds=0.02, sample_seconds=1e-4, monitor_seconds=0.0, longest_warm_up_seconds=0.02, maximum_samples=12
)


def register(patch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name=name, value=f"tests.faults.hostile_layers:{name}", group=registry.ENTRY_POINT_GROUP)
        for name in (*LAYERS, "no_import")
    ]
    patch.setattr(registry, "entry_points", lambda *, group: [point for point in points if point.group == group])


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        registry._load.cache_clear()
        yield
    registry._load.cache_clear()


def workload(layer, execution=Execution.EAGER):
    return Workload(
        spec=replace(registry.definition(layer).preset("tiny"), depth=1),
        implementation="sdpa",
        execution=execution,
        phase=Phase.DECODE,
        scope=Scope.MODEL,
        batch_size=2,
        sequence_length=8,
        dtype=Dtype.FLOAT32,
    )


def outcomes(*workloads, settings=QUICK):
    """What a worker reports of each, by layer."""
    read_end, write_end = os.pipe()
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=workloads, done=(),
        settings=settings, ceilings=False,
    )  # fmt: skip
    lines = []
    with os.fdopen(read_end, "rb") as stream:
        reader = threading.Thread(target=lambda: lines.extend(stream.readlines()))
        reader.start()
        GroupWorker().run_group(request, Pipe(write_end))
        os.close(write_end)
        reader.join()
    return {
        record.workload.spec.layer: record for line in lines if decode_event(line) is None for record in [decode(line)]
    }


EAGER = (
    "raises", "prints", "exits", "no_number", "wrong_shape", "returns_list", "default_dtype", "threads", "gradients",
    "fills_list", "claims", "exaggerates",
)  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    state = torch_state()
    found = outcomes(workload("transformer"), *(workload(name) for name in EAGER))
    assert torch_state() == state
    return found


@pytest.fixture(scope="module")
def compiled():
    """Compiled arms, without the time of a real back end."""

    def compile_blocks(model):
        torch._dynamo.config.recompile_limit = 512
        for block in model.blocks:
            block.compile(dynamic=False, backend="eager")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "compile_regions", compile_blocks)
        yield outcomes(
            *(workload(name, Execution.COMPILED) for name in ("transformer", "recompiles", "breaks")),
            settings=replace(QUICK, maximum_samples=5),
        )
    torch._dynamo.reset()


def line_of(mark):
    source = inspect.getsource(hostile_layers).splitlines()
    return next(number for number, line in enumerate(source, start=1) if mark in line)


def doubts(run):
    return {doubt.kind: doubt.observation for doubt in doubts_of(run, kernel_busy_ratio=None)}


def test_the_good_layer_keeps_its_number_beside_all_others(measured):
    good = measured["transformer"]
    assert len(good.timing.wall_time_seconds) >= 5
    assert good.refused_claims == ()
    assert good.timing.grown_bytes == 0
    # Times of a busy machine may rise by chance; what is held may not.
    assert "more after" not in doubts(good).get(DoubtKind.GROWS, "")
    assert not {DoubtKind.CLOSED_FORM, DoubtKind.RECOMPILED} & set(doubts(good))
    assert set(measured) == {"transformer", *EAGER}


@pytest.mark.parametrize(
    ("layer", "kind", "words"),
    [
        ("raises", SkipKind.CRASHED, "raises sdpa: ValueError: the state is lost, say it twice (tests/faults/hostile"),
        ("exits", SkipKind.CRASHED, "exits sdpa: SystemExit: 3 (tests/faults/hostile_layers.py, line "),
        ("no_number", SkipKind.INCORRECT, "no_number sdpa returns NaN from a step of decode"),
        (
            "wrong_shape",
            SkipKind.INCORRECT,
            "wrong_shape sdpa returns shape [2, 7] from a step of decode, not [2, 2048]",
        ),
        ("returns_list", SkipKind.INCORRECT, "returns_list sdpa returns list from a step of decode, not a tensor"),
        ("default_dtype", SkipKind.UNSUPPORTED, "changed the default dtype from torch.float32 to torch.float64"),
        ("threads", SkipKind.UNSUPPORTED, "changed the number of threads from "),
    ],
)
def test_what_a_layer_does_wrong_costs_its_arm_and_is_said_in_one_sentence(measured, layer, kind, words):
    skip = measured[layer]
    assert skip.kind is kind
    assert words in skip.reason
    assert "\n" not in skip.reason


def test_a_skip_names_the_line_and_keeps_the_whole_traceback(measured):
    skip = measured["raises"]
    assert skip.reason.endswith(f"hostile_layers.py, line {line_of('# THE LINE')})")
    assert skip.traceback.startswith("Traceback (most recent call last)")
    assert "in _decode" in skip.traceback
    assert skip.traceback.rstrip().endswith("ValueError: the state is lost,\nsay it twice")


def test_a_long_traceback_keeps_its_beginning_and_its_end():
    try:
        raise ValueError("x" * 50_000 + " the end")
    except ValueError as error:
        text = fault_traceback(error)
    assert len(text) <= LONGEST_TRACEBACK
    assert text.startswith("Traceback")
    assert text.endswith("the end\n")


@pytest.mark.parametrize("layer", ["prints", "gradients"])
def test_what_harms_no_one_is_measured(measured, layer):
    assert len(measured[layer].timing.wall_time_seconds) >= 5


def test_a_list_that_every_step_appends_to_is_said_and_is_no_parameter(measured):
    run, good = measured["fills_list"], measured["transformer"]
    assert run.timing.grown_bytes >= len(run.timing.wall_time_seconds) * GROWING_ROWS * 4
    assert run.timing.grown_bytes % (GROWING_ROWS * 4) == 0
    assert "more after" in doubts(run)[DoubtKind.GROWS]
    assert run.parameter_count == good.parameter_count
    assert run.memory.parameter_bytes == good.memory.parameter_bytes
    assert run.memory.state_bytes > good.memory.state_bytes


def test_a_closed_form_that_is_no_count_costs_that_claim(measured):
    run, good = measured["claims"], measured["transformer"]
    assert run.parameter_count == good.parameter_count
    assert run.flops.closed_form_matrix_flop_count is None
    assert run.flops.matrix_flop_count == good.flops.matrix_flop_count
    claims = {claim.quantity: (claim.claimed, claim.counted) for claim in run.refused_claims}
    assert claims == {
        "parameter_count": ("-5, less than 1", good.parameter_count),
        "matrix_flop_count": ("ZeroDivisionError: no formula yet", good.flops.matrix_flop_count),
        "state_byte_count": (f"{good.memory.state_bytes + 0.5}, not a whole number", good.memory.state_bytes),
    }
    said = [doubt.observation for doubt in doubts_of(run, kernel_busy_ratio=None)]
    assert f"the layer's formula for parameters gives -5, less than 1; counted were {good.parameter_count}" in said


def test_a_closed_form_that_the_count_contradicts_gives_way_and_both_are_said(measured):
    run, good = measured["exaggerates"], measured["transformer"]
    assert run.parameter_count == good.parameter_count
    assert doubts(run)[DoubtKind.CLOSED_FORM] == (
        f"the layer's formula for parameters gives {2 * good.parameter_count}; counted were {good.parameter_count}"
    )


def test_samples_that_hold_the_compiler_are_marked(compiled):
    run = compiled["recompiles"]
    count = len(run.timing.wall_time_seconds)
    assert run.timing.recompiled_samples == tuple(range(count))
    assert run.timing.reference_recompiled_samples == ()
    assert run.timing.recompilation_count >= count
    assert f"inside {count} of {count} samples" in doubts(run)[DoubtKind.RECOMPILED]
    good = compiled["transformer"]
    assert good.timing.recompiled_samples == ()
    assert DoubtKind.RECOMPILED not in doubts(good)


def test_graph_breaks_are_counted_with_the_first_reason(compiled):
    run, good = compiled["breaks"], compiled["transformer"]
    assert run.graph_breaks.count >= 1
    assert run.graph_breaks.first_reason.endswith(f"(hostile_layers.py, line {line_of('# THE BREAK')})")
    assert run.graph_breaks.first_reason in doubts(run)[DoubtKind.GRAPH_BREAKS]
    assert good.graph_breaks.count == 0
    assert DoubtKind.GRAPH_BREAKS not in doubts(good)


def test_a_tracker_that_fails_costs_the_memory_and_not_the_time(measured, monkeypatch):
    def failing(*arguments, **keywords):
        raise RuntimeError("a tensor without storage")

    monkeypatch.setattr(arm_memory, "decompose", failing)
    (run,) = outcomes(workload("transformer")).values()
    good = measured["transformer"]
    assert len(run.timing.wall_time_seconds) >= 5
    assert run.memory.peak_bytes is None
    assert run.memory.parameter_bytes == good.memory.parameter_bytes
    assert run.memory.state_bytes == good.memory.state_bytes
    (reason,) = [unknown.reason for unknown in run.unknowns if unknown.field == "memory.peak_bytes"]
    assert reason.startswith("could not be followed: transformer: RuntimeError: a tensor without storage")


def test_a_counter_that_fails_costs_the_count_and_not_the_time(monkeypatch):
    def failing(*arguments, **keywords):
        raise RuntimeError("an operator without a name")

    monkeypatch.setattr(arm_checks, "count_flops", failing)
    (run,) = outcomes(workload("transformer")).values()
    assert len(run.timing.wall_time_seconds) >= 5
    assert not run.flops.complete
    (told,) = run.flops.uncounted_operators
    assert told.operator.startswith("transformer: RuntimeError: an operator without a name")
    assert decode(encode(run)) == run


def test_what_fails_after_the_times_were_taken_costs_itself_alone(monkeypatch):
    def failing(*arguments, **keywords):
        raise RuntimeError("the sensor is gone")

    monkeypatch.setattr(arm_runner, "monitor", failing)
    monkeypatch.setattr(TransformerDefinition, "kernel_notes", failing)
    (run,) = outcomes(workload("transformer"), settings=replace(QUICK, monitor_seconds=0.01)).values()
    assert run.monitor is None
    (reason,) = [unknown.reason for unknown in run.unknowns if unknown.field == "monitor"]
    assert reason.startswith("the monitored window failed: transformer: RuntimeError: the sensor is gone")
    assert run.kernel_configurations[0].startswith("not told: transformer: RuntimeError: the sensor is gone")


def test_a_child_that_a_layer_forks_reports_nothing():
    read_end, write_end = os.pipe()
    pipe = Pipe(write_end)
    child = os.fork()
    if child == 0:
        pipe.send(b"twice")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        assert stream.read() == b""


PLANNED = {
    "no_preset": r"no_preset: RuntimeError: preset is not written yet \(tests/faults/hostile_layers.py, line \d+\)",
    "no_implementations": r"no_implementations: RuntimeError: implementations is not written yet \(tests/.*",
    "no_supports": r"no_supports: RuntimeError: supports is not written yet \(tests/.*",
    "no_import": r"layer 'no_import' cannot be loaded from tests.faults.hostile_layers:no_import: OSError: a lib.*",
    "untitled": r"layer untitled: what it declares cannot be stored: Expected `str`, got `object` - at `\$.title`",
}


def plan(*layers):
    return planned_arms(
        preset="tiny", sizes={}, layers=layers, match_axis="parameters", sequence_length=64, dtype=Dtype.FLOAT32
    )


def test_a_layer_that_fails_while_it_is_planned_costs_itself_alone(capfd):
    arms, failed = plan("pam", "no_preset", "transformer", *PLANNED, "claims", "exaggerates")
    assert [arm.spec.layer for arm in arms] == ["transformer", "pam", "claims", "exaggerates"]
    assert {layer.layer for layer in failed} == set(PLANNED)
    for layer in failed:
        assert re.fullmatch(PLANNED[layer.layer], layer.reason), layer.reason
    assert "Traceback" in next(layer.traceback for layer in failed if layer.layer == "no_preset")
    assert capfd.readouterr().out == ""


def test_facts_that_a_formula_does_not_give_are_counted_and_can_be_read_back():
    (good, claims, exaggerates), _ = plan("transformer", "claims", "exaggerates")
    assert claims.facts == replace(good.facts, title="claims", spec=claims.spec, residuals=claims.facts.residuals)
    assert {residual.axis for residual in claims.facts.residuals} == {"parameters", "flops", "width"}
    assert exaggerates.facts.parameter_count == good.facts.parameter_count
    session = replace(
        synthetic_session(), arms=(good.facts, claims.facts), unplanned_layers=plan("pam", "no_preset")[1]
    )
    assert decode(encode(session)).arms == session.arms
    assert decode(encode(session)).unplanned_layers == session.unplanned_layers


def test_a_comparison_of_which_nothing_remains_says_so_in_one_sentence():
    with pytest.raises(LayerError, match=r"^no layer is left to measure; the first reason: no_preset: RuntimeError: "):
        plan("no_preset", "untitled")


def test_a_name_that_nothing_is_registered_under_still_ends_the_comparison():
    with pytest.raises(UsageError, match="no layer 'zzz'"):
        plan("transformer", "zzz")


@pytest.mark.parametrize(
    ("field", "value"), [("parameter_count", 0), ("parameter_count", 1.5), ("matrix_flop_count_per_token", -1.0)]
)
def test_a_session_with_one_arm_that_cannot_be_true_keeps_the_others(field, value):
    session = synthetic_session()
    line = json.loads(encode(session))
    line["record"]["arms"][1][field] = value
    body = json.dumps(line["record"], separators=(",", ":")).encode()
    head = f'{{"schema_version":1,"type":"session","crc32":"{zlib.crc32(body):08x}","record":'
    kept = decode(head.encode() + body + b"}")
    assert kept.arms == (session.arms[0], *session.arms[2:])
    assert kept.session_id == session.session_id


@pytest.mark.slow
def test_a_whole_comparison_of_hostile_layers_ends_well_with_the_good_one(tmp_path):
    metadata = tmp_path / "hostile-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n", encoding="utf-8")
    layers = ("prints", "raises", "exits_at_once", "hangs", "no_preset", "no_import")
    points = "".join(f"{name} = tests.faults.hostile_layers:{name}\n" for name in layers)
    (metadata / "entry_points.txt").write_text(f"[pamprof.layers]\n{points}", encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "pamprof", "compare", "--device", "cpu", "--phase", "decode", "--batch-size", "1",
         "--sequence-length", "8", "--time-limit", "0.1", "--monitor", "0", "--point-timeout", "30s", "--time-budget",
         "5m", "--layer", ",".join(("transformer", *layers)), "--json", "-o", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(registry.__file__).parents[2])))},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert made.returncode == 1, made.stderr
    missing = "nothing of raises, exits_at_once, hangs, no_preset and no_import was measured; the report says why"
    assert missing in made.stderr
    assert {json.loads(line)["type"] for line in made.stdout.splitlines()} == {"session", "ceilings", "run", "skip"}
    assert "Traceback" not in made.stderr
    records = read_records(tmp_path / "out" / "runs.jsonl")
    assert {run.workload.spec.layer for run in records.runs} == {"transformer", "prints"}
    skips = {skip.workload.spec.layer: skip for skip in records.skips}
    assert {name: skip.kind for name, skip in skips.items()} == {
        "raises": SkipKind.CRASHED, "exits_at_once": SkipKind.CRASHED, "hangs": SkipKind.TIMEOUT,
    }  # fmt: skip
    assert "exit status 9" in skips["exits_at_once"].reason
    assert {layer.layer for layer in records.sessions[0].unplanned_layers} == {"no_preset", "no_import"}
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "no_preset: RuntimeError: preset is not written yet" in page.replace("\\_", "_")
