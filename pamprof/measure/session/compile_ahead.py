"""Fill the compilers' caches ahead of the worker, in processes of their own.

Compiling the arms of a comparison takes longer than measuring them, and keeps one core busy. While the worker
measures, other processes compile what comes next: one block of each model, which stands for all of them, on the same
device and at the same sizes. What they leave in the caches of Inductor and Triton on disk, the worker finds there. They
stand still while the worker takes times.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from pamprof.hardware.host import cpu_core_count
from pamprof.measure.session.process import worker_environment
from pamprof.measure.session.wire import CompileRequest
from pamprof.records import Execution, ImplementationKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pamprof.records import LayerFacts, Workload

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Of the device's memory, for each process: the worker must keep enough for the largest model.
_MEMORY_SHARE = 0.06
_CORES_PER_PROCESS = 4
_MOST_PROCESSES = 4


_stopped: set[int] = set()


class CompileAhead:
    """The processes that compile ahead.

    Args:
        workloads: In the order in which the worker will come to them.
        device: As the worker opens it.
        seed: Of weights and inputs.
    """

    def __init__(self, workloads: Sequence[Workload], *, device: str, seed: int) -> None:
        count = min(_MOST_PROCESSES, cpu_core_count() // _CORES_PER_PROCESS, len(workloads))
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(count):
            request = CompileRequest(
                workloads=tuple(workloads[number::count]), device=device, seed=seed, memory_share=_MEMORY_SHARE
            )
            self._processes.append(_spawn(request))

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Those still at work."""
        return tuple(process.pid for process in self._processes if process.poll() is None)

    def go_on(self) -> None:
        """Let them run, should a worker have died while they stood still."""
        _signal(self.process_ids, signal.SIGCONT)

    def stop(self) -> None:
        """End them; the worker compiles what is missing itself."""
        for process in self._processes:
            if process.poll() is None:
                _signal((process.pid,), signal.SIGKILL)
            process.wait()
        self._processes = []


@contextlib.contextmanager
def standing_still(process_ids: Sequence[int]) -> Iterator[None]:
    """Stop the processes, and the compilers that they started, for as long as times are taken."""
    _stopped.update(process_ids)
    _signal(process_ids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(process_ids, signal.SIGCONT)
        _stopped.difference_update(process_ids)


def kill_standing_still() -> None:
    """End what this process has stopped: nobody else would let it go on once the session is gone."""
    _signal(tuple(_stopped), signal.SIGKILL)


def worth_compiling_ahead(workloads: Sequence[Workload], facts: Mapping[str, LayerFacts]) -> tuple[Workload, ...]:
    """Those that a compiler or Triton has work with, each program once, in order; without the first, which is next."""
    found: dict[object, Workload] = {}
    for workload in workloads[1:]:
        kernels = facts[workload.spec.layer].kind_of(workload.implementation) is ImplementationKind.KERNELS
        if kernels or workload.execution in _COMPILED:
            found.setdefault((workload.point, workload.spec, workload.implementation), workload)
    return tuple(found.values())


def _spawn(request: CompileRequest) -> subprocess.Popen[bytes]:
    environment = worker_environment()
    environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(_CORES_PER_PROCESS))
    environment["FLA_CACHE_RESULTS"] = "0"  # configurations timed beside the worker's work are not kept for it
    process = subprocess.Popen(
        [sys.executable, "-m", "pamprof.measure.session.compile_ahead", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        process.stdin.close()
    return process


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    """Each leads a process group of its own, to which Inductor's and Triton's compilers belong as well."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, number)


def _die_with_parent(parent: int) -> None:
    """Be killed when the session's process ends, even while standing still; at once where it has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        sys.exit(1)


def compile_one(workload: Workload, *, device: str, seed: int) -> None:
    """Build one block and the head of ``workload`` on ``device``, compile them, and run one step."""
    import torch

    from pamprof.workloads.base import layer_facts
    from pamprof.workloads.execution import compile_regions
    from pamprof.workloads.registry import definition
    from pamprof.workloads.steps import PreparedStep

    # Other values compile to the same.
    workload = replace(workload, spec=replace(workload.spec, checkpoint=None))
    layer = definition(workload.spec.layer)
    if layer_facts(layer).kind_of(workload.implementation) is ImplementationKind.KERNELS:
        layer.oracle_error(
            workload.spec,
            implementation=workload.implementation,
            phase=workload.phase,
            device=torch.device(device),
            dtype=workload.dtype,
            seed=seed,
        )
    step = PreparedStep(
        replace(workload, spec=replace(workload.spec, depth=1)), layer, device=torch.device(device), seed=seed
    )
    if workload.execution in _COMPILED:
        compile_regions(step.model)
    step.eager()


def main() -> None:
    """Compile what standard input asks for; whatever fails is left to the worker, which records why."""
    _die_with_parent(int(sys.argv[1]))
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=CompileRequest)
    os.nice(5)
    import torch

    from pamprof.measure.any_layer.registration import register_workloads

    if torch.device(request.device).type == "cuda":
        torch.cuda.set_per_process_memory_fraction(request.memory_share, torch.device(request.device))
    register_workloads(request.workloads)
    for workload in request.workloads:
        with contextlib.suppress(Exception):
            compile_one(workload, device=request.device, seed=request.seed)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
