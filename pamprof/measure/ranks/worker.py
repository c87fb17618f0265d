"""The worker of points that ranks share: torchrun's launcher around as many processes as the first group asks for.

The session talks to it as to any worker. Ranks are forked from this process once torch is loaded, which spares each
the import; they inherit the lines to the session. Where something that was loaded has asked CUDA, which no fork
survives, they are fresh processes. A rank that dies ends the others, and this process says which it was.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from typing import TYPE_CHECKING

from pamprof.measure.imports import never_collected
from pamprof.measure.ranks.plan import layout_of
from pamprof.measure.session.answering import end_with_parent
from pamprof.measure.session.wire import decode_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_MONITOR_SECONDS = 0.1


def main() -> None:
    """Launch the ranks and wait for them."""
    answers = int(sys.argv[1])
    end_with_parent(answers)
    sys.path.append(os.getcwd())
    with never_collected():  # loaded while the parent is still planning
        import torch._dynamo  # noqa: F401 - every count of operators brings it
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        from pamprof.measure.ranks.rank import RankLines, run_rank

    first = _first_line()
    if not first:
        return
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the last line printed is the reason
    ranks = layout_of(decode_request(first)).ranks
    token, fill = os.pipe()
    os.write(fill, b"!")
    os.set_blocking(token, False)
    # A rank's standard input is closed by multiprocessing; the copy stays.
    requests = os.dup(sys.stdin.fileno())
    launcher = None if can_fork() else os.getpid()
    lines = RankLines(launcher=launcher, answers=answers, requests=requests, token=token)
    try:
        launch(run_rank, ranks, first, lines)
    except ChildFailedError as exc:
        print(_sentence(exc, ranks), file=sys.stderr, flush=True)  # noqa: T201 - the session reads the last line
        sys.exit(1)


def can_fork() -> bool:
    """Whether a fork of this process could use CUDA, which one finds out that does nothing else."""
    import torch

    if (child := os.fork()) == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def launch(entry: Callable[..., None], ranks: int, *arguments: object) -> None:
    """Call ``entry`` in ``ranks`` processes of this machine and wait for them.

    Raises:
        ChildFailedError: One of them failed; the others were ended.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if sys.platform == "linux" else ():
        os.environ.setdefault(name, "lo")  # all ranks are here; the machine's own name may lead nowhere
    configuration = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=_MONITOR_SECONDS,
        start_method="fork" if can_fork() else "spawn",
    )
    elastic_launch(configuration, entry)(*arguments)


def _first_line() -> bytes:
    """The first request, and no byte more: what follows is for the ranks."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _sentence(error: ChildFailedError, ranks: int) -> str:
    """Which rank ended first, and how."""
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode)
        how = f"was ended by signal {name.name}"
        how += ", as NCCL does when another rank's message does not come" if name is signal.SIGABRT else ""
    else:
        told: object = failure.message  # torch declares a text and gives what the rank's error file holds
        lines = str(told.get("message", "") if isinstance(told, dict) else told).splitlines()
        how = f"ended: {lines[0] if lines else f'exit status {failure.exitcode}'}"
    return f"rank {rank} of {ranks} {how}"


if __name__ == "__main__":
    main()
