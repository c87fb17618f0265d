"""Mutated record files: an error with a sentence at most, and never a number that was not measured."""

import contextlib
import copy
import json
import random
import zlib
from functools import cache
from pathlib import Path

import pytest

from pamprof.analysis import analyse
from pamprof.errors import RecordError
from pamprof.records.codec import decode, encode
from pamprof.records.store import read_records
from pamprof.statistics import Verdict, chained_ratio_interval, verdict
from tests.synthetic import synthetic_records

REPORTED = Path(__file__).resolve().parents[2] / "reports" / "2026-11-22-nvidia-h200" / "runs.jsonl"
ODD_BYTES = b'\x00\xff\n\r"\\{}[],:0123456789-+.eEnulltrue \t'
ODD_VALUES = (
    0, -1, 1, 2, 10**18, 2**63, -(2**63), 1e-300, 1e300, 0.0, -0.5, None, True, False, "", "nan", "\x1b[31m", "=1+1",
    "<script>", [], {}, [0], [None], [1e300, 1e-300], [-1.0], "2026-13-45", "train", "transformer",
)  # fmt: skip


@cache
def lines():
    """Real lines where the repository has them, and synthetic ones of every kind."""
    synthetic = synthetic_records("cpu")
    made = [encode(record) for record in (*synthetic.sessions, *synthetic.runs[:18], *synthetic.skips)]
    real = REPORTED.read_bytes().splitlines(keepends=True)[:30] if REPORTED.exists() else []
    return tuple(made), tuple(real)


@cache
def written(line):
    """The record that an untouched line holds."""
    return decode(line)


def mutate_bytes(rng, content):
    """Flip, insert, delete or repeat a few bytes."""
    mutated = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(mutated))
        length = rng.choice((1, 1, 1, 2, 8, 200))
        match rng.randrange(5):
            case 0:
                mutated[place] ^= 1 << rng.randrange(8)
            case 1:
                mutated[place : place + length] = bytes(rng.choices(ODD_BYTES, k=length))
            case 2:
                mutated[place:place] = bytes(rng.choices(ODD_BYTES, k=length))
            case 3:
                del mutated[place : place + length]
            case 4:
                mutated[place:place] = mutated[place : place + length]
    return bytes(mutated)


def mutate_digit(rng, content):
    """Another digit in the place of one: the mutation that JSON forgives."""
    mutated = bytearray(content)
    while mutated[place := rng.randrange(len(mutated))] not in b"0123456789":
        pass
    mutated[place] = rng.choice(b"0123456789")
    return bytes(mutated)


def mutate_lines(rng, content):
    """Drop, repeat, shuffle, join, tear or splice lines."""
    parts = content.splitlines(keepends=True)
    first, second = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(6):
        case 0:
            del parts[first]
        case 1:
            parts.insert(first, parts[second])
        case 2:
            rng.shuffle(parts)
        case 3:
            parts[first] = parts[first].rstrip(b"\n")
        case 4:
            parts[first] = parts[first][: rng.randrange(len(parts[first]))]
        case 5:
            parts[first] = parts[first][: rng.randrange(1, 2000)] + parts[second][-rng.randrange(1, 2000) :]
    return b"".join(parts)


def mutate_envelope(rng, content):
    """Change, drop or swap a field of one line's envelope, or a field of its record without the checksum."""
    parts = content.splitlines(keepends=True)
    place = rng.randrange(len(parts))
    line = json.loads(parts[place])
    match rng.randrange(4):
        case 0:
            line[rng.choice(("schema_version", "crc32", "type"))] = rng.choice((*ODD_VALUES, "run", "skip", "session"))
        case 1:
            del line[rng.choice(tuple(line))]
        case 2:
            line["record"] = json.loads(rng.choice(parts))["record"]
        case 3:
            set_somewhere(rng, line["record"], rng.choice(ODD_VALUES))
    parts[place] = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return b"".join(parts)


def set_somewhere(rng, record, value):
    """Put ``value`` at a random path of ``record``, or remove what is there."""
    value = copy.deepcopy(value)  # a list of its own, so that none is ever put into itself
    while True:
        key = rng.choice(tuple(record)) if isinstance(record, dict) else rng.randrange(len(record))
        below = record[key]
        if isinstance(below, dict | list) and below and rng.random() < 0.9:
            record = below
        elif rng.random() < 0.15:
            del record[key]
            return
        else:
            record[key] = value
            return


def seal(rng, content):
    """Records with odd values under a checksum that fits: what a faulty writer would leave."""
    parts = content.splitlines(keepends=True)
    for place in rng.sample(range(len(parts)), min(len(parts), rng.choice((1, 1, 3)))):
        line = json.loads(parts[place])
        for _ in range(rng.choice((1, 1, 2, 4))):
            set_somewhere(rng, line["record"], rng.choice(ODD_VALUES))
        body = json.dumps(line["record"], separators=(",", ":"), ensure_ascii=False).encode()
        head = f'{{"schema_version":1,"type":"{line["type"]}","crc32":"{zlib.crc32(body):08x}","record":'
        parts[place] = head.encode() + body + b"}\n"
    return b"".join(parts)


def original(rng):
    made, real = lines()
    source = real if real and rng.random() < 0.5 else made
    return source[: rng.randrange(2, len(source) + 1)] if rng.random() < 0.7 else tuple(rng.sample(source, 4))


def check(path, chosen, content, *, only_originals):
    """Whether the mutated file could still be read; whatever it holds must be what was written."""
    path.write_bytes(content)
    try:
        records = read_records(path)
    except RecordError:
        return False
    if only_originals:
        originals = [written(line) for line in chosen]
        for record in (*records.sessions, *records.runs, *records.skips, *records.ceilings):
            assert record in originals, "a number that was never measured was accepted"
    with contextlib.suppress(RecordError):
        analyse(records)
    return True


def mutate_many(tmp_path, *, count, seed):
    """How many files of each kind could still be read."""
    path = tmp_path / "runs.jsonl"
    readable = dict.fromkeys((mutate_bytes, mutate_digit, mutate_lines, mutate_envelope, seal), 0)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        chosen = original(rng)
        mutate = rng.choice(tuple(readable))
        content = mutate(rng, b"".join(chosen))
        try:
            readable[mutate] += check(path, chosen, content, only_originals=mutate is not seal)
        except Exception as error:
            error.add_note(f"mutation {mutate.__name__}, random seed {seed}-{number}")
            raise
    return readable


def test_300_mutated_files_give_a_sentence_at_most_and_no_other_number(tmp_path):
    assert all(mutate_many(tmp_path, count=300, seed=1).values())


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2, 6))
def test_2500_more_of_each_seed_do_too(tmp_path, seed):
    assert all(mutate_many(tmp_path, count=2_500, seed=seed).values())


@pytest.mark.parametrize(
    "line",
    [
        b'{"schema_version":1,"type":"run","crc32":"00000000","record":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"schema_version":' + b"9" * 10_000 + b"}",
        b'{"schema_version":1,"type":"\xff","crc32":"00000000","record":{}}',
    ],
    ids=["deep", "long-number", "not-utf-8"],
)
def test_a_hostile_line_is_refused_with_a_sentence(line):
    with pytest.raises(RecordError, match="not a record"):
        decode(line)


def test_absurd_samples_give_an_interval_that_says_nothing_instead_of_an_overflow():
    absurd = (1e-300, 1e300, 1e-300)
    interval = chained_ratio_interval(absurd, (1.0, 1.0, 1.0), absurd[::-1], (1.0, 1.0, 1.0))
    assert 0 < interval.low < interval.median < interval.high < float("inf")
    assert verdict(interval) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("batch_size", ("workload", "batch_size")),
        ("sequence_length", ("reference", "sequence_length")),
        ("tolerance", ("gate", "tolerance")),
        ("wall_time_seconds", ("timing", "wall_time_seconds", 3)),
        ("window_seconds", ("monitor", "window_seconds")),
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_record_that_cannot_be_true_is_refused_by_name(name, path, value):
    envelope = json.loads(encode(synthetic_records("cpu").runs[0]))
    place = envelope["record"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    body = json.dumps(envelope["record"], separators=(",", ":"), ensure_ascii=False).encode()
    head = f'{{"schema_version":1,"type":"run","crc32":"{zlib.crc32(body):08x}","record":'
    with pytest.raises(RecordError, match=f"{name} is {value}"):
        decode(head.encode() + body + b"}")
