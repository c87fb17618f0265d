"""One rank: joins the others, reads a group with them, measures it with them; rank 0 alone answers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.any_layer.registration import register_workloads
from pamprof.measure.ranks.plan import one_device_of
from pamprof.measure.ranks.rank_team import RankTeam, check_alike
from pamprof.measure.ranks.ranked_runner import DisagreementError, RankedRunner
from pamprof.measure.session.answering import Pipe
from pamprof.measure.session.layer_fault import fault_sentence, fault_traceback
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.wire import Event, decode_request, encode_event
from pamprof.records import Skip, SkipKind
from pamprof.records.codec import encode
from pamprof.version import __version__
from pamprof.workloads.checkpoints.weights import know_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import Workload

Found = TypeVar("Found")

# Of a message between ranks, as a share of the time after which the session gives the worker up: the ranks end first,
# and say which of them did not come.
_PATIENCE_SHARE = 0.5
_SHORTEST_PATIENCE_SECONDS = 5.0

# After which the launcher has ended the ranks that are left, where one of them died.
_LAUNCHER_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLines:
    """Descriptors that every rank of a launch has from its launcher.

    Attributes:
        launcher: Its process, whose descriptors a rank opens that did not inherit them; None where it did.
        answers: To the session; rank 0 writes it, and the first rank that fails.
        requests: Groups after the first, a line each.
        token: Holds one byte, for the first rank that fails: whoever takes it tells the session.
    """

    launcher: int | None
    answers: int
    requests: int
    token: int

    def opened(self) -> RankLines:
        """The same lines as descriptors of this process."""
        if self.launcher is None:
            return self
        folder = f"/proc/{self.launcher}/fd"
        return RankLines(
            launcher=None,
            answers=os.open(f"{folder}/{self.answers}", os.O_WRONLY),
            requests=os.open(f"{folder}/{self.requests}", os.O_RDONLY),
            token=os.open(f"{folder}/{self.token}", os.O_RDONLY | os.O_NONBLOCK),
        )


def run_rank(first: bytes, lines: RankLines) -> None:
    """Measure the group of the line ``first``, then those that come, until there are no more.

    Every rank of a launch calls this; ``RANK`` and ``WORLD_SIZE`` are in its environment.
    """
    lines, request = lines.opened(), decode_request(first)
    patience = max(_SHORTEST_PATIENCE_SECONDS, _PATIENCE_SHARE * request.settings.point_timeout_seconds)
    on_cuda = request.device != "cpu"
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    timeout = timedelta(seconds=patience)
    if on_cuda:
        torch.cuda.set_device(rank)
        backend = f"nccl {'.'.join(map(str, torch.cuda.nccl.version()))}"
        distributed.init_process_group("nccl", timeout=timeout, device_id=torch.device("cuda", rank))
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks))
        backend = "gloo"
        distributed.init_process_group("gloo", timeout=timeout)
    team = RankTeam(distributed.new_group(backend="gloo", timeout=timeout))
    check_alike(team.gathered(_versions(backend, on_cuda=on_cuda)))
    measuring = _Groups(RankedRunner(request, team, backend=backend), team, lines, patience)
    requests = _requests(first, lines.requests) if rank == 0 else iter(())
    while (line := team.told(next(requests, b"") if rank == 0 else None)) != b"":
        measuring.run(decode_request(line))
    distributed.destroy_process_group()


def _versions(backend: str, *, on_cuda: bool) -> dict[str, str | None]:
    """What all ranks must have alike."""
    return {
        "pamprof": __version__,
        "torch": str(torch.__version__),
        "backend": backend,
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
    }


def _requests(first: bytes, descriptor: int) -> Iterator[bytes]:
    yield first
    with os.fdopen(descriptor, "rb") as file:
        yield from file


class _Groups:
    """Measures groups one after another; a rank that fails tells the session why and ends, and with it all others."""

    def __init__(self, runner: RankedRunner, team: RankTeam, lines: RankLines, patience_seconds: float) -> None:
        self._runner, self._team, self._lines = runner, team, lines
        self._patience_seconds = patience_seconds
        self._pipe = Pipe(lines.answers)

    def run(self, request: GroupRequest) -> None:
        """Measure every workload of the group that ranks share, in turn with the group's first, that of one device."""
        alone_workload = one_device_of(request)
        know_checkpoints(request.checkpoints)
        register_workloads(request.workloads)
        pending = [workload for workload in request.workloads[1:] if workload.key not in request.done]
        if not pending:
            return self._answer(encode_event(Event(event="finished")))
        self._answer(encode_event(Event(event="started", key=pending[0].key)))
        alone = self._or_told(partial(self._runner.alone, request, alone_workload), request, pending[0])
        for workload in pending:
            self._answer(encode_event(Event(event="started", key=workload.key)))
            try:
                measure = partial(self._runner.measure, request, workload, alone_workload, alone)
                run = self._or_told(measure, request, workload)
            except DisagreementError as exc:
                self._answer(encode(_skip(request, workload, SkipKind.INCORRECT, str(exc))))
            else:
                self._answer(encode(run))
            self._runner.forget()
        del alone, measure
        self._runner.forget()
        return self._answer(encode_event(Event(event="finished")))

    def _answer(self, line: bytes) -> None:
        if self._team.rank == 0:
            self._pipe.send(line)

    def _or_told(self, measure: Callable[[], Found], request: GroupRequest, workload: Workload) -> Found:
        """What ``measure`` gives; whatever goes wrong on this rank alone is told before it goes on."""
        try:
            return measure()
        except DisagreementError:
            raise
        except BaseException as exc:
            if _is_about_others(exc):
                time.sleep(_LAUNCHER_SECONDS)  # where another died, the launcher ends this one first and names that one
            if _takes(self._lines.token):
                self._pipe.send(encode(self._skip_of(exc, request, workload)))
            raise

    def _skip_of(self, fault: BaseException, request: GroupRequest, workload: Workload) -> Skip:
        who = f"rank {self._team.rank} of {self._team.size}"
        layer = workload.spec.layer
        if self._runner.device.is_out_of_memory(fault):
            return _skip(request, workload, SkipKind.OUT_OF_MEMORY, f"{who}: {self._runner.out_of_memory(workload)}")
        if _is_about_others(fault):
            reason = f"{who} waited {self._patience_seconds:g} s for the others, of which one hangs"
            return _skip(request, workload, SkipKind.TIMEOUT, f"{reason}; raise --point-timeout or take a smaller size")
        if isinstance(fault, PamprofError):
            kind = SkipKind.UNSUPPORTED if isinstance(fault, UnsupportedError | UsageError) else SkipKind.INCORRECT
            return _skip(request, workload, kind, str(fault))
        reason = f"{who}: {fault_sentence(layer, fault, implementation=workload.implementation)}"
        return _skip(request, workload, SkipKind.CRASHED, reason, fault_traceback(fault))


def _is_about_others(fault: BaseException) -> bool:
    """Whether a message between ranks failed, as it does when one of them hangs or has died."""
    text = str(fault).lower()
    words = ("timed out", "timeout", "connection closed by peer", "connection reset", "broken pipe")
    return isinstance(fault, distributed.DistError) or (
        isinstance(fault, RuntimeError) and any(word in text for word in words)
    )


def _takes(token: int) -> bool:
    """Whether this rank is the first to ask; the token does not block."""
    try:
        return bool(os.read(token, 1))
    except BlockingIOError:
        return False


def _skip(request: GroupRequest, workload: Workload, kind: SkipKind, reason: str, traceback: str | None = None) -> Skip:
    return Skip(
        session_id=request.session_id,
        started_at=utc_now(),
        workload=workload,
        kind=kind,
        reason=reason,
        traceback=traceback,
    )
