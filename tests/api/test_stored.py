"""Results of stored records, and prices without any."""

import gzip
from decimal import Decimal

import pytest

import pamprof
from pamprof.errors import PriceError, RecordError
from pamprof.records.store import RunStore
from tests.synthetic import synthetic_records


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
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")


def test_records_without_a_run_are_refused(folder, tmp_path):
    store = RunStore(tmp_path / "runs.jsonl")
    store.append(synthetic_records("cuda").sessions[0])
    store.close()
    with pytest.raises(RecordError, match="holds no run to report"):
        pamprof.load(tmp_path)
    with pytest.raises(RecordError, match="no-such-file"):
        pamprof.load(tmp_path / "no-such-file")


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
