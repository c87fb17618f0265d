"""Do the parts of the peak memory add up, for every arm, block and model, in training, prefill and decode?

    python benchmarks/memory_adds_up.py                       # 100M on the CPU: about 6 GB and 10 minutes
    python benchmarks/memory_adds_up.py --device cuda         # unaccounted at most 5 % instead of 10 %

Prints one line a measurement: the allocator's peak, its parts in MiB, what no part explains, and how far the second
repetition lies from the first; then the state at three contexts, which must be constant for a fixed state and linear
for a cache, to the byte. Exit status 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pamprof.hardware.device import open_device
from pamprof.measure.memory.breakdown import decompose
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.units import MIB
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pamprof.hardware.device import Device
    from pamprof.records import Memory

ARMS = (("transformer", "sdpa"), ("real_pam", "planar"), ("pam", "planar"), ("pam", "published"))
MOST_UNACCOUNTED = {"cpu": 0.10, "cuda": 0.05}
MOST_DIFFERENT = 0.01
CONTEXTS = (127, 255, 511)  # a cache has one place more, for the new token
_COLUMNS = ("peak", "parameters", "gradients", "optimizer", "saved", "state", "inputs", "short-lived", "workspace")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement and its repetition, bytes."""

    scope: str
    arm: str
    phase: str
    peak: int
    parameters: int
    gradients: int
    optimizer: int
    saved: int
    state: int
    inputs: int
    short_lived: int
    workspace: int
    unaccounted: int
    repeated_peak: int

    @property
    def unaccounted_share(self) -> float:
        """Of the peak; negative where the parts are more than it."""
        return self.unaccounted / self.peak

    @property
    def repetition_difference(self) -> float:
        """Second peak over the first, less 1."""
        return self.repeated_peak / self.peak - 1


def workload_of(layer: str, implementation: str, phase: Phase, scope: Scope, options: argparse.Namespace) -> Workload:
    """The point that ``options`` ask for."""
    return Workload(
        spec=definition(layer).preset(options.preset),
        implementation=implementation,
        execution=Execution.EAGER,
        phase=phase,
        scope=scope,
        batch_size=options.batch_size,
        sequence_length=options.sequence_length,
        dtype=Dtype(options.dtype),
    )


def measured(workload: Workload, device: Device, repetitions: int) -> list[Memory]:
    """The product's own decomposition of the step, after one step that makes optimizer state and workspaces."""
    gc.collect()
    device.empty_cache()
    before = device.memory().allocated_bytes or 0 if device.kind == "cuda" else 0
    step = PreparedStep(workload, definition(workload.spec.layer), device=device.torch_device, seed=0)
    step.reset()
    step.eager()
    return [
        decompose(
            step.eager,
            device=device.torch_device,
            module=step.module,
            optimizer=step.optimizer,
            state=step.state,
            inputs=step.kept_tensors,
            allocated_before_bytes=before,
        )
        for _ in range(repetitions)
    ]


def rows(device: Device, options: argparse.Namespace) -> Iterator[Row]:
    """Every arm, scope and phase.

    Raises:
        SystemExit: A part could not be measured.
    """
    for scope in Scope:
        for layer, implementation in ARMS:
            for phase in Phase:
                first, second = measured(workload_of(layer, implementation, phase, scope, options), device, 2)
                peak, short_lived, unaccounted = first.peak_bytes, first.short_lived_bytes, first.unaccounted_bytes
                if peak is None or short_lived is None or unaccounted is None or second.peak_bytes is None:
                    raise SystemExit(f"{layer} {implementation} {phase}: the peak could not be taken apart here")
                yield Row(
                    scope=scope.value,
                    arm=f"{layer} {implementation}",
                    phase=phase.value,
                    peak=peak,
                    parameters=first.parameter_bytes,
                    gradients=first.gradient_bytes,
                    optimizer=first.optimizer_bytes,
                    saved=first.saved_activation_bytes or 0,
                    state=first.state_bytes,
                    inputs=first.input_bytes,
                    short_lived=short_lived,
                    workspace=first.workspace_bytes or 0,
                    unaccounted=unaccounted,
                    repeated_peak=second.peak_bytes,
                )


def state_misses(device: Device, options: argparse.Namespace) -> int:
    """Print the state at every context; the number of arms that break their rule."""
    misses = 0
    for layer, implementation in ARMS:
        found: list[int] = []
        for length in CONTEXTS:
            point = workload_of(layer, implementation, Phase.DECODE, Scope.LAYER, options)
            (memory,) = measured(dataclasses.replace(point, sequence_length=length), device, 1)
            found.append(memory.state_bytes)
        fixed = definition(layer).fixed_state
        per_place = found[0] // (CONTEXTS[0] + 1)
        expected = [found[0] if fixed else per_place * (length + 1) for length in CONTEXTS]
        misses += found != expected
        rule = "constant" if fixed else f"{per_place} bytes a token"
        shown = ", ".join(f"{size} at {length + 1}" for size, length in zip(found, CONTEXTS, strict=True))
        print(f"state of one block, {layer} {implementation}: {shown}; {rule}: {'yes' if found == expected else 'NO'}")
    return misses


def main() -> int:
    """Measure, print, and judge against the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    parser.add_argument("--preset", default="100m", help="size of every arm (default 100m)")
    parser.add_argument("--batch-size", type=int, default=1, help="sequences (default 1)")
    parser.add_argument("--sequence-length", type=int, default=128, help="tokens (default 128)")
    parser.add_argument("--dtype", choices=[dtype.value for dtype in Dtype], help="default float32, on cuda bfloat16")
    parser.add_argument("--csv", type=Path, help="write the rows here, in bytes")
    options = parser.parse_args()
    options.dtype = options.dtype or (Dtype.FLOAT32 if options.device == "cpu" else Dtype.BFLOAT16).value
    device = open_device(options.device)
    limit = MOST_UNACCOUNTED[device.kind]
    shape = f"{options.preset}, {options.batch_size} x {options.sequence_length}, {options.dtype}"
    limits = f"unaccounted at most {limit:.0%}, second repetition within {MOST_DIFFERENT:.0%}"
    print(f"{device.name}, torch {torch.__version__}, {shape}; MiB; {limits}")
    print(f"{'':34}" + "".join(f"{name:>12}" for name in _COLUMNS) + f"{'unaccounted':>16}{'again':>9}")
    found: list[Row] = []
    misses = 0
    for row in rows(device, options):
        found.append(row)
        sizes = [getattr(row, name.replace("-", "_")) for name in _COLUMNS]
        missed = abs(row.unaccounted_share) > limit or abs(row.repetition_difference) > MOST_DIFFERENT
        misses += missed
        print(
            f"{row.scope:6}{row.arm:20}{row.phase:8}"
            + "".join(f"{size / MIB:12.2f}" for size in sizes)
            + f"{row.unaccounted / MIB:8.2f} {row.unaccounted_share:6.2%} {row.repetition_difference:8.3%}"
            + ("  MISSED" if missed else ""),
            flush=True,
        )
    if options.csv is not None:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, dataclasses.asdict(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(dataclasses.asdict(row) for row in found)
    misses += state_misses(device, options)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
