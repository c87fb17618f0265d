"""Results of stored records, and prices without any."""

import gzip
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pytest
import torch
from torch import nn

import pamprof
from pamprof.errors import PriceError, RecordError
from pamprof.records import StepTrace
from pamprof.records.codec import encode
from pamprof.records.store import RunStore
from tests.analysis.capacity.records import capacity_record
from tests.synthetic import ranked_run, serve_check, synthetic_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("stored")
    records = synthetic_records("cuda")
    store = RunStore(place / "runs.jsonl")
    for record in (*records.sessions, *records.ceilings, *records.runs[:12], *records.skips):
        store.append(record)
    store.close()
    return place


def test_a_folder_a_file_and_both_give_one_result(folder):
    found = pamprof.load(folder)
    assert len(found.records.runs) == 12
    for same in (str(folder), folder / "runs.jsonl", [folder, str(folder / "runs.jsonl")]):
        assert pamprof.load(same).records == found.records


def test_a_folder_may_hold_packed_records_and_a_damaged_line_is_told(folder, tmp_path):
    content = (folder / "runs.jsonl").read_bytes() + b'{"schema_version":1,"type":"run"}\n'
    (tmp_path / "runs.jsonl.gz").write_bytes(gzip.compress(content))
    found = pamprof.load(tmp_path)
    assert found.records.runs == pamprof.load(folder).records.runs
    assert "1 line could not be read" in repr(found)
    assert "1 line could not be read" in found._repr_html_()


def test_a_price_of_ones_own_replaces_the_stored_one(folder):
    stored, own = pamprof.load(folder).to_frame(), pamprof.load(folder, price=7.2).to_frame()
    assert set(own["ListUnitPrice"]) == {7.2}
    assert (own["step_median_seconds"] == stored["step_median_seconds"]).all()
    expected = own["usd_per_million_tokens_high"] * own["tokens_per_second_low"]
    assert expected.to_list() == pytest.approx([7.2 / 3600 * 1e6] * len(own))


def test_the_report_is_written_from_the_file_alone(folder, tmp_path, undrawn_files):
    page = pamprof.report(folder / "runs.jsonl", tmp_path / "out", price="7.2")
    assert page.name == "report.html"
    assert "$7.20" in page.read_text(encoding="utf-8")


@pytest.fixture
def undrawn_files(monkeypatch):
    """Reports without their pictures, which take seconds."""
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    for module in ("formats.write", "capacity.page", "simulation.check_page"):
        monkeypatch.setattr(f"pamprof.render.{module}.draw_png", lambda chart: b"")


def test_served_loads_are_a_page_of_their_own_alone_and_beside_runs(folder, tmp_path, undrawn_files):
    (tmp_path / "checks.jsonl").write_bytes(encode(serve_check("half")) + encode(serve_check("trace")))
    page = pamprof.report(tmp_path / "checks.jsonl", tmp_path / "alone")
    assert page == tmp_path / "alone" / "serve-check.html"
    both = pamprof.load([folder, tmp_path / "checks.jsonl"]).report(tmp_path / "both")
    assert both.name == "report.html"
    assert (tmp_path / "both" / "serve-check.html").read_bytes() == page.read_bytes()
    with pytest.raises(RecordError, match=r"checks.jsonl holds no run to report; write its page with pamprof\.report"):
        pamprof.load(tmp_path / "checks.jsonl")


def test_a_capacity_alone_is_a_page_at_the_price_asked_for(tmp_path, undrawn_files):
    (tmp_path / "runs.jsonl").write_bytes(encode(capacity_record()))
    page = pamprof.report(tmp_path, tmp_path / "out", price=8)
    assert page == tmp_path / "out" / "capacity.html"
    assert "your own rate" in page.read_text(encoding="utf-8")


def test_traces_come_along_with_a_report(tmp_path, undrawn_files):
    records = synthetic_records("cpu")
    traced = replace(records.runs[0], trace=StepTrace(file="traces/a.json.gz", byte_count=5))
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, (*records.sessions, traced, *records.runs[1:4]))))
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "a.json.gz").write_bytes(b"trace")
    pamprof.report(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "traces" / "a.json.gz").read_bytes() == b"trace"


def test_points_of_several_ranks_are_a_frame(folder, tmp_path):
    (tmp_path / "ranked.jsonl").write_bytes(encode(ranked_run(seconds=0.0125, alone_seconds=0.010)))
    frame = pamprof.load([folder, tmp_path / "ranked.jsonl"], price=3.6).scaling_frame()
    assert frame["ranks"].to_list() == [2]
    assert frame["speed_up"].to_list() == pytest.approx([2 * 0.010 / 0.0125])
    assert frame["usd_per_million_tokens"].notna().all()
    assert len(pamprof.load(folder).scaling_frame()) == 0


def test_records_without_a_run_are_refused(folder, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    store.append(synthetic_records("cuda").sessions[0])
    store.close()
    with pytest.raises(RecordError, match="holds no run to report"):
        pamprof.load(tmp_path)
    with pytest.raises(RecordError, match="no-such-file"):
        pamprof.load(tmp_path / "no-such-file")


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    """Two profiles of the same loop as ``pamprof.profile`` stores them, the second twice as slow."""
    layer = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pamprof.profile(tokens=4, price=3.6) as run:
        for _ in range(4):
            layer(torch.ones(4, 8)).sum().backward()
            optimizer.step()
    path = run.save(tmp_path_factory.mktemp("loops") / "runs.jsonl")
    store = RunStore(path)
    slower = tuple(2 * seconds for seconds in run.record.step_seconds)
    store.append(replace(run.record, session_id="second", step_seconds=slower))
    store.close()
    return path


def test_stored_training_loops_are_a_result(loops, tmp_path):
    found = pamprof.load(loops)
    frame = found.to_frame()
    first, second = frame["step_median_seconds"]
    assert second == pytest.approx(2 * first)
    assert list(frame["step_ratio_to_first"].fillna(0)) == pytest.approx([0, 2])
    assert "Step × first loop" in repr(found)
    assert list(frame["usd_per_step"]) == pytest.approx([first * 3.6 / 3600, second * 3.6 / 3600])
    assert repr(found).count("Tokens per second") == 2
    assert found._repr_html_().count("Figures of the training loop") == 2
    page = found.report(tmp_path / "out")
    assert {path.name for path in page.parent.iterdir()} == {"report.html", "summary.md", "training.csv"}
    assert page.read_text(encoding="utf-8").count("Dollars per million tokens") == 2
    assert "| Tokens per second |" in (page.parent / "summary.md").read_text(encoding="utf-8")
    stored = pd.read_csv(found.to_csv(tmp_path / "loops.csv"))
    assert list(stored.columns) == list(frame.columns)
    assert (tmp_path / "loops.csv").read_bytes() == (page.parent / "training.csv").read_bytes()
    with pytest.raises(RecordError, match="training loops alone tell no story"):
        _ = found.story


def test_training_loops_are_paid_at_the_price_asked_for(loops):
    stored, own = pamprof.load(loops).to_frame(), pamprof.load(loops, price=7.2).to_frame()
    assert list(own["usd_per_step"]) == pytest.approx(list(2 * stored["usd_per_step"]))
    assert (own["step_median_seconds"] == stored["step_median_seconds"]).all()


def test_training_loops_stand_beside_a_comparison(folder, loops, tmp_path, undrawn_files):
    found = pamprof.load([folder, loops])
    assert len(found.to_frame()) == 12
    assert len(found.training_frame()) == 2
    assert found.story.sentence
    page = found.report(tmp_path / "out")
    assert "training.csv" in {path.name for path in page.parent.iterdir()}
    for shown in (page.read_text(encoding="utf-8"), repr(found), found._repr_html_()):
        assert shown.count("Peak memory") >= 2
        assert shown.count("Training loop ·") == 2
    alone = pamprof.load(folder)
    assert "training-section" not in alone.report(tmp_path / "alone").read_text(encoding="utf-8")
    assert not (tmp_path / "alone" / "training.csv").exists()


def test_a_throughput_and_a_rate_become_dollars_per_million_tokens():
    found = pamprof.cost(tokens_per_second=1000, price=3.6)
    assert found.usd_per_million_tokens.median == pytest.approx(1.0)
    assert found.price.provider == "user"


def test_a_named_gpu_is_paid_at_a_rate_with_its_source():
    found = pamprof.cost(tokens_per_second=41_000, gpu="H100-SXM")
    rate = found.price
    assert rate.device_name == "H100-SXM"
    assert rate.source.startswith("https://")
    assert rate.observed_text
    assert found.usd_per_million_tokens.median == pytest.approx(float(rate.usd_per_device_hour) / 3600 / 41_000 * 1e6)
    assert found.at_lowest_rate.median <= found.usd_per_million_tokens.median <= found.at_highest_rate.median
    assert isinstance(rate.usd_per_hour, Decimal)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": "abacus"}, "abacus"),
        ({}, "give gpu="),
        ({"gpu": "H100-SXM", "provider": "nobody"}, "nobody"),
        ({"price": "cheap"}, "cheap"),
    ],
)
def test_a_cost_that_cannot_be_known_is_refused(given, said):
    with pytest.raises(PriceError, match=said):
        pamprof.cost(tokens_per_second=1000, **given)


def test_a_throughput_of_nothing_has_no_price():
    with pytest.raises(PriceError, match="above zero"):
        pamprof.cost(tokens_per_second=0, price=1)
