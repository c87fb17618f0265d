"""The memory core's kernels on one GPU: every candidate configuration checked against float64, the best ones timed.

    python benchmarks/core.py --json core.json --seconds 300
    python benchmarks/core.py --shapes 18x2048 --directions forward --states 1,3

Per shape (100M model, 6 heads of 64 complex channels, bfloat16): the forward call alone, and forward with backward,
each tuned for itself, warm (replays of one CUDA graph) and cold (256 MB written between calls, so that nothing is left
in the L2 cache). Several states a head are tuned and timed likewise, with their products over those of one state in the
same chunk. Beside them the least time that the bytes of queries, keys, values and outputs take at the copy
bandwidth measured here, and flash-linear-attention's ``chunk_simple_gla`` on the real embedding (two real heads of
doubled width for one complex head) where that package is installed. Candidates are compiled and checked first in
worker processes, which leave their binaries in Triton's cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from pamprof.errors import PamprofError
from pamprof.hardware.environment import own_commit
from pamprof.measure.session.runner import utc_now
from pamprof.workloads.kernels.core.candidates import candidate_groups, starting_points
from pamprof.workloads.kernels.core.check import CheckResult, check_for
from pamprof.workloads.kernels.core.configuration import Configuration, CoreShape
from pamprof.workloads.kernels.core.launch import launch_backward, launch_forward
from pamprof.workloads.kernels.core.selection import has_hopper_kernels, multiprocessors
from pamprof.workloads.kernels.core.tuning import Tuning, graph_seconds, random_inputs, tune
from pamprof.workloads.kernels.core.work import (
    backward_byte_count,
    backward_work,
    forward_byte_count,
    forward_work,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Targets of this project on an H200, microseconds: forward, and forward with backward; None where none was set.
TARGETS: dict[tuple[int, int], tuple[float | None, float | None]] = {
    (18, 2048): (75.0, 250.0),
    (3, 2048): (20.0, None),
    (1, 16384): (42.0, None),
    (1, 2048): (None, None),
}
HEADS, HEAD_DIM = 6, 64
FLUSH_BYTES = 1 << 28
COLD_SAMPLES = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One shape and direction; times in seconds, medians."""

    batch_size: int
    length: int
    direction: str
    warm_seconds: float
    cold_seconds: float
    floor_seconds: float
    target_seconds: float | None
    matrix_flop_count: int
    byte_count: int
    configuration: str
    numbers: list[int]
    errors: dict[str, float]
    trials: list[tuple[list[int], float | None, float | None]]  # numbers, seconds forward and backward
    refused: list[str]
    complete: bool
    chunks: dict[int, tuple[float, float]]  # best forward seconds, and forward products over those of one state


def cold_seconds(call: Callable[[], object]) -> float:
    """Median seconds of one call with nothing of it in the L2 cache."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    times = []
    for _ in range(COLD_SAMPLES):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        flush.zero_()
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]


def copy_bandwidth() -> float:
    """Bytes read and written per second by a kernel that passes over two gigabytes; a copy would be no kernel."""
    source = torch.randint(-(2**31), 2**31 - 1, (1 << 29,), dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / graph_seconds(lambda: torch.bitwise_not(source, out=target))


def calls(shape: CoreShape, configuration: Configuration) -> tuple[Callable[[], object], Callable[[], object] | None]:
    """The forward call, and forward with backward where ``shape`` is differentiated."""
    inputs = random_inputs(shape, torch.device("cuda"))

    def forward() -> object:
        return launch_forward(inputs, configuration, wants_final=not shape.differentiates, keeps=shape.differentiates)

    if not shape.differentiates:
        return forward, None
    gradient = torch.randn(inputs.queries.shape, device="cuda", dtype=shape.dtype)

    def both() -> object:
        kept = launch_forward(inputs, configuration, wants_final=False, keeps=True)[2]
        return launch_backward(inputs, configuration, kept, gradient, None, wants_initial=False)

    return forward, both


def row(tuning: Tuning, bandwidth: float) -> Row:
    """Times of the best configuration of one tuning."""
    shape, best = tuning.shape, tuning.best
    forward, both = calls(shape, best.configuration)
    call = both or forward
    planes = 2 * shape.batch_size * shape.heads * shape.length * shape.head_dim * shape.dtype.itemsize
    flops = forward_work(shape, best.configuration).matrix_flop_count
    moved = forward_byte_count(shape, best.configuration, keeps=shape.differentiates)
    least = 4 * planes
    if both is not None:
        work = backward_work(shape, best.configuration, has_initial=False, wants_initial=False, has_final=False)
        flops += work.matrix_flop_count
        moved += backward_byte_count(shape, best.configuration)
        least += 7 * planes  # q, k, v and the output's gradient read, three gradients written
    targets = TARGETS.get((shape.batch_size, shape.length), (None, None)) if shape.states == 1 else (None, None)
    target = targets[shape.differentiates]
    direction = "forward and backward" if both is not None else "forward"
    return Row(
        batch_size=shape.batch_size,
        length=shape.length,
        direction=direction if shape.states == 1 else f"{direction}, {shape.states} states",
        warm_seconds=graph_seconds(call),
        cold_seconds=cold_seconds(call),
        floor_seconds=least / bandwidth,
        target_seconds=None if target is None else target / 1e6,
        matrix_flop_count=flops,
        byte_count=moved,
        configuration=best.configuration.described(),
        numbers=best.configuration.numbers(),
        errors=dict(best.errors),
        trials=[
            (trial.configuration.numbers(), trial.forward_seconds, trial.backward_seconds) for trial in tuning.trials
        ],
        refused=[f"{trial.configuration.numbers()}: {trial.fault}" for trial in tuning.trials if trial.fault],
        complete=tuning.complete,
        chunks=best_by_chunk(tuning),
    )


def best_by_chunk(tuning: Tuning) -> dict[int, tuple[float, float]]:
    """The least forward seconds with each chunk, and its forward products over those of one state in that chunk."""
    found: dict[int, tuple[float, float]] = {}
    one = dataclasses.replace(tuning.shape, states=1)
    for trial in tuning.trials:
        chunk, seconds = trial.configuration.chunk, trial.forward_seconds
        if seconds is not None and (chunk not in found or seconds < found[chunk][0]):
            work = forward_work(tuning.shape, trial.configuration).matrix_flop_count
            found[chunk] = seconds, work / forward_work(one, trial.configuration).matrix_flop_count
    return found


def tuned_row(shape: CoreShape, seconds: float, bandwidth: float) -> Row:
    """Tune one shape and time its best configuration; runs in a worker."""
    return row(tune(shape, torch.device("cuda"), time_limit_seconds=seconds), bandwidth)


def warm_jobs(shapes: list[CoreShape]) -> list[tuple[CoreShape, list[int]]]:
    """One of every set of candidates that are compiled alike: segments only matter in being one or several."""
    jobs: dict[object, tuple[CoreShape, list[int]]] = {}
    for shape in shapes:
        device = torch.device("cuda", torch.cuda.current_device())
        processors = multiprocessors(device)
        for start in starting_points(shape, processors, hopper=has_hopper_kernels(device)):
            several = start.forward_segments(shape.length) > 1, start.gradient_segments(shape.length) > 1
            groups = candidate_groups(shape, processors)
            for candidate in (start, *(candidate for group in groups for candidate in group(start))):
                alike = dataclasses.replace(candidate, segment_chunks=0, gradient_segment_chunks=0)
                jobs.setdefault((shape.differentiates, shape.states, several, alike), (shape, candidate.numbers()))
    return list(jobs.values())


def warm_one(job: tuple[CoreShape, list[int]]) -> CheckResult:
    """Compile and check one candidate; runs in a worker."""
    shape, numbers = job
    inputs = random_inputs(shape, torch.device("cuda"))
    keeps = shape.differentiates
    return check_for(inputs, Configuration.of(numbers), wants_final=not keeps, keeps=keeps)


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes that do one thing each: a kernel that reaches outside its memory ends its own, no other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pamprof.workloads.kernels.core.tuning"])
    return ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1)


def compile_ahead(shapes: list[CoreShape], workers: int, until: float) -> Iterator[CheckResult]:
    """Results of all candidates as they come, until the time is up."""
    with processes(workers) as pool:
        futures = [pool.submit(warm_one, job) for job in warm_jobs(shapes)]
        for future in futures:
            try:
                yield future.result(timeout=max(0.1, until - perf_counter()))
            except (TimeoutError, RuntimeError) as exc:  # late, or a worker died; what is missing is compiled later
                print(f"compiling ahead ends: {type(exc).__name__} {exc}", flush=True)
                for waiting in futures:
                    waiting.cancel()
                return


def simple_gla(shape: CoreShape) -> tuple[float, float] | str:
    """Seconds of flash-linear-attention's forward, and forward with backward, on the real embedding; or why not."""
    try:
        from fla.ops.simple_gla import chunk_simple_gla
    except ImportError:
        return "flash-linear-attention is not installed"
    size = (shape.batch_size, shape.length, 2 * shape.heads, 2 * shape.head_dim)
    q, k, v = (torch.randn(size, device="cuda", dtype=shape.dtype, requires_grad=True) for _ in range(3))
    decay = (-0.02 * torch.rand(size[:3], device="cuda")).requires_grad_(True)
    gradient = torch.randn_like(q)

    def forward() -> torch.Tensor:
        return chunk_simple_gla(q, k, v, g=decay, scale=shape.head_dim**-0.5)[0]

    def both() -> object:
        return torch.autograd.grad(forward(), (q, k, v, decay), gradient)

    def without_graph() -> object:
        with torch.no_grad():
            return forward()

    try:
        return graph_seconds(without_graph), graph_seconds(both)
    except RuntimeError as exc:
        return f"flash-linear-attention fails: {str(exc).strip().splitlines()[0]}"


def main() -> None:
    """Parse the command line, print a row as soon as it is measured, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--seconds", type=float, default=300.0, help="time for everything, in seconds")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes that compile"
    )
    parser.add_argument("--shapes", default="18x2048,3x2048,1x16384,1x2048", help="comma-separated BxT")
    parser.add_argument("--directions", default="forward,both", help="forward, both, or both of them")
    parser.add_argument("--states", default="1", help="comma-separated states a head")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("core.py runs the GPU kernels and torch finds no CUDA device; run it where there is one")
    began = perf_counter()
    until = began + options.seconds
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {bandwidth / 1e12:.2f} TB/s", flush=True)
    sizes = [tuple(map(int, text.split("x"))) for text in options.shapes.split(",")]
    shapes = [
        CoreShape(
            batch_size=batch_size,
            length=length,
            heads=HEADS,
            head_dim=HEAD_DIM,
            dtype=torch.bfloat16,
            differentiates=direction == "both",
            states=states,
        )
        for states in map(int, options.states.split(","))
        for direction in options.directions.split(",")
        for batch_size, length in sizes
    ]
    compiled = []
    if options.workers > 1:
        for result in compile_ahead(shapes, options.workers, began + 0.6 * options.seconds):
            compiled.append(result)
            if result.fault is not None:
                print(f"refused {result.configuration.numbers()}: {result.fault}", flush=True)
        print(f"{len(compiled)} candidates checked ahead in {perf_counter() - began:.0f} s", flush=True)
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "commit": own_commit().value,
        "written_at": utc_now(),
        "copy_bytes_per_second": bandwidth,
        "refused_ahead": [f"{result.configuration.numbers()}: {result.fault}" for result in compiled if result.fault],
        "rows": [],
        "simple_gla": {},
    }
    for index, shape in enumerate(shapes):
        name = f"B={shape.batch_size} T={shape.length}" + (f" K={shape.states}" if shape.states > 1 else "")
        share = max(5.0, (until - perf_counter()) / (len(shapes) - index))
        try:
            with processes(1) as pool:
                found = pool.submit(tuned_row, shape, share, bandwidth).result()
        except (PamprofError, RuntimeError) as exc:  # torch's errors on a GPU are RuntimeErrors
            print(f"{name}: {exc}", flush=True)
            continue
        report["rows"].append(dataclasses.asdict(found))  # type: ignore[attr-defined]
        target = "   -" if found.target_seconds is None else f"{1e6 * found.target_seconds:4.0f}"
        print(
            f"{name:14} {found.direction:20} warm {1e6 * found.warm_seconds:7.1f} us  "
            f"cold {1e6 * found.cold_seconds:7.1f} us  floor {1e6 * found.floor_seconds:6.1f} us  target {target} us  "
            f"{found.matrix_flop_count / found.warm_seconds / 1e12:5.0f} TFLOP/s  "
            f"{found.byte_count / found.warm_seconds / 1e12:4.2f} TB/s  worst error "
            f"{max(found.errors.values()):.1e}  {len(found.trials)} tried, {len(found.refused)} refused"
            f"{'' if found.complete else ', cut short'}\n    {found.configuration}",
            flush=True,
        )
        for chunk, (seconds, products) in sorted(found.chunks.items()):
            print(f"    chunk {chunk}: forward {1e6 * seconds:.1f} us, {products:.2f} x the products of one state")
        if not shape.differentiates and shape.states == 1:
            beside = simple_gla(shape)
            report["simple_gla"][name] = beside  # type: ignore[index]
            if isinstance(beside, str):
                print(f"    {beside}", flush=True)
            else:
                print(
                    f"    simple_gla on the real embedding: forward {1e6 * beside[0]:.1f} us, forward and backward "
                    f"{1e6 * beside[1]:.1f} us",
                    flush=True,
                )
        if options.json is not None:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not report["rows"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
