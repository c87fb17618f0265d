"""The program that runs under ``ncu``: every task between profiler start and stop, with a marker kernel before it.

``python -m pamprof.measure.validation.counted_tasks KIND DEVICE FILE`` runs the tasks of ``KIND`` (``flops`` or
``bytes``) and writes pamprof's own counts to ``FILE``. Of a FLOP task only the products are profiled, each
behind a marker of its own, so that every counted kernel is known to belong to one operator; of a byte task everything
is. All of it has run before, so that libraries have chosen their kernels and nothing is compiled or tabulated inside.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.machine.ceilings import read_passes
from pamprof.measure.memory.storage_tracker import held_bytes
from pamprof.measure.validation.product_trace import Product, find_products, run_with
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# A kernel that nothing else launches: torch.tril_indices on a CUDA device.
MARKER_KERNEL = "tril_indices_kernel"

_LAYERS = ("pam", "real_pam", "transformer")
_BFLOAT16_SIZE = 2048
_COMPLEX_SIZE = 512
_SEQUENCE_LENGTH = 2048
# Many times the L2 cache (50 MB on an H200), whose last written lines stay behind; the copy of the measured ceilings.
_COPY_BYTES = 2**31
_TRAFFIC_BATCH_SIZE = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTask:
    """pamprof's own counts of one task.

    Attributes:
        subject: What was run.
        ours: FLOPs, or bytes.
        products: In the order they ran, one marker each; empty in a byte task, which has one marker.
        lower_bound: Whether ``ours`` is the least that the hardware must do.
        unsupported_reason: Why the task could not be run; empty where it was.
    """

    subject: str
    ours: int
    products: tuple[Product, ...] = ()
    lower_bound: bool = False
    unsupported_reason: str = ""

    @property
    def marker_count(self) -> int:
        """Markers it left in the profiled range."""
        return 0 if self.unsupported_reason else max(1, len(self.products))


Profiled: TypeAlias = "Callable[[], AbstractContextManager[None]]"


@contextmanager
def profiled_range() -> Iterator[None]:
    """The part of the program ``ncu`` counts, opened by a marker kernel on the current CUDA device."""
    torch.cuda.profiler.start()
    torch.tril_indices(1, 1, device="cuda")
    yield
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def flop_tasks(
    device: torch.device, profiled: Profiled, *, sequence_length: int = _SEQUENCE_LENGTH
) -> list[CountedTask]:
    """Two products whose FLOPs need no tool to know, then the forward pass of one block in every implementation.

    Args:
        device: Where they run.
        profiled: Entered around every product.
        sequence_length: Tokens of the blocks' sequences.
    """
    left, right = (_random(_BFLOAT16_SIZE, torch.bfloat16, device) for _ in range(2))
    complex_left, complex_right = (_random(_COMPLEX_SIZE, torch.complex64, device) for _ in range(2))
    tasks = [
        _flop_task(f"bfloat16 product, {_BFLOAT16_SIZE}³", lambda: left @ right, profiled),
        _flop_task(f"complex64 product, {_COMPLEX_SIZE}³", lambda: complex_left @ complex_right, profiled),
    ]
    for layer in _LAYERS:
        found = definition(layer)
        for implementation in found.implementations:
            if found.supports(implementation, Dtype.BFLOAT16):
                # The published code launches so many products that one sequence has to do.
                batch_size = 1 if implementation == "published" else 3
                subject = f"{found.title} {implementation}, one block, prefill {batch_size} × {sequence_length}"
                try:
                    step = _block(layer, implementation, batch_size, sequence_length, device)
                    tasks.append(_flop_task(subject, step.eager, profiled))
                except UnsupportedError as exc:
                    tasks.append(CountedTask(subject=subject, ours=0, unsupported_reason=str(exc)))
    return tasks


def byte_tasks(device: torch.device, profiled: Profiled) -> list[CountedTask]:
    """Passes over memory of known size, the largest product of a planar block, and the whole block.

    The passes that only read and only write are those of the measured ceilings.

    Args:
        device: Where they run.
        profiled: Entered around every task.
    """
    source = torch.randint(-128, 127, (_COPY_BYTES,), device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    size = f"{_COPY_BYTES // 2**30} GiB"
    # A plain copy would go to the copy engine, which is no kernel; inverting the bits moves the same bytes in one.
    tasks = [
        _byte_task(
            f"read and write {size}",
            2 * _COPY_BYTES,
            lambda: torch.bitwise_not(source, out=target),
            profiled,
        )
    ]
    for method, read in read_passes(source.view(torch.float32)).items():
        tasks.append(_byte_task(f"read {size}: {method}", _COPY_BYTES, read, profiled))
    tasks.append(_byte_task(f"write {size}: torch.fill_", _COPY_BYTES, lambda: target.fill_(1), profiled))
    step = _block("pam", "planar", _TRAFFIC_BATCH_SIZE, _SEQUENCE_LENGTH, device)
    largest = max(find_products(step.eager).values(), key=lambda product: product.flop_count)
    rows, columns, inner = largest.rows, largest.columns, largest.inner
    left, right = (
        torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in ((rows, inner), (inner, columns))
    )
    output = torch.empty(rows, columns, device=device, dtype=torch.bfloat16)
    moved = sum(tensor.nbytes for tensor in (left, right, output))
    subject = f"PAM planar's largest product, {rows} × {inner} × {columns} bfloat16: each operand once"
    tasks.append(_byte_task(subject, moved, lambda: torch.mm(left, right, out=output), profiled, lower_bound=True))
    held = held_bytes(step.module, step.inputs, step.state, device_type=device.type)
    subject = f"PAM planar, one block, prefill {_TRAFFIC_BATCH_SIZE} × {_SEQUENCE_LENGTH}: the roofline's least traffic"
    tasks.append(_byte_task(subject, held, step.eager, profiled, lower_bound=True))
    return tasks


def _random(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.randn(size, size, dtype=dtype, device=device)


def _block(layer: str, implementation: str, batch_size: int, length: int, device: torch.device) -> PreparedStep:
    found = definition(layer)
    workload = Workload(
        spec=replace(found.preset("100m"), depth=1),
        implementation=implementation,
        execution=Execution.EAGER,
        phase=Phase.PREFILL,
        scope=Scope.LAYER,
        batch_size=batch_size,
        sequence_length=length,
        dtype=Dtype.BFLOAT16,
    )
    return PreparedStep(workload, found, device=device, seed=0)


def _flop_task(subject: str, step: Callable[[], object], profiled: Profiled) -> CountedTask:
    step()  # tables and workspaces are made by the first step
    ours = count_flops(step)
    products = find_products(step)
    entered = run_with(step, products, profiled)
    if entered != len(products):
        raise RuntimeError(f"{subject}: {entered} of {len(products)} products came back in the second run")
    return CountedTask(subject=subject, ours=ours.matrix_flop_count, products=tuple(products.values()))


def _byte_task(
    subject: str, ours: int, step: Callable[[], object], profiled: Profiled, *, lower_bound: bool = False
) -> CountedTask:
    # What an earlier task left unwritten in the cache is written during this one; the same task before it leaves
    # behind as much as this one will.
    for _ in range(2):
        step()
    with profiled():
        step()
    return CountedTask(subject=subject, ours=ours, lower_bound=lower_bound)


def read_tasks(path: Path) -> tuple[CountedTask, ...]:
    """What the program wrote."""
    return msgspec.json.decode(path.read_bytes(), type=tuple[CountedTask, ...])


def main() -> None:
    """Run the tasks named on the command line."""
    kind, device_name, path = sys.argv[1:]
    device = torch.device(device_name)
    torch.cuda.set_device(device)
    tasks = {"flops": flop_tasks, "bytes": byte_tasks}[kind](device, profiled_range)
    Path(path).write_bytes(msgspec.json.encode(tasks))


if __name__ == "__main__":
    main()
