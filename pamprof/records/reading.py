"""The bytes of a file of records: unpacked where gzip packed them, and named where not one line of them is a record."""

from __future__ import annotations

import gzip
import io
import json
import zlib

from pamprof.records.codec import LINE_BEGINNING

UTF8_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"

# First bytes of what is no text of records, what that is, and the remedy. UTF-32 begins as UTF-16 does.
_KINDS = (
    (b"\xff\xfe\x00\x00", "it is UTF-32 text; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32 text; save it as UTF-8"),
    (b"\xff\xfe", "it is UTF-16 text, as Windows PowerShell's > writes it; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text; save it as UTF-8"),
    (b"{\x00", "it is UTF-16 text without a byte order mark; save it as UTF-8"),
    (b"\x00{", "it is UTF-16 text without a byte order mark; save it as UTF-8"),
    (b"PK\x03\x04", "it is a zip archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is packed by zstd; unpack it"),
    (b"\xfd7zXZ\x00", "it is packed by xz; unpack it"),
    (b"BZh", "it is packed by bzip2; unpack it"),
    (b"version https://git-lfs", "it is a pointer of Git LFS and not the file; get the file with git lfs pull"),
    (b"<", "it is HTML or XML, perhaps a page instead of the file that was to be downloaded; fetch it again"),
)
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 200
_MOST_CHARACTERS = 40


def unpacked(content: bytes) -> tuple[bytes, str | None]:
    """``content`` without gzip's packing; where its end is missing, the whole lines before that and the reason."""
    if not content.startswith(GZIP_MAGIC):
        return content, None
    found = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while chunk := file.read1(_CHUNK_BYTES):
                found += chunk
    except (EOFError, OSError, zlib.error) as exc:
        whole = bytes(found[: found.rfind(b"\n") + 1])
        return whole, f"the gzip file is cut off or damaged ({exc}); copy it again"
    return bytes(found), None


def cause_of(content: bytes) -> str | None:
    """Why ``content`` holds no record, with the remedy; None where the faults of its lines say it."""
    named = next((cause for beginning, cause in _KINDS if content.startswith(beginning)), None)
    text = content.removeprefix(UTF8_MARK).strip()
    if named is not None or (text.startswith(LINE_BEGINNING) and not is_torn(text)):
        return named
    return _cause_of_text(text)


def _cause_of_text(text: bytes) -> str:
    if not text:
        return "it is empty; the session wrote nothing, or the copy failed"
    if not text.strip(b"\x00"):
        return "it is zero bytes alone, as a full or failing disk leaves it; copy it again"
    if is_torn(text):
        return "its only line is cut off; measure again, or copy the file again"
    if b'"schema_version"' in text[:_HEAD_BYTES]:
        return "its records were set over several lines; give the file as pamprof wrote it, one record a line"
    if _is_json(text) or _is_json(text.split(b"\n", 1)[0]):
        return "it is JSON of another tool or command; give the runs.jsonl of pamprof compare or serve-sweep"
    first = text[:_HEAD_BYTES].decode("utf-8", "replace").splitlines()[0][:_MOST_CHARACTERS]
    return f"it is not JSON, it begins with {first!r}; give the runs.jsonl of pamprof compare or serve-sweep"


def is_torn(text: bytes) -> bool:
    """Whether ``text`` is nothing, or the beginning of one record whose end is missing."""
    begun = text.startswith(LINE_BEGINNING) or LINE_BEGINNING.startswith(text)
    return begun and b"\n" not in text and not _is_json(text)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
