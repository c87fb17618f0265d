"""``pamprof serve-sweep``: measure serving curves until memory ends."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.prices import price_lookup
from pamprof.api.texts import checkpoints, choice, counts, duration, layers_with_sources, names, some_names
from pamprof.cli.configuration.invocation import note_result, recorded_command
from pamprof.cli.measuring import measure
from pamprof.cli.options import (
    Checkpoint,
    DeviceName,
    DtypeName,
    Gpu,
    Instance,
    Json,
    LayerArguments,
    Preset,
    PriceFile,
    Provider,
    PurchaseOption,
    Resume,
    TimeBudget,
    UsdPerHour,
    reporting_errors,
)
from pamprof.cli.output import print_records, print_table
from pamprof.errors import StoppedError
from pamprof.records import Dtype, Execution
from pamprof.units import UNKNOWN, binary_bytes, percent, seconds, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.points import ServingPoint
    from pamprof.records.store import RecordFile

_LAYERS = ("transformer,llama,pam",)
_COLUMNS = (
    "arm",
    "context",
    "batch",
    "time per output token",
    "tokens/s",
    "J/token",
    "memory per sequence",
    "memory in all",
    "first token, idle device",
    "sequences that fit",
)


@reporting_errors
def serve_sweep(
    preset: Preset = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Arms, comma-separated, matched to PAM on parameters: registry names, or your own as "
            "NAME=module:factory or NAME=file.py:factory, swept where they decode. Repeatable. Default: "
            "transformer,llama,pam."
        ),
    ] = None,
    layer_arg: LayerArguments = None,
    checkpoint: Checkpoint = None,
    implementation: Annotated[
        str,
        typer.Option(
            help="Implementations, comma-separated. Default: of PAM fused on a GPU that can run it, else planar; of "
            "other arms the first."
        ),
    ] = "",
    state_dtype: Annotated[
        str,
        typer.Option(
            help="What a fixed state is kept in: float32, bfloat16 or both; each is an arm. bfloat16 reads within "
            "about 1 % of float32 where every state forgets a 128th of itself a token or more (reports/state-dtype)."
        ),
    ] = "float32,bfloat16",
    context: Annotated[
        str | None,
        typer.Option(
            help="Tokens held in decode, comma-separated, 2k means 2048. A fixed state is swept at the first and "
            "checked at the last. Default: 128 to 2k on a CPU, 128 to 32k on a GPU."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Tokens of a prompt read at batch 1, likewise. Default: as the contexts.")
    ] = None,
    largest_batch: Annotated[
        int | None, typer.Option(min=1, max=1 << 20, help="No batch beyond it. Default: 256 on a CPU, 64k on a GPU.")
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option(
            help="eager, compiled, graph or compiled-graph, of every arm. Default: eager on a CPU; on a GPU graph for "
            "fused PAM, whose kernels leave a compiler nothing, and compiled-graph for everything else."
        ),
    ] = None,
    dtype: DtypeName = None,
    device: DeviceName = "auto",
    time_budget: TimeBudget = None,
    monitor: Annotated[
        str | None,
        typer.Option(
            help="Energy window of the points that are watched, such as 2s. Default: 0.3s on a CPU, 2.2s on a GPU."
        ),
    ] = None,
    price: UsdPerHour = None,
    prices: PriceFile = None,
    gpu: Gpu = None,
    provider: Provider = None,
    instance: Instance = None,
    purchase_option: PurchaseOption = "on-demand",
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Folder of the records. Default: pamprof-sweep-<UTC time>."),
    ] = None,
    resume: Resume = False,
    every: Annotated[bool, typer.Option("--every", help="Print every point, not the best of each context.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, inputs and states.")] = 0,
    json: Json = False,
) -> None:
    """Measure decode over batch and context, prompts over length. Ends where throughput is flat and memory is full."""
    from pamprof.measure.serving.request import SWEEP, SweepRequest

    layers, sources = layers_with_sources(layer or _LAYERS, layer_arg or ())
    folder = output_dir or Path(f"pamprof-sweep-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    contexts = () if context is None else counts(context, "--context")
    settings: dict[str, int | float | bool] = {"seed": seed}
    window = duration(monitor, "--monitor", zero=True)
    if window is not None:
        settings["monitor_seconds"] = window
    request = SweepRequest(
        command=recorded_command(),
        output_dir=folder,
        resume=resume,
        device=device,
        preset=preset,
        layers=layers,
        sources=sources,
        implementations=names(implementation),
        state_dtypes=tuple(choice(Dtype, name, "--state-dtype") for name in some_names(state_dtype, "--state-dtype")),
        execution=None if execution is None else choice(Execution, execution, "--execution"),
        dtype=None if dtype is None else choice(Dtype, dtype, "--dtype"),
        contexts=contexts,
        prompts=contexts if prompt is None else counts(prompt, "--prompt"),
        largest_batch=largest_batch,
        time_budget_seconds=duration(time_budget, "--time-budget"),
        settings=settings,
        checkpoints=checkpoints(checkpoint or ()),
    )

    look_up = price_lookup(
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    measured = measure(request, SWEEP, look_up)
    note_result(f"{len(measured.records.runs)} points measured", request.path)
    if json:
        print_records(measured.records)
    else:
        _show(measured.records, every=every)
        name = shlex.quote(str(folder))
        typer.echo(f"Records: {request.path}; price them with: pamprof cost {name} --tokens-per-day 1e9")
        typer.echo(f"or show them in a comparison's report: pamprof report COMPARISON {name} --output-dir REPORT")
    if measured.outcome.interrupted:
        raise StoppedError(f"interrupted; {len(measured.records.runs)} points are kept, {measured.go_on}")


def _show(records: RecordFile, *, every: bool) -> None:
    from pamprof.analysis.serving.from_records import serving_curves
    from pamprof.analysis.serving.points import best_points, first_points, serving_points

    curves = serving_curves(records.runs, records.skips)
    rows: list[tuple[str, ...]] = []
    for curve in curves:
        shown: Sequence[ServingPoint] = serving_points(curve)
        if not every:
            ends = [*first_points(shown).values(), *best_points(curve)]
            shown = [point for point in shown if point in ends]
        rows += [_row(curve, point) for point in shown]
    print_table(_COLUMNS, rows, right=frozenset(range(1, len(_COLUMNS))))
    for curve in curves:
        typer.echo(_model_sentence(curve))


def _row(curve: ServingCurve, point: ServingPoint) -> tuple[str, ...]:
    step = point.seconds_per_output_token
    energy = point.joules_per_token
    first_token = point.idle_time_to_first_token
    fits = curve.maximum_batch(point.context)
    return (
        curve.title,
        tokens(point.context),
        f"{point.batch_size:,}",
        f"{seconds(step.median)} ±{percent((step.high - step.low) / 2 / step.median)}",
        significant(point.tokens_per_second.median),
        UNKNOWN if energy is None else f"{significant(energy)}{'' if point.energy_valid else ' (doubtful)'}",
        binary_bytes(point.state_bytes_per_sequence),
        binary_bytes(point.peak_bytes),
        UNKNOWN if first_token is None else f"{seconds(first_token.value)}{_mark(first_token.basis)}",
        f"{int(fits.value):,}{_mark(fits.basis)}",
    )


def _mark(basis: str) -> str:
    return "" if basis == "measured" else f" ({basis})"


def _model_sentence(curve: ServingCurve) -> str:
    from pamprof.analysis.serving.curve import LARGEST_MODEL_ERROR

    if curve.decode_model is None:
        return f"{curve.title}: too few steps for a model beyond the measured places"
    fit = curve.decode_model.fit
    constant = (
        ""
        if curve.context_deviation is None
        else f"; step times of its contexts differ by {percent(curve.context_deviation)} at most"
    )
    refused = ", too far off to be used" if fit.largest_error > LARGEST_MODEL_ERROR else ""
    return (
        f"{curve.title}: beyond the measured places a roofline, off by {percent(fit.median_error)} in the median and "
        f"{percent(fit.largest_error)} at most at the {fit.places} measured ones{refused}{constant}"
    )
