"""How long a step of the ``fused`` model takes beside ``planar``, and which kernels it spends its time in.

    python benchmarks/step.py --seconds 240 --json step.json

The paper's 100M model without dropout in bfloat16 on one CUDA device: training, prefill and decode, each operator by
operator and as one CUDA graph. An implementation is compared with the float64 oracle first and a wrong one is not
timed. Times are medians of CUDA events around single steps, one implementation after the other; ratios for a report
come from ``pamprof compare``, which pairs them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import traceback
from collections import Counter
from pathlib import Path
from time import perf_counter

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from pamprof.errors import PamprofError
from pamprof.hardware.environment import own_commit
from pamprof.measure.machine.kernels.profile import short_name, union_length
from pamprof.measure.session.runner import utc_now
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

POINTS = (
    (Phase.DECODE, 1, 2048),
    (Phase.DECODE, 64, 2048),
    (Phase.PREFILL, 1, 2048),
    (Phase.PREFILL, 1, 16384),
    (Phase.TRAIN, 3, 2048),
    (Phase.TRAIN, 18, 2048),
)
LAYERS = {"fused": "pam", "planar": "pam", "gauss": "pam", "published": "pam", "sdpa": "transformer"}
TOLERANCES = {Dtype.FLOAT32: 1e-5, Dtype.BFLOAT16: 2e-2}
WARM_UP_STEPS = 3
FEWEST_SAMPLES, MOST_SAMPLES = 5, 200
NAMED_KERNELS = 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One implementation at one point; ``kernels`` are (name, launches, microseconds) of one step.

    What the profiler could not tell is None or empty.
    """

    phase: str
    batch_size: int
    sequence_length: int
    implementation: str
    execution: str
    median_ms: float
    fastest_ms: float
    samples: int
    tokens_per_second: float
    kernel_ms: float | None
    kernel_count: int | None
    peak_gib: float
    kernels: tuple[tuple[str, int, float], ...]


def gate(implementation: str, preset: str, device: torch.device) -> dict[str, float]:
    """Relative rms error of one block in every phase and dtype against the oracle; raises where it is too large."""
    found = definition(LAYERS[implementation])
    spec = found.preset(preset)
    errors = {}
    for dtype in Dtype:
        for phase in Phase:
            error, _ = found.oracle_error(
                spec, implementation=implementation, phase=phase, device=device, dtype=dtype, seed=0
            )
            errors[f"{phase}/{dtype}"] = error
            if not error <= TOLERANCES[dtype]:
                raise PamprofError(f"{implementation} differs from the oracle by {error:.1e} in {phase}, {dtype}")
    return errors


def measure(workload: Workload, device: torch.device, seconds: float) -> Row:
    """Time and profile one workload within about ``seconds``."""
    torch.cuda.reset_peak_memory_stats(device)
    step = PreparedStep(workload, definition(workload.spec.layer), device=device, seed=0)
    step.compile()
    step.capture()
    step.reset()
    for _ in range(WARM_UP_STEPS):
        step.run()
    torch.cuda.synchronize(device)
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < FEWEST_SAMPLES or (perf_counter() < end and len(times) < MOST_SAMPLES):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        step.run()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    tokens = workload.batch_size * (1 if workload.phase is Phase.DECODE else workload.sequence_length)
    kernels: tuple[tuple[str, int, float], ...] = ()
    kernel_ms = kernel_count = None
    try:
        kernels, kernel_ms, kernel_count = breakdown(step)
    except (RuntimeError, AssertionError) as exc:
        print(f"the profiler failed: {exc}")
    median_ms = statistics.median(times)
    return Row(
        phase=workload.phase,
        batch_size=workload.batch_size,
        sequence_length=workload.sequence_length,
        implementation=workload.implementation,
        execution=workload.execution,
        median_ms=median_ms,
        fastest_ms=min(times),
        samples=len(times),
        tokens_per_second=tokens / median_ms * 1e3,
        kernel_ms=kernel_ms,
        kernel_count=kernel_count,
        peak_gib=torch.cuda.max_memory_allocated(device) / 2**30,
        kernels=kernels,
    )


def breakdown(step: PreparedStep) -> tuple[tuple[tuple[str, int, float], ...], float, int]:
    """The kernels that take most of one step, and the time and number of all of them."""
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
        step.run()
        torch.cuda.synchronize()
    times: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    spans = []
    for event in profiler.events() or []:
        duration = event.time_range.end - event.time_range.start
        if event.device_type == DeviceType.CUDA and duration > 0:
            name = short_name(event.name)
            times[name] += duration
            launches[name] += 1
            spans.append((event.time_range.start, event.time_range.end))
    largest = tuple((name, launches[name], float(time)) for name, time in times.most_common(NAMED_KERNELS))
    busy = union_length(sorted(spans)) / 1e3 if spans else 0.0  # kernels may overlap
    return largest, busy, len(spans)


def show(row: Row, kernels: bool) -> None:
    """Print one row, and its kernels."""
    print(
        f"{row.phase:8s} B={row.batch_size:<3d} T={row.sequence_length:<6d} {row.implementation:10s} "
        f"{row.execution:14s} {row.median_ms:9.3f} ms  {row.tokens_per_second:11,.0f} tokens/s  "
        f"kernels {'unknown' if row.kernel_ms is None else f'{row.kernel_ms:.3f} ms in {row.kernel_count}'}  "
        f"peak {row.peak_gib:6.2f} GiB  n={row.samples}"
    )
    if kernels:
        for name, count, microseconds in row.kernels:
            print(f"    {microseconds:10.1f} us {count:5d} x  {microseconds / count:8.2f} us  {name}")
    sys.stdout.flush()


def main() -> None:  # noqa: PLR0915 - one command, read from top to bottom
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--implementations", default="fused,planar", help=f"of {', '.join(LAYERS)}")
    parser.add_argument("--executions", default="eager,graph", help=f"of {', '.join(Execution)}")
    parser.add_argument("--phases", default=",".join(Phase), help=f"of {', '.join(Phase)}")
    parser.add_argument("--seconds", type=float, default=240.0, help="budget of the whole run")
    parser.add_argument("--json", type=Path, help="write rows, errors and skips here")
    parser.add_argument("--preset", default="100m", help="sizes by name, such as 100m-k3 for three states a head")
    parser.add_argument("--skip-gate", action="store_true", help="do not compare with the oracle")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; run this on a GPU machine")
    device = torch.device("cuda", torch.cuda.current_device())
    implementations = options.implementations.split(",")
    executions = [Execution(name) for name in options.executions.split(",")]
    phases = [Phase(name) for name in options.phases.split(",")]
    points = [point for point in POINTS if point[0] in phases]
    end = perf_counter() + options.seconds
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    rows: list[Row] = []
    errors: dict[str, dict[str, float]] = {}
    skips: list[str] = []
    for implementation in implementations if not options.skip_gate else ():
        try:
            errors[implementation] = gate(implementation, options.preset, device)
        except Exception as exc:  # noqa: BLE001 - whatever breaks one arm must not hide the others
            traceback.print_exc(limit=-6)
            skips.append(f"{implementation}: {exc}")
            print(f"gate of {skips[-1]}")
        else:
            print(f"gate of {implementation}:", " ".join(f"{k} {v:.1e}" for k, v in errors[implementation].items()))
    usable = [name for name in implementations if options.skip_gate or name in errors]
    left = len(points) * len(usable) * len(executions)
    for phase, batch_size, sequence_length in points:
        for implementation in usable:
            for execution in executions:
                remaining, left = end - perf_counter(), left - 1
                name = f"{phase} B={batch_size} T={sequence_length} {implementation} {execution}"
                if remaining <= 0:
                    skips.append(f"{name}: out of time")
                    continue
                workload = Workload(
                    spec=definition(LAYERS[implementation]).preset(options.preset),
                    implementation=implementation,
                    execution=execution,
                    phase=phase,
                    scope=Scope.MODEL,
                    batch_size=batch_size,
                    sequence_length=sequence_length,
                    dtype=Dtype.BFLOAT16,
                )
                try:
                    rows.append(measure(workload, device, 0.3 * remaining / (left + 1)))
                except Exception as exc:  # noqa: BLE001 - likewise
                    traceback.print_exc(limit=-6)
                    skips.append(f"{name}: {type(exc).__name__}: {exc}")
                    print(f"skipped {skips[-1]}"[:600])
                else:
                    show(rows[-1], implementation == "fused")
                torch.cuda.empty_cache()
    for skip in skips:
        print(f"skipped {skip}"[:600])
    if options.json:
        content = {
            "device": torch.cuda.get_device_name(device),
            "torch": torch.__version__,
            "commit": own_commit().value,
            "written_at": utc_now(),
            "errors": errors,
            "rows": [dataclasses.asdict(row) for row in rows],
            "skips": skips,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
