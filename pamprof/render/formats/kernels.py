"""``kernels.csv``: one row an operator and its shapes in the profiled step of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.kernel_classes import least_seconds
from pamprof.render.formats.csv import for_spreadsheets, guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import Run

KERNELS_FILE = "kernels.csv"


def kernels_csv(runs: Sequence[Run], roofs: Sequence[Roof]) -> str:
    """The file's text; empty cells are not known. Shapes are written as ``16x768 768x3072``."""
    import pandas as pd

    by_dtype = {roof.dtype: roof for roof in roofs}
    rows = []
    for run in runs:
        workload = run.workload
        for use in run.kernels.uses if run.kernels is not None else ():
            least = least_seconds(use, by_dtype.get(workload.dtype))
            rows.append(
                {
                    "key": workload.key,
                    "layer": workload.spec.layer,
                    "implementation": workload.implementation,
                    "execution": str(workload.execution),
                    "phase": str(workload.phase),
                    "batch_size": workload.batch_size,
                    "sequence_length_tokens": workload.sequence_length,
                    "device_name": guard(run.environment.device_name),
                    "session_id": run.session_id,
                    "profiled_execution": str(run.kernels.execution) if run.kernels is not None else None,
                    "operator": guard(use.operator),
                    "kernel": None if use.kernel is None else guard(use.kernel),
                    "kernel_class": str(use.kernel_class),
                    "shapes": " ".join("x".join(map(str, shape)) or "scalar" for shape in use.shapes),
                    "operand_dtype": use.dtype,
                    "call_count": use.call_count,
                    "kernel_count": use.kernel_count,
                    "matrix_flop_count": use.matrix_flop_count,
                    "elementwise_flop_count": use.elementwise_flop_count,
                    "byte_count": use.byte_count,
                    "total_seconds": use.seconds,
                    "ceiling_ratio": None if least is None else least / use.seconds,
                }
            )
    frame = pd.DataFrame.from_records(rows)
    return for_spreadsheets(str(frame.convert_dtypes().to_csv(index=False, lineterminator="\n")))
