"""The machine's end of a fleet: measures one group as a session of its own would, and says everything as lines."""

from __future__ import annotations

import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from pamprof.errors import DeviceError, PamprofError
from pamprof.measure.fleet.messages import (
    FleetTask,
    Machine,
    NodeMessage,
    Said,
    decode_task,
    encode_message,
    head_of,
    own_versions,
)
from pamprof.records.codec import encode
from pamprof.records.store import RECORDS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.records import Run, Session
    from pamprof.records.codec import Record

    Send = Callable[[bytes], None]


def lines_of_task(line: bytes, *, node: str = "") -> Iterator[bytes]:
    """Measure the group of ``line`` on this machine; its records and messages as they come.

    Args:
        line: As ``encode_task`` wrote it.
        node: What people know this machine by; its host name by default.
    """
    said: SimpleQueue[bytes | None] = SimpleQueue()
    name = node or platform.node()

    def work() -> None:
        try:
            _answer(line, said.put, name)
        except PamprofError as exc:
            said.put(encode_message(NodeMessage(said=Said.FAILED, text=str(exc))))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the head has to hear of it
            said.put(encode_message(NodeMessage(said=Said.FAILED, text=f"{type(exc).__name__}: {exc}")))
        finally:
            said.put(None)

    Thread(target=work, name="fleet-group", daemon=True).start()
    while (found := said.get()) is not None:
        yield found


def _answer(line: bytes, send: Send, node: str) -> None:
    refusal = own_versions().difference(head_of(line), node=node)
    if refusal is not None:
        send(encode_message(NodeMessage(said=Said.REFUSED, text=refusal)))
        return
    _measure(decode_task(line), send, node)


def _measure(given: FleetTask, send: Send, node: str) -> None:
    """Measure on a machine that the head's versions fit."""
    from pamprof.hardware.host import processor_use
    from pamprof.measure.session.groups import measure_groups
    from pamprof.measure.session.pace import Pace
    from pamprof.measure.session.request import identify_device

    begun = time.perf_counter()
    for name, path in given.task.checkpoints.items():
        if not Path(path).is_file():
            raise DeviceError(f"{node} has no file {path} for {name}; put weights where every machine reads them")
    device = identify_device(given.task.device)
    cpu = device.kind == "cpu"
    machine = Machine(
        node=node,
        device_kind=device.kind,
        device_name=device.name,
        processor=processor_use() if cpu else None,
    )
    send(encode_message(NodeMessage(said=Said.MACHINE, machine=machine)))
    with tempfile.TemporaryDirectory(prefix="pamprof-") as folder:
        outcome = measure_groups(
            replace(
                given.task,
                device="cpu" if cpu else f"cuda:{device.ordinal}",
                ceilings=device.name not in given.with_ceilings,
            ),
            store=_ToHead(Path(folder) / RECORDS_FILE, send),
            reporter=_ProgressToHead(send),
            pace=Pace(given.task.expected_seconds, budget_seconds=given.time_budget_seconds, begun=begun),
        )
    if outcome.interrupted:
        raise DeviceError("the machine was told to end")
    send(encode_message(NodeMessage(said=Said.ENDED, left_out=outcome.left_out)))


class _ToHead:
    """Sends records where a session would write them."""

    def __init__(self, path: Path, send: Send) -> None:
        self.path = path
        self._send = send

    def append(self, record: Record) -> None:
        self._send(encode(record))


class _ProgressToHead:
    """Sends what the head cannot tell from the records."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def begin(self, total_points: int) -> None: ...

    def points_added(self, count: int) -> None: ...

    def point_started(self, label: str) -> None:
        self._send(encode_message(NodeMessage(said=Said.STARTED, text=label)))

    def point_finished(self, label: str, text: str) -> None: ...

    def recorded(self, record: Run | Session) -> None: ...

    def time_left(self, expected_seconds: float) -> None: ...

    def message(self, text: str) -> None:
        self._send(encode_message(NodeMessage(said=Said.REMARK, text=text)))

    def end(self) -> None: ...
