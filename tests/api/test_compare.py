"""``pamprof.compare`` and its result: one short comparison, shared."""

import functools
import inspect
import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from torch import nn
from typer.testing import CliRunner

import pamprof
from pamprof.api.compare import compare
from pamprof.cli import app
from pamprof.cli.compare import compare as command
from pamprof.errors import PriceError, UnsupportedError, UsageError
from pamprof.measure.session.runner import SessionOutcome
from pamprof.records.store import RunStore
from tests.synthetic import synthetic_records

SMALL = {
    "preset": "tiny", "phases": ["decode"], "batch_size": 1, "sequence_length": {"decode": [64]}, "device": "cpu",
    "implementations": ["sdpa", "planar"], "time_limit": 0.05, "monitor": 0.1, "price": 3.6, "time_budget": "4m",
}  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return pamprof.compare(["transformer", "pam"], progress=False, **SMALL)


@pytest.fixture
def asked(monkeypatch):
    """The requests that would have been measured, in whose place stored records are found."""
    requests = []

    def record(request, planner, *, reporter, price):
        requests.append(request)
        reporter.message("two points")
        records = synthetic_records("cpu")
        store = RunStore(request.path)
        for each in (records.sessions[0], *records.runs[:2]):
            store.append(each)
        store.close()
        return SessionOutcome(measured=2, skipped=0, interrupted=True)

    monkeypatch.setattr("pamprof.measure.session.run.run_session", record)
    monkeypatch.setattr("pamprof.measure.fleet.run.run_fleet", lambda request, **given: record(request, None, **given))
    return requests


def test_a_comparison_measures_what_was_asked_for(result):
    arms = {(run.workload.spec.layer, run.workload.implementation) for run in result.records.runs}
    assert arms == {("transformer", "sdpa"), ("pam", "planar")}
    assert {run.workload.point.sequence_length for run in result.records.runs} == {64}
    assert {run.workload.phase for run in result.records.runs} == {"decode"}


def test_the_sentence_names_both_sides_and_the_ratio_of_the_frame(result):
    frame = result.to_frame().set_index("layer")
    ratio = frame.loc["pam", "cost_against_baseline_median_ratio"]
    assert result.story.sentence.startswith("Decode at 64 tokens of context, batch 1: ")
    assert f"{ratio:.3g}×" in result.story.sentence or f"{ratio:.2f}×" in result.story.sentence
    assert result.story.phases[0].best.time_ratio.median == ratio


def test_dollars_follow_from_the_price_given(result):
    for _, row in result.to_frame().iterrows():
        assert row["EffectiveCost"] == pytest.approx(3.6 / 3600 / row["tokens_per_second_median"] * 1e6)


def test_the_frame_has_the_columns_and_values_of_the_csv(result, tmp_path):
    frame = result.to_frame()
    stored = pd.read_csv(result.to_csv(tmp_path / "new" / "m.csv"))
    assert list(stored.columns) == list(frame.columns)
    assert stored["step_median_seconds"].tolist() == frame["step_median_seconds"].tolist()
    assert stored["key"].tolist() == frame["key"].tolist()


def test_every_column_has_a_type_and_an_unknown_one_that_of_its_unit(result):
    types = result.to_frame().dtypes.astype(str)
    assert set(types) == {"string", "Int64", "Float64", "boolean"}
    assert result.to_frame()["paired_ratio"].isna().all()
    assert types[["paired_ratio", "workspace_bytes", "power_coupled", "dropout", "price_unknown_reason"]].tolist() == [
        "Float64", "Int64", "boolean", "Float64", "string",
    ]  # fmt: skip


def test_the_terminal_shows_the_table_that_the_command_prints(result):
    assert str(result) == repr(result)
    assert len(repr(result).splitlines()) <= 25
    assert "PAM planar · eager" in repr(result)
    assert "\x1b" not in repr(result)


def test_a_notebook_shows_sentence_numbers_ladder_and_table_without_a_script(result):
    page = result._repr_html_()
    assert result.story.sentence in unescape(page)
    assert page.count("<li>") == 4
    assert "Where the cost comes from: Decode" in page
    assert page.count('<tr class="baseline">') == 1
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=|url\(|@import|<h\d|\sid=""", page)


def test_a_notebooks_style_reaches_nothing_but_the_result_and_knows_dark(result):
    style = re.search(r"<style>(.*?)</style>", result._repr_html_(), flags=re.DOTALL)[1]
    rules = re.sub(r"@media [^{]*\{", "", style)
    selectors = [selector for rule in re.findall(r"([^{}]+)\{", rules) for selector in rule.split(",")]
    assert len(selectors) > 40
    assert [selector for selector in selectors if ".pamprof" not in selector] == []
    assert "prefers-color-scheme: dark" in style
    assert '[data-jp-theme-light="false"] .pamprof' in style


def test_names_in_a_notebook_are_text(result):
    session = replace(result.records.sessions[0], command="<b>")
    run = result.records.runs[0]
    environment = replace(run.environment, device_name="<img src=x>")
    records = replace(result.records, sessions=(session,), runs=(replace(run, environment=environment),))
    assert "<img" not in pamprof.Result(records)._repr_html_()


def test_the_report_of_a_result_is_whole(result, tmp_path):
    page = result.report(tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert {"measurements.csv", "summary.md"} <= {path.name for path in page.parent.iterdir()}


def test_the_recorded_command_asks_for_the_same(result, monkeypatch, tmp_path):
    requests = []

    def keep(request, planner, price):
        requests.append(request)
        raise UsageError("not measured")

    monkeypatch.setattr("pamprof.cli.compare.measure", keep)
    (session,) = result.records.sessions
    CliRunner().invoke(app, shlex.split(session.command)[1:])
    monkeypatch.setattr("pamprof.measure.session.run.run_session", lambda request, *_, **__: keep(request, None, None))
    with pytest.raises(UsageError):
        compare(["transformer", "pam"], **SMALL)
    first, second = (replace(request, command="", output_dir=Path()) for request in requests)
    assert first == second


def test_lists_by_phase_and_names_become_the_options_of_the_command(asked):
    compare(
        ["pam", "gru=my_layers:gru"], layer_arg={"gru.num_layers": 2},
        phases=["train", "decode"], batch_size={"train": [3, 18], "decode": 1}, sequence_length=["2k", 512],
        executions=["eager", "compiled"], perplexity={"pam": 30.5}, time_budget=90, cold_cache=True, prices=None,
    )  # fmt: skip
    (request,) = asked
    assert request.batch_sizes == {"train": (3, 18), "decode": (1,)}
    assert request.sequence_lengths == {None: (2048, 512)}
    assert request.time_budget_seconds == 90
    assert request.layers == ("pam", "gru")
    assert request.sources.keys() == {"gru"}
    assert request.perplexities[0].value == 30.5
    assert shlex.split(request.command)[2:] == [
        "--batch-size", "train=3,18", "--batch-size", "decode=1", "--sequence-length", "2k,512",
        "--phase", "train,decode", "--execution", "eager,compiled", "--layer", "pam,gru=my_layers:gru",
        "--layer-arg", "gru.num_layers=2",
        "--perplexity", "pam=30.5",
        "--time-budget", "90", "--cold-cache",
    ]  # fmt: skip


def test_several_ranks_are_in_the_command_and_one_is_not(asked, tmp_path):
    compare(output_dir=tmp_path, progress=False, seed=0, ranks=2, parallel="tp")
    assert asked[0].command == "pamprof compare --ranks 2 --parallel tp"


def test_an_interrupted_comparison_returns_what_was_measured(asked, tmp_path):
    found = compare(output_dir=tmp_path, progress=False)
    assert asked[0].path == tmp_path / "runs.jsonl"
    assert len(found.records.runs) == 2
    assert "Incomplete: " in repr(found)


@pytest.mark.parametrize(("progress", "said"), [(True, "two points\n"), (False, "")])
def test_progress_is_told_on_standard_error_alone_and_only_where_wanted(progress, said, asked, tmp_path, capsys):
    compare(output_dir=tmp_path, progress=progress)
    assert capsys.readouterr() == ("", said)


def test_a_temporary_folder_lives_as_long_as_its_result(asked):
    found = compare(progress=False)
    folder = asked[0].output_dir
    assert folder.is_dir()
    del found
    assert not folder.exists()


def test_every_option_of_the_command_has_its_default_here():
    theirs = {
        name: parameter.default
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in {"dry_run", "json"}
    }
    ours = {name: parameter.default for name, parameter in inspect.signature(compare).parameters.items()}
    assert ours.pop("progress") is True
    for plural, name in {
        "layers": "layer", "phases": "phase", "implementations": "implementation", "executions": "execution",
    }.items():  # fmt: skip
        value = ours.pop(plural)
        ours[name] = ",".join(value) if isinstance(value, tuple) else value
    assert ours == theirs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phases": ["sleep"]}, "sleep"),
        ({"layers": [3]}, "is no layer"),
        ({"layers": []}, "--layer"),
        ({"batch_size": 0}, "--batch-size"),
        ({"time_budget": "soon"}, "--time-budget"),
        ({"resume": True}, "output_dir"),
        ({"ranks": 0}, "--ranks 0 is no number of devices of one machine; give 1 to 64"),
        ({"ranks": 65}, "--ranks 65"),
        ({"effort": "heroic"}, "heroic"),
        ({"on": "slurm"}, "on='slurm' needs an output_dir that every machine sees"),
        ({"on": "slurm:gpu", "layers": "pam"}, "on='slurm:gpu' needs an output_dir"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(given, said):
    with pytest.raises(UsageError, match=said):
        compare(**given)


@pytest.mark.parametrize(("on", "options"), [("slurm:local", {}), ("ray", {}), ("slurm:gpu", {"output_dir": "run"})])
def test_a_folder_that_all_machines_see_is_asked_for_where_jobs_write_there(on, options, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compare(on=on, progress=False, **options)
    assert asked[0].on == on


def test_a_price_that_cannot_be_is_refused():
    with pytest.raises(PriceError, match="above zero"):
        compare(device="cpu", preset="tiny", price=-1)


def test_a_command_names_no_folder_of_this_machine(asked, tmp_path):
    compare(output_dir=tmp_path, checkpoint={"pam": tmp_path / "w.pt"}, progress=False)
    assert asked[0].command == "pamprof compare --checkpoint pam=w.pt"
    assert asked[0].checkpoints == {"pam": tmp_path / "w.pt"}


def test_a_parquet_file_holds_the_frame(result, tmp_path):
    pytest.importorskip("pyarrow")
    stored = pd.read_parquet(result.to_parquet(tmp_path / "new" / "m.parquet"), dtype_backend="numpy_nullable")
    assert list(stored.columns) == list(result.to_frame().columns)
    assert stored["step_median_seconds"].tolist() == result.to_frame()["step_median_seconds"].tolist()


def test_without_pyarrow_one_sentence_says_what_to_install(result, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="pip install pyarrow"):
        result.to_parquet(tmp_path / "m.parquet")


def test_a_function_is_a_layer_by_its_module_or_kept_for_the_workers(asked, tmp_path):
    from pamprof.workloads.layers.foreign.source import load, parse_source
    from tests.measure.any_layer.given import gru

    offset = 3

    def inner(width):
        return nn.Linear(width + offset, width)

    pamprof.compare(["transformer", gru, inner], output_dir=tmp_path, progress=False, device="cpu")
    (request,) = asked
    assert request.layers == ("transformer", "gru", "inner")
    assert request.sources == {
        "gru": "tests.measure.any_layer.given:gru",
        "inner": f"{tmp_path}/inner.pickle:inner",
    }
    assert load(parse_source(request.sources["inner"]))(4).in_features == 7


def test_a_declared_layer_is_known_by_its_name_and_is_called_by_it(asked, tmp_path):
    from pamprof.workloads.layers.foreign.declared import declaration_of
    from pamprof.workloads.layers.foreign.source import load, parse_source
    from tests.measure.any_layer.given import WithoutDecode

    @pamprof.layer("named_in_a_cell", phases="train")
    def make(width):
        return nn.Linear(width, width)

    declared = pamprof.layer("made_elsewhere", twin_of="pam")(functools.partial(nn.GRU, batch_first=True))
    pamprof.compare(
        ["pam, named_in_a_cell", WithoutDecode, declared], output_dir=tmp_path, progress=False, device="cpu"
    )
    (request,) = asked
    assert request.layers == ("pam", "named_in_a_cell", "without_decode", "made_elsewhere")
    assert str(tmp_path) not in request.command
    assert "named_in_a_cell=named_in_a_cell.pickle:named_in_a_cell" in request.command
    assert request.sources == {
        "named_in_a_cell": f"{tmp_path}/named_in_a_cell.pickle:named_in_a_cell",
        "without_decode": "tests.measure.any_layer.given:WithoutDecode",
        "made_elsewhere": f"{tmp_path}/made_elsewhere.pickle:made_elsewhere",
    }
    kept = {name: declaration_of(load(parse_source(source))) for name, source in request.sources.items()}
    assert kept["named_in_a_cell"].phases == kept["without_decode"].phases[:1] == ("train",)
    assert kept["made_elsewhere"].twin_of == "pam"
