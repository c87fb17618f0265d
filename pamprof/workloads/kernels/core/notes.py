"""How the core's kernels were launched for a workload, and which configurations were refused, in words for a record.

Axes: B batch, T time, H heads, d head_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.records import Dtype, Phase
from pamprof.workloads.base import KernelNotes
from pamprof.workloads.kernels.core.check import check_results, substitutes
from pamprof.workloads.kernels.core.configuration import CoreShape
from pamprof.workloads.kernels.core.selection import configuration_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Workload
    from pamprof.workloads.kernels.core.check import CheckResult
    from pamprof.workloads.kernels.core.configuration import Configuration


def core_notes(workload: Workload, device: torch.device) -> KernelNotes:
    """What this process launched the core with for ``workload``; nothing for decode, which runs no core.

    On a GPU a configuration is named only where it was compared with the oracle and found exact, as every one is
    before its first use.
    """
    if workload.phase is Phase.DECODE:
        return KernelNotes()
    shape = CoreShape(
        batch_size=workload.batch_size,
        length=workload.sequence_length,
        heads=workload.spec.heads,
        head_dim=workload.spec.head_dim,
        dtype=torch.float32 if workload.dtype is Dtype.FLOAT32 else torch.bfloat16,
        differentiates=workload.phase is Phase.TRAIN,
        states=workload.spec.state_count,
    )
    results = check_results()
    wanted = configuration_for(shape, device)
    used = wanted if device.type != "cuda" else _used(wanted, results)
    refused = (f"core: {result.configuration.described()}: {result.fault}" for result in results if result.fault)
    return KernelNotes(
        configurations=() if used is None else (_described(shape, used, results),),
        refused=tuple(dict.fromkeys(refused)),
    )


def _used(wanted: Configuration, results: Sequence[CheckResult]) -> Configuration | None:
    exact = {result.configuration for result in results if result.fault is None}
    return next((candidate for candidate in substitutes(wanted) if candidate in exact), None)


def _described(shape: CoreShape, used: Configuration, results: Sequence[CheckResult]) -> str:
    segments = used.forward_segments(shape.length)
    parts = [f"{segments} segment{'s' if segments > 1 else ''} forward"]
    if shape.differentiates:
        parts.append(f"{used.gradient_segments(shape.length)} backward")
    errors = [error for result in results if result.configuration == used for _, error in result.errors]
    checked = f"; largest error against the float64 oracle {max(errors):.1e}" if errors else ""
    return f"core: {used.described()}, so {', '.join(parts)}{checked}"
