import json
import zlib
from dataclasses import replace
from decimal import Decimal

import pytest

from pamprof.errors import RecordError
from pamprof.records.codec import decode, encode
from pamprof.records.magnitudes import outsized
from tests.synthetic import synthetic_records, synthetic_session

RUN = synthetic_records("cpu").runs[0]


def sealed(number):
    """The run as a faulty writer would leave it: a parameter count in JSON's own spelling, the checksum right."""
    body = encode(RUN).split(b'"record":', 1)[1][:-2]
    known = f'"parameter_count":{RUN.parameter_count},'.encode()
    assert body.count(known) == 1
    body = body.replace(known, f'"parameter_count":{number},'.encode())
    return f'{{"schema_version":1,"type":"run","crc32":"{zlib.crc32(body):08x}","record":'.encode() + body + b"}"


@pytest.mark.parametrize("value", [1e31, -1e31, 1e-31, -1e-31, 5e-324, float("inf"), float("nan"), 10**31])
def test_a_number_that_nothing_has_is_named_with_its_path(value):
    timing = replace(RUN.timing, compile_seconds=value)
    written = "an integer of 103 bits" if isinstance(value, int) else value
    assert outsized(replace(RUN, timing=timing)) == f"timing.compile_seconds is {written}"


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1, -1, 1e30, -1e30, 1e-30, 10**30, True, None, "1e999"])
def test_an_ordinary_number_passes(value):
    assert outsized(replace(RUN, parameter_count=value)) is None


def test_every_synthetic_record_is_ordinary():
    records = synthetic_records("cuda")
    assert [outsized(record) for record in (*records.sessions, *records.runs, *records.skips)] == [None] * 136


@pytest.mark.parametrize("rate", ["1e31", "1e-31", "NaN", "Infinity"])
def test_a_price_is_a_number_too(rate):
    session = synthetic_session("cuda")
    chosen = replace(session.quote.chosen, usd_per_hour=Decimal(rate))
    assert outsized(replace(session, quote=replace(session.quote, chosen=chosen))).startswith(
        "quote.chosen.usd_per_hour"
    )


@pytest.mark.parametrize("number", ["1" + "0" * 400, "9" * 40, "1" + "0" * 10_000])
def test_an_integer_of_hundreds_of_digits_is_refused_with_a_sentence(number):
    assert decode(sealed(RUN.parameter_count)) == RUN
    with pytest.raises(RecordError) as caught:
        decode(sealed(number))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("field", "value"), [("device_count", 0), ("usd_per_hour", "0"), ("usd_per_hour", "-3")])
def test_a_price_that_divides_by_nothing_is_refused(field, value):
    envelope = json.loads(encode(synthetic_session("cuda")))
    envelope["record"]["quote"]["chosen"][field] = value
    body = json.dumps(envelope["record"], separators=(",", ":"), ensure_ascii=False).encode()
    head = f'{{"schema_version":1,"type":"session","crc32":"{zlib.crc32(body):08x}","record":'.encode()
    with pytest.raises(RecordError, match=f"quote.chosen.{field} is"):
        decode(head + body + b"}")
