import gzip
import zipfile

import pytest

from pamprof.errors import OutputError, RecordError
from pamprof.records.codec import encode
from pamprof.records.store import RunStore, read_records
from tests.synthetic import synthetic_records

RECORDS = synthetic_records("cpu")
WHOLE = b"".join(map(encode, (*RECORDS.sessions, *RECORDS.runs[:3])))
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "content",
    [
        MARK + WHOLE,
        MARK + WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        WHOLE.removesuffix(b"\n"),
        WHOLE + b"\r\n \n",
        gzip.compress(WHOLE),
        gzip.compress(MARK + WHOLE.removesuffix(b"\n")),
        gzip.compress(encode(RECORDS.sessions[0])) + gzip.compress(b"".join(map(encode, RECORDS.runs[:3]))),
    ],
    ids=str.split("mark mark-crlf crlf crlf-unended unended blank gzip gzip-mark gzip-twice"),
)
def test_marks_line_ends_and_packing_lose_no_record(tmp_path, content):
    path = tmp_path / "runs.jsonl.gz"
    path.write_bytes(content)
    found = read_records(path)
    assert (found.sessions, found.runs, found.problems) == (RECORDS.sessions, RECORDS.runs[:3], ())


def test_the_mark_of_a_file_joined_to_another_loses_no_header(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(encode(RECORDS.runs[0]) + MARK + encode(RECORDS.sessions[0]))
    assert read_records(path).sessions == RECORDS.sessions


def test_of_a_gzip_file_cut_off_the_whole_lines_remain_and_the_rest_is_told(tmp_path):
    path = tmp_path / "runs.jsonl.gz"
    lines = [encode(run) for run in RECORDS.runs]
    path.write_bytes(gzip.compress(b"".join(lines))[:-5000])
    found = read_records(path)
    assert found.runs == RECORDS.runs[: len(found.runs)]
    assert 0 < len(found.runs) < len(RECORDS.runs)
    assert found.damage.startswith(
        f"1 line could not be read: runs.jsonl.gz after line {len(found.runs)}: the gzip file"
    )


TORN = encode(RECORDS.runs[0])[:300]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (MARK + b"\r\n", "empty"),
        (b"\0" * 4096, "zero bytes"),
        (WHOLE.decode().encode("utf-16"), "UTF-16 text, as Windows PowerShell"),
        (WHOLE.decode().encode("utf-16-be"), "UTF-16 text without a byte order mark; save it as UTF-8"),
        (WHOLE.decode().encode("utf-32"), "UTF-32"),
        (gzip.compress(WHOLE)[:100], "the gzip file is cut off or damaged"),
        (gzip.compress(b"my notes"), "not JSON, it begins with 'my notes'"),
        (TORN, "its only line is cut off"),
        (b"{}\n", "JSON of another tool or command"),
        (b"[\n  1,\n  2\n]\n", "JSON of another tool or command"),
        (b'{"event": "start"}\n{"event": "end"}\n', "JSON of another tool or command"),
        (b"key,layer\n1,pam\n", "not JSON, it begins with 'key,layer'"),
        (b"<!doctype html>", "HTML or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b'{\n  "schema_version": 1,\n  "type": "run"\n}\n', "set over several lines"),
        (b'{"schema_version":2,"type":"run","crc32":"0","record":1}\n', "upgrade pamprof"),
        (encode(RECORDS.runs[0]).replace(b"transformer", b"transformed"), "does not match its checksum"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_a_file_without_one_record_is_named_for_what_it_is(tmp_path, content, cause):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="holds no readable record: ") as error:
        read_records(path)
    assert cause in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("runs.jsonl", WHOLE)
    with pytest.raises(RecordError, match="zip archive; unpack it"):
        read_records(path)


def test_every_unreadable_line_is_counted_and_the_first_three_are_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"a\nb\nc\n" + WHOLE + b"d\n" + TORN)
    found = read_records(path)
    assert len(found.problems) == 5
    assert found.damage.startswith("5 lines could not be read: runs.jsonl line 1: ")
    assert found.damage.endswith("; and 2 more")
    assert found.problems[-1].startswith("runs.jsonl line 9: cut off; ")


def test_nothing_is_appended_to_a_packed_file(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(gzip.compress(WHOLE))
    with pytest.raises(OutputError, match="gunzip"):
        RunStore(path)
    assert read_records(path).runs == RECORDS.runs[:3]
