"""``pamprof calibrate``: what this device does with single kernels, as one small file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import duration
from pamprof.cli.ended import Ended
from pamprof.cli.options import DeviceName, reporting_errors
from pamprof.cli.output import print_table

if TYPE_CHECKING:
    from pamprof.records import Calibration


# Torch's profiler says every beginning and end on standard error, at this level nothing; read when torch is imported.
_SILENT = "6"


@reporting_errors
def calibrate(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the result. Default: print it on standard output.")
    ] = None,
    device: DeviceName = "auto",
    time_budget: Annotated[
        str, typer.Option("--time-budget", help="After this no further kernel begins, such as 40s or 2m.")
    ] = "2m",
) -> None:
    """Measure what a prediction for this device is made of.

    That is memory, products, attention, rows, copies and launches.

    The file has no name of a user or host and no serial number. What Ctrl-C or the time budget leaves out it says.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    from pamprof.measure.calibration.calibrate import calibrate as measure
    from pamprof.records import calibration_bytes
    from pamprof.render.formats.files import write_files

    if output is not None:
        if output.is_dir():
            output /= "calibration.json"
        write_files(output.parent, (), option="--output")  # before two minutes are spent
    found, interrupted = measure(device, time_budget_seconds=duration(time_budget, "--time-budget") or 0.0)
    if output is None:
        typer.echo(calibration_bytes(found), nl=False)
    else:
        write_files(output.parent, ((output.name, calibration_bytes(found)),), option="--output")
        _summarise(found)
        typer.echo(f"Calibration: {output}", err=True)
    if interrupted:
        typer.echo("pamprof: interrupted; what was measured before is kept", err=True)
        raise Ended(1, "interrupted", is_stopped=True)


def _summarise(found: Calibration) -> None:
    from pamprof.units import seconds, si

    rows = []
    for each in found.ceilings:
        rows.append((f"product of {each.matrix_size} in {each.dtype}", si(each.matrix_flops_per_second, "FLOP/s")))
    for each in found.ceilings[:1]:
        rows += [
            ("read of memory", si(each.read_bytes_per_second, "B/s")),
            ("write of memory", si(each.write_bytes_per_second, "B/s")),
            ("copy of memory", si(each.copy_bytes_per_second, "B/s")),
        ]
    rows += [
        ("from launch to launch", seconds(found.launch_seconds)),
        ("from replay to replay of a graph", seconds(found.graph_launch_seconds)),
        ("from kernel to kernel in a graph", seconds(found.graph_kernel_seconds)),
        ("kernels", str(len(found.kernels))),
        ("left out", str(len(found.left_out))),
        ("took", seconds(found.seconds)),
    ]
    print_table((found.environment.device_name, "found"), rows)
