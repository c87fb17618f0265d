"""Records of every schema version stay readable: a fixture each, written by pamprof of its time and never changed."""

import json
import zlib
from dataclasses import field, make_dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from pamprof.errors import RecordError
from pamprof.records import Execution, LayerSpec, Phase, SkipKind, StopReason, codec
from pamprof.records.codec import SCHEMA_VERSION, decode, encode
from pamprof.records.run import Ceilings, Run, Skip
from pamprof.records.session import Session
from pamprof.records.store import read_records

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = range(1, SCHEMA_VERSION + 1)
REMEDY = (
    "records of this version lie on people's disks: give a new field a default, or raise SCHEMA_VERSION and convert "
    "older records, as the docstring of pamprof/records/codec.py says; never change the fixture"
)


def fixture(version):
    return FIXTURES / f"schema-{version}.jsonl"


def missing_fixtures(newest):
    """What to do about versions up to ``newest`` of which no record is kept."""
    return [
        f"schema version {version} has no fixture: keep a small real file as tests/records/fixtures/"
        f"{fixture(version).name}, one record of each kind written by that version"
        for version in range(1, newest + 1)
        if not fixture(version).exists()
    ]


def lost(raw, read, path=""):
    """Paths of ``raw`` JSON whose value the record that was read does not hold, as when a field was renamed."""
    if isinstance(raw, dict):
        return [
            name
            for key, value in raw.items()
            for name in (lost(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key}"])
        ]
    if isinstance(raw, list):
        if len(raw) != len(read):
            return [path]
        return [name for mine, theirs in zip(raw, read, strict=True) for name in lost(mine, theirs, path)]
    return [] if raw == read else [path]


def test_every_schema_version_has_a_fixture():
    assert missing_fixtures(SCHEMA_VERSION) == []


def test_a_raised_version_without_a_fixture_is_told_what_to_keep():
    (sentence,) = missing_fixtures(SCHEMA_VERSION + 1)
    assert f"tests/records/fixtures/schema-{SCHEMA_VERSION + 1}.jsonl" in sentence


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fixture_holds_every_kind_of_record_in_its_own_version(version):
    envelopes = [json.loads(line) for line in fixture(version).read_bytes().splitlines()]
    assert {envelope["schema_version"] for envelope in envelopes} == {version}
    assert {envelope["type"] for envelope in envelopes} == {"session", "ceilings", "run", "skip"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_line_of_a_fixture_still_reads(version):
    records = read_records(fixture(version))
    assert records.problems == (), REMEDY
    assert records.record_count == len(fixture(version).read_bytes().splitlines())


def test_no_value_of_the_first_schema_is_lost_on_reading():
    for line in fixture(1).read_bytes().splitlines():
        raw, read = json.loads(line)["record"], json.loads(msgspec.json.encode(decode(line)))
        if "notes" in raw:  # kernel shares were sentences among them
            raw["notes"] = [note for note in raw["notes"] if "% of kernel time in" not in note]
        assert lost(raw, read) == [], REMEDY


def test_the_first_schema_reads_to_the_values_it_was_written_with():
    records = read_records(fixture(1))
    (session,), (ceilings,) = records.sessions, records.ceilings
    train, prefill, decoding, cpu = records.runs
    timeout, memory = records.skips

    assert (session.session_id, session.started_at) == ("ae7043e53762", "2026-11-22T21:31:22+00:00")
    assert session.quote.chosen.usd_per_hour == Decimal("50.44")
    assert session.quote.chosen.usd_per_device_hour == Decimal("6.305")
    assert session.perplexities[0].value == 30.0
    assert [arm.parameter_count for arm in session.arms] == [100283232, 100577528, 100395968]
    assert session.arms[0].residuals[3].residual == 20.0
    assert (ceilings.matrix_flops_per_second, ceilings.copy_bytes_per_second) == (802532185086407.4, 4198383483979.17)
    assert ceilings.environment.sdpa_backends == ("flash", "efficient", "math", "cudnn")

    assert train.workload.key == (
        "pam/planar/eager train/model B3 T2048 bfloat16 D384 H6x64 L16 h1152 V50257 M2048 modswish C256 p0"
    )
    assert train.timing.wall_time_seconds[:2] == (0.2030724400000281, 0.1927235880000353)
    assert train.timing.stop_reason is StopReason.TIMEOUT
    assert train.memory.transient_bytes == 9936962668 - (402309376 + 803169124 + 6258843652 + 98304)
    assert train.monitor.energy.invalid_reasons == ("the energy counter moved 19 times, fewer than 20",)
    assert prefill.workload.execution is Execution.COMPILED
    assert prefill.flops.matrix_flop_count == 566661808128
    assert prefill.monitor.energy.counter_joules == 301.1159307577297
    assert (decoding.workload.phase, decoding.workload.sequence_length) == (Phase.DECODE, 2048)
    assert decoding.memory.state_bytes == 3145728
    assert decoding.gate.relative_error == 0.006162343114260106
    assert decoding.reference.spec == LayerSpec(
        layer="transformer", model_dim=672, heads=12, head_dim=56, depth=12, hidden_dim=2688, vocabulary_size=50257,
        maximum_sequence_length=2048, activation="gelu", chunk_size=None, dropout=0.0,
    )  # fmt: skip
    assert cpu.timing.device_time_seconds is None
    assert cpu.environment.driver_version is None
    assert cpu.monitor.energy is None
    assert cpu.flops.matrix_dense_flop_count == 115900416

    assert (timeout.kind, memory.kind) == (SkipKind.TIMEOUT, SkipKind.OUT_OF_MEMORY)
    assert timeout.reason == "no result within 70.0 s; raise --point-timeout or choose a smaller size"


@pytest.mark.parametrize("kind", [Session, Run, Skip, Ceilings])
def test_a_field_added_without_a_default_is_caught_and_one_with_a_default_is_not(kind, monkeypatch):
    lines = [line for line in fixture(1).read_bytes().splitlines() if isinstance(decode(line), kind)]
    name = next(name for name, known in codec._TYPES.items() if known is kind)

    def with_field(**default):
        later = ("flux_webers", float | None, field(**default))
        monkeypatch.setitem(
            codec._TYPES, name, make_dataclass("Later", [later], bases=(kind,), frozen=True, kw_only=True)
        )

    with_field()
    for line in lines:
        with pytest.raises(RecordError, match="does not fit the schema: Object missing required field `flux_webers`"):
            decode(line)
    with_field(default=None)
    for line in lines:
        assert decode(line).flux_webers is None


def test_a_renamed_field_is_caught_although_it_has_a_default():
    line = encode(read_records(fixture(1)).runs[0])
    raw = json.loads(line)["record"]
    raw["workload"]["spec"]["chunk_length"] = raw["workload"]["spec"].pop("chunk_size")
    body = json.dumps(raw, separators=(",", ":")).encode()
    head = f'{{"schema_version":1,"type":"run","crc32":"{zlib.crc32(body):08x}","record":'.encode()
    read = json.loads(msgspec.json.encode(decode(head + body + b"}")))
    assert lost(raw, read) == [".workload.spec.chunk_length"]
