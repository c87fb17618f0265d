"""``pamprof predict``: measured workloads on GPUs that were not measured; time, memory, energy and dollars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import some_names
from pamprof.cli.options import Json, PriceFile, Provider, PurchaseOption, reporting_errors
from pamprof.cli.output import print_json, print_tables
from pamprof.cli.predicted import CalibrationFiles, read_calibrations, supported
from pamprof.cli.stored_files import SkipDamaged, counted_once, read_stored
from pamprof.errors import PredictionError, UsageError

if TYPE_CHECKING:
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.analysis.prediction.measured import MeasuredDevices


@reporting_errors
def predict(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Files of records, or folders that hold a runs.jsonl, of comparisons."),
    ],
    gpu: Annotated[
        str, typer.Option(help="GPUs to predict, comma-separated, such as L40S,A100-80GB-SXM,RTX4090,B200.")
    ],
    calibration: CalibrationFiles = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Predict only workloads in bfloat16, float32 or fp8. Default: all that were measured."),
    ] = None,
    prices: PriceFile = None,
    provider: Provider = None,
    purchase_option: PurchaseOption = "on-demand",
    skip_damaged: SkipDamaged = False,
    every_point: Annotated[
        bool, typer.Option("--all", help="Print a table for every point. Default: the main one of each phase.")
    ] = False,
    json: Json = False,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Also write predict.html, predictions.json and pictures. Default: no."),
    ] = None,
) -> None:
    """Predict what measured workloads take on other GPUs.

    Each has its interval and what that rests on. What nothing supports is refused with its
    reason: exit status 1 where no GPU is left. Needs neither torch nor a GPU.
    """
    from pamprof.analysis.comparison.names import names_of
    from pamprof.analysis.prediction.measured import measured_devices
    from pamprof.analysis.prediction.predict import predict as predictions_of
    from pamprof.pricing.predicted_cost import priced
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.records.store import merged
    from pamprof.render.prediction.export import prediction_rows
    from pamprof.render.prediction.view import prediction_view
    from pamprof.render.text import clean

    records = merged(counted_once(runs, [read_stored(path, skip_damaged=skip_damaged) for path in runs]))
    if not records.runs:
        raise UsageError(f"{', '.join(map(str, runs))} holds no run to predict from; measure with pamprof compare")
    words = some_names(gpu, "--gpu")
    measured_on = sorted({run.environment.device_name for run in records.runs})
    calibrations = read_calibrations(calibration or (), supported(words)[0], measured_on)
    measured = measured_devices(records, calibrations, dtype=dtype)
    gpus, refused = _supported(words, measured, dtype)
    found = priced(
        predictions_of(measured, gpus, calibrations),
        load_catalogue(prices),
        provider=provider,
        purchase_option=purchase_option,
    )
    for sentence in (*refused, *measured.left_out, *found.unpriced):
        typer.echo(clean(f"pamprof: {sentence}"), err=True)
    names = names_of(records.sessions, [row.prediction.workload for row in found.rows])
    rows = prediction_rows(found.rows)
    page = None
    if output_dir is not None:
        from pamprof.render.prediction.page import write_prediction

        page, *_ = write_prediction(prediction_view(found, measured, names, refused=refused), rows, output_dir)
    if json:
        print_json(rows)
    else:
        view = prediction_view(found, measured, names, refused=refused, every_point=every_point)
        for line in view.sentences:
            typer.echo(line)
        print_tables(view.tables, view.notes)
    if page is not None:
        typer.echo(f"Page: {page}", err=True)


def _supported(words: tuple[str, ...], measured: MeasuredDevices, dtype: str | None) -> tuple[list[Gpu], list[str]]:
    """The GPUs that something supports predictions for, and why others are refused.

    Raises:
        PredictionError: None is left.
    """
    from pamprof.analysis.prediction.predict import unsupported

    named, refused = supported(words, dtype=dtype)
    gpus = []
    for gpu in named:
        try:
            partly = unsupported(gpu, measured)
        except PredictionError as error:
            refused.append(f"{gpu.name} refused: {error}")
            continue
        refused += [] if partly is None else [partly]
        gpus.append(gpu)
    if not gpus:
        raise PredictionError("; ".join(refused))
    return gpus, refused
