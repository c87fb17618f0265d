import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.errors import RecordError
from pamprof.records import Execution, KernelClass, KernelUse, Run, Session, StepKernels, UnplannedLayer
from pamprof.records.codec import SCHEMA_VERSION, decode, encode
from tests.synthetic import ranked_run, synthetic_records


def every_record():
    records = synthetic_records("cuda")
    return [*records.sessions, *records.runs, *records.skips]


def test_every_record_survives_the_round_trip():
    for record in every_record():
        assert decode(encode(record)) == record


def with_kernels(**changes):
    use = KernelUse(
        operator="aten::mm", kernel="gemm", kernel_class=KernelClass.MATRIX_PRODUCT, shapes=((2, 3), (3, 4)),
        dtype="bfloat16", call_count=2, kernel_count=3, matrix_flop_count=96, elementwise_flop_count=0,
        byte_count=None, seconds=1e-5,
    )  # fmt: skip
    kernels = StepKernels(uses=(replace(use, **changes),), execution=Execution.EAGER, busy_seconds=1e-5)
    return replace(synthetic_records("cuda").runs[0], kernels=kernels)


def test_kernels_survive_the_round_trip_and_older_runs_have_none():
    assert decode(encode(with_kernels())) == with_kernels()
    line = json.loads(encode(synthetic_records("cuda").runs[0]))
    del line["record"]["kernels"]
    line["crc32"] = f"{zlib.crc32(body := json.dumps(line['record']).encode()):08x}"
    older = json.dumps({**line, "record": None}).encode().replace(b"null", body)
    assert decode(older).kernels is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"seconds": 0.0}, "kernels.uses.seconds is 0"), ({"byte_count": -1}, "kernels.uses.byte_count is 0"),
     ({"call_count": 0}, "kernels.uses.call_count is 0"), ({"seconds": 1e40}, "1e\\+40")],
)  # fmt: skip
def test_a_kernel_that_cannot_have_run_is_refused(changes, fault):
    with pytest.raises(RecordError, match=fault):
        decode(encode(with_kernels(**changes)))


def with_rank(**changes):
    run = ranked_run()
    return replace(run, ranks=(run.ranks[0], replace(run.ranks[1], **changes)))


def alike(**changes):
    run = ranked_run()
    return replace(run, **{name: replace(getattr(run, name), **change) for name, change in changes.items()})


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (alike(workload={"layout": None}), "workload.layout, 1 if known, else 0, is 0"),
        (alike(alone={"layout": ranked_run().workload.layout}), "alone, 1 if of one device, else 0, is 0"),
        (replace(ranked_run(), ranks=ranked_run().ranks[:1]), "count of ranks, 1 if layout.ranks, else 0, is 0"),
        (with_rank(wall_time_seconds=()), "ranks.wall_time_seconds, 1 if one of every sample, else 0, is 0"),
        (with_rank(wall_time_seconds=(0.0,) * 8), "ranks.wall_time_seconds is 0.0"),
        (with_rank(weight_bytes=-1), "1 . ranks.weight_bytes is 0"),
        (replace(ranked_run(), steps_per_sample=0), "steps_per_sample is 0"),
        (alike(topology={"pcie_widths": (16,)}), "topology, 1 if generation and width of every rank, else 0, is 0"),
    ],
)
def test_what_ranks_cannot_have_measured_is_refused(record, fault):
    assert decode(encode(ranked_run())) == ranked_run()
    with pytest.raises(RecordError, match=fault):
        decode(encode(record))


def test_a_changed_digit_is_refused_instead_of_read_as_another_number():
    run = synthetic_records("cpu").runs[0]
    line = encode(run)
    number = str(run.parameter_count).encode()
    other = str(run.parameter_count + 1).encode()
    assert number in line
    with pytest.raises(RecordError, match="checksum"):
        decode(line.replace(b'"parameter_count":' + number, b'"parameter_count":' + other))


def test_a_newer_schema_is_refused_with_the_remedy():
    envelope = json.loads(encode(synthetic_records("cpu").runs[0]))
    envelope["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(RecordError, match="upgrade pamprof"):
        decode(json.dumps(envelope).encode())


def test_an_arm_whose_sizes_cannot_be_true_costs_itself_and_is_told_of():
    session = next(record for record in every_record() if isinstance(record, Session))
    first, *others = session.arms
    read = decode(encode(replace(session, arms=(replace(first, parameter_count=-3), *others))))
    assert read.arms == tuple(others)
    (told,) = read.unplanned_layers
    assert told.layer == first.spec.layer
    assert told.reason == "its sizes as stored cannot be true and were left out: arms.parameter_count is -3"


def test_an_unknown_record_type_is_refused():
    envelope = json.loads(encode(synthetic_records("cpu").runs[0]))
    envelope["type"] = "poem"
    with pytest.raises(RecordError, match="poem"):
        decode(json.dumps(envelope).encode())


_LINE = encode(synthetic_records("cpu").runs[0])


@settings(max_examples=300, deadline=None)
@given(
    position=st.integers(0, len(_LINE) - 1),
    replacement=st.binary(max_size=4),
    length=st.integers(0, 4),
)
def test_a_mutated_line_is_refused_or_is_the_same_record(position, replacement, length):
    mutated = _LINE[:position] + replacement + _LINE[position + length :]
    try:
        record = decode(mutated)
    except RecordError:
        return
    original = decode(_LINE)
    assert isinstance(record, Run)
    assert record == original


@pytest.mark.parametrize("reason", ["it needs fla", "layer gla: it needs fla"])
def test_a_layer_that_is_left_out_is_named_once(reason):
    assert UnplannedLayer(layer="gla", reason=reason).words == "gla is left out: it needs fla"
