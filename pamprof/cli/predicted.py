"""GPUs that were not measured, for the commands that take them: which are supported, and their serving curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import some_names
from pamprof.errors import PredictionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.records import Calibration
    from pamprof.records.store import RecordFile

PredictedGpus = Annotated[
    str | None,
    typer.Option(
        help="GPUs that were not swept, comma-separated, as L40S,B200: each is one more device, its times modelled. "
        "Default: none."
    ),
]
CalibrationFiles = Annotated[
    list[Path] | None,
    typer.Option(help="What pamprof calibrate wrote on a GPU, measured or predicted. Repeatable. Default: none."),
]


def supported(words: Sequence[str], *, dtype: str | None = None) -> tuple[list[Gpu], list[str]]:
    """The GPUs among ``words`` that predictions can be supported for, and why others are refused."""
    from pamprof.analysis.prediction.gpu import gpu_named

    gpus: dict[str, Gpu] = {}
    refused = []
    for word in words:
        try:
            found = gpu_named(word, dtype=dtype)
        except PredictionError as error:
            refused.append(f"{word} refused: {error}")
        else:
            gpus[found.name] = found
    return list(gpus.values()), refused


def with_predicted(
    curves: Sequence[ServingCurve], records: RecordFile, words: str | None, calibration: Sequence[Path] | None
) -> tuple[ServingCurve, ...]:
    """``curves`` and those of the GPUs in ``words``; standard error names what is refused, and what was measured.

    Raises:
        PredictionError: Not one of the GPUs is supported, or no curve can be carried.
    """
    if words is None:
        return tuple(curves)
    from pamprof.analysis.prediction.serving import carried_curves, curves_by_gpu
    from pamprof.render.text import clean

    gpus, refused = supported(some_names(words, "--predict"))
    if not gpus:
        raise PredictionError("; ".join(refused))
    for sentence in refused:
        typer.echo(clean(f"pamprof: {sentence}"), err=True)
    swept = curves_by_gpu(curves)
    for gpu in gpus:
        if gpu.name in swept:
            typer.echo(f"pamprof: --predict {gpu.name}: measured already, so nothing is predicted of it", err=True)
    measured = [curve.environment.device_name for curve in curves]
    calibrations = read_calibrations(calibration or (), gpus, measured)
    return (*curves, *carried_curves(curves, records, gpus, calibrations))


def read_calibrations(paths: Sequence[Path], gpus: Sequence[Gpu], measured: Sequence[str]) -> tuple[Calibration, ...]:
    """The calibrations in files; standard error names those of no GPU that is predicted or ``measured``."""
    from pamprof.devices.names import find_device
    from pamprof.records import read_calibration
    from pamprof.render.text import clean

    known = {gpu.name for gpu in gpus} | {device.name for name in measured if (device := find_device(name)) is not None}
    found = tuple(read_calibration(path) for path in paths)
    for path, calibration in zip(paths, found, strict=True):
        device = find_device(calibration.environment.device_name)
        if device is None or device.name not in known:
            name = calibration.environment.device_name
            typer.echo(clean(f"pamprof: {path} not used: {name} is neither measured nor predicted here"), err=True)
    return found
