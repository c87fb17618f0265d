"""Kernels by class: of the arm that sums a phase up and of what it is compared with."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.kernel_classes import kernel_class_times
from pamprof.records import KernelClass, Phase
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import PHASE_NAMES, point_label

if TYPE_CHECKING:
    from pamprof.records import Run
    from pamprof.render.comparison.inputs import ReportInputs

_COLUMNS = ("Arm", "Kernels", "Of kernel time", "Time", "Count", "Matrix FLOP", "Bytes", "Of its ceiling")
_CLASS_NAMES = {
    KernelClass.MATRIX_PRODUCT: "matrix products",
    KernelClass.ATTENTION: "attention",
    KernelClass.MEMORY_CORE: "core of the memory",
    KernelClass.ELEMENTWISE: "elementwise",
    KernelClass.REDUCTION: "norms and sums",
    KernelClass.COPY: "copies",
    KernelClass.OTHER: "other",
}
_LEAST_SHARE = 5e-3


def kernel_table(inputs: ReportInputs) -> TableView | None:
    """The table; None where no arm that it would show has its kernels recorded."""
    runs: list[Run] = []
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is not None:
            runs += [each.run for each in (*inputs.best_arms(told.point), told.point.baseline) if each.run.kernels]
    rows = [row for run in {run.workload.key: run for run in runs}.values() for row in _rows(inputs, run)]
    if not rows:
        return None
    return TableView(
        title="Kernels by class",
        summary="One step of each arm, profiled outside every sample.",
        columns=_COLUMNS,
        right=frozenset(range(2, len(_COLUMNS))),
        rows=tuple(rows),
        notes=(
            "The ceiling is the least time that matrix FLOPs at the fastest product and bytes at the fastest read "
            "(products, attention, the memory's core) or copy (the others) allow; above 100 % tensors stayed in a "
            "cache. Bytes are those of tensors, each once. A replayed graph is profiled as the step it was captured "
            "from; on a CPU operators are the kernels. kernels.csv has every operator and shape.",
        ),
    )


def _rows(inputs: ReportInputs, run: Run) -> list[tuple[str, ...]]:
    assert run.kernels is not None
    roof = next((roof for roof in inputs.analysis.roofs if roof.dtype is run.workload.dtype), None)
    step = median(run.timing.wall_time_seconds)
    label = f"{PHASE_NAMES[run.workload.phase]}, {point_label(run.workload.point)}: {inputs.full_label(run.workload)}"
    summed = f"{label} ({units.seconds(run.kernels.busy_seconds)} of kernels in a step of {units.seconds(step)})"
    return [
        (
            label if place else summed,
            _CLASS_NAMES[each.kernel_class],
            units.percent(each.share_ratio),
            units.seconds(each.seconds),
            f"{each.count}",
            units.si(each.matrix_flop_count or None),
            units.binary_bytes(each.byte_count or None),
            units.UNKNOWN if each.ceiling_ratio is None else units.percent(each.ceiling_ratio),
        )
        for place, each in enumerate(kernel_class_times(run.kernels, roof))
        if each.share_ratio >= _LEAST_SHARE
    ]
