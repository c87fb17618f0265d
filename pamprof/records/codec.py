"""Records as JSON lines: a versioned, checksummed envelope around each noun.

Schema history (newest first):

1  First version: ``session``, ``run``, ``skip`` and ``ceilings`` records, later ``training``, ``capacity``,
   ``serve-check`` and ``ranked-run`` too; ``crc32`` over the record's own bytes, so that a line damaged on disk is
   refused instead of read as another number.

Records outlive the code that wrote them, so every version stays readable:

- A new field with a default needs no new version. Its default is the value for older records, usually ``None``.
- Anything else does: a field without a default, another name, type, unit or meaning, a value an enumeration lost. Raise
  ``SCHEMA_VERSION``, write a line of history above, and let ``decode`` convert the JSON of older versions before it
  becomes a noun, so that nothing above this module knows more than the newest version.
- Keep ``tests/records/fixtures/schema-N.jsonl``, a small real file of the new version with a record of each kind, and
  its exact values in ``tests/records/test_schema_history.py``. A fixture is never changed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from pamprof.errors import RecordError
from pamprof.records.capacity import Capacity
from pamprof.records.checks import impossible, impossible_arm
from pamprof.records.magnitudes import outsized
from pamprof.records.older import completed_run, completed_session
from pamprof.records.ranks import RankedRun
from pamprof.records.run import Ceilings, Run, Skip
from pamprof.records.serve_check import ServeCheck
from pamprof.records.session import ArmFacts, Session, UnplannedLayer
from pamprof.records.training import TrainingProfile

SCHEMA_VERSION = 1

# Every line of every schema begins so, whole or torn.
LINE_BEGINNING = b'{"schema_version":'

Record = Session | Run | Skip | Ceilings | TrainingProfile | Capacity | ServeCheck | RankedRun

_TYPES: dict[str, type[Record]] = {
    "session": Session,
    "run": Run,
    "skip": Skip,
    "ceilings": Ceilings,
    "training": TrainingProfile,
    "capacity": Capacity,
    "serve-check": ServeCheck,
    "ranked-run": RankedRun,
}
_NAMES = {cls: name for name, cls in _TYPES.items()}
_UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    schema_version: int
    type: str
    crc32: str
    record: msgspec.Raw


def encode(record: Record) -> bytes:
    """One line of JSON, newline included."""
    return _line(_NAMES[type(record)], msgspec.json.encode(record))


def encode_problem(problem: str) -> bytes:
    """The line that stands for one that could not be read, so that whoever reads the copy learns of the loss."""
    return _line(_UNREADABLE, msgspec.json.encode(problem))


def _line(kind: str, body: bytes) -> bytes:
    envelope: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "type": kind,
        "crc32": f"{zlib.crc32(body):08x}",
        "record": msgspec.Raw(body),
    }
    return msgspec.json.encode(envelope) + b"\n"


def decode(line: bytes) -> Record:
    """The record of one line.

    Raises:
        RecordError: The line is not JSON, is damaged, or was written by a newer schema.
    """
    try:
        envelope = msgspec.json.decode(line, type=_Envelope)
    except msgspec.DecodeError as exc:
        raise RecordError(f"not a record: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise RecordError("not a record: the line is not UTF-8") from exc
    except RecursionError as exc:
        raise RecordError("not a record: its values are nested too deeply") from exc
    if envelope.schema_version > SCHEMA_VERSION:
        raise RecordError(
            f"schema version {envelope.schema_version} is newer than {SCHEMA_VERSION}, which this pamprof reads; "
            "upgrade pamprof"
        )
    if envelope.type == _UNREADABLE:
        raise RecordError(f"lost when the file was copied: {bytes(envelope.record).decode(errors='replace')}")
    cls = _TYPES.get(envelope.type)
    if cls is None or envelope.schema_version < 1:
        raise RecordError(f"unknown record type {envelope.type!r} in schema version {envelope.schema_version}")
    body = bytes(envelope.record)
    if envelope.crc32 != f"{zlib.crc32(body):08x}":
        raise RecordError("the record does not match its checksum; the line was changed after it was written")
    try:
        return _true(envelope.type, body, cls)
    except RecordError:
        found = _without_untrue_arms(body) if cls is Session else None
        if found is None:
            raise
        kept, left_out = found
        session = _true(envelope.type, kept, Session)
        assert isinstance(session, Session)
        return replace(session, unplanned_layers=(*session.unplanned_layers, *left_out))


def _true(kind: str, body: bytes, cls: type[Record]) -> Record:
    """The record of ``body``, completed.

    Raises:
        RecordError: It does not fit the schema, or no measurement can have written it.
    """
    try:
        record = msgspec.json.decode(body, type=cls)
    except msgspec.DecodeError as exc:
        raise RecordError(f"{kind} record does not fit the schema: {exc}") from exc
    outlier = outsized(record)
    if outlier is not None:
        raise RecordError(f"{kind} record cannot be true: {outlier}, a size nothing has; measure it again")
    fault = impossible(record)
    if fault is not None:
        raise RecordError(f"{kind} record cannot be true: {fault}, not a positive number; measure it again")
    if isinstance(record, Session):
        return completed_session(record)
    return completed_run(record) if isinstance(record, Run) else record


def _without_untrue_arms(body: bytes) -> tuple[bytes, tuple[UnplannedLayer, ...]] | None:
    """A session without the arms whose stored sizes cannot be true, and those arms' layers, to be told of.

    One layer's formula must not lose the others. None where no arm is left, or its arms are not what is wrong with it.
    """
    try:
        document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        arms = msgspec.json.decode(document["arms"], type=list[msgspec.Raw])
    except (msgspec.DecodeError, KeyError):
        return None
    faults = [_fault_of(arm) for arm in arms]
    kept = [arm for arm, fault in zip(arms, faults, strict=True) if fault is None]
    if not kept or len(kept) == len(arms):
        return None
    left_out = tuple(
        UnplannedLayer(layer=_layer_of(arm), reason=f"its sizes as stored cannot be true and were left out: {fault}")
        for arm, fault in zip(arms, faults, strict=True)
        if fault is not None
    )
    return msgspec.json.encode({**document, "arms": kept}), left_out


def _fault_of(arm: msgspec.Raw) -> str | None:
    try:
        facts = msgspec.json.decode(arm, type=ArmFacts)
    except msgspec.DecodeError as exc:
        return str(exc)
    return outsized(facts) or impossible_arm(facts)


def _layer_of(arm: msgspec.Raw) -> str:
    try:
        return str(msgspec.json.decode(arm)["spec"]["layer"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "a layer"
