"""``pamprof compare``: measure, then report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pamprof.api.prices import price_lookup
from pamprof.api.request import MOST_RANKS, compare_request
from pamprof.cli.configuration.invocation import recorded_command
from pamprof.cli.measuring import measure, show_plan
from pamprof.cli.options import (
    Activation,
    Checkpoint,
    ChunkSize,
    Depth,
    DeviceName,
    DtypeName,
    Gpu,
    HeadDim,
    Heads,
    HiddenDim,
    Instance,
    Json,
    LayerArguments,
    Match,
    ModelDim,
    NamedLayers,
    Preset,
    PriceFile,
    Provider,
    PurchaseOption,
    Resume,
    StateCount,
    TimeBudget,
    UsdPerHour,
    VocabularySize,
    reporting_errors,
)
from pamprof.cli.output import write_and_show
from pamprof.errors import PamprofError, StoppedError
from pamprof.render.text import listed


@reporting_errors
def compare(
    preset: Preset = None,
    batch_size: Annotated[
        list[str] | None,
        typer.Option(help="Sequences, a list for all phases (1,64) or one (train=3,18). Repeatable."),
    ] = None,
    sequence_length: Annotated[
        list[str] | None,
        typer.Option(help="Tokens: prompt in train and prefill, context in decode; lists as above, 2k means 2048."),
    ] = None,
    phase: Annotated[str, typer.Option(help="Phases, comma-separated.")] = "train,prefill,decode",
    scope: Annotated[str, typer.Option(help="layer (one block) or model (the full language model).")] = "model",
    dtype: DtypeName = None,
    device: DeviceName = "auto",
    implementation: Annotated[
        str, typer.Option(help="Implementations, comma-separated. Default: all the dtype allows.")
    ] = "",
    execution: Annotated[
        str,
        typer.Option(
            help="eager, compiled, graph, compiled-graph, comma-separated. Default: eager on a CPU, all on a GPU."
        ),
    ] = "",
    layer: NamedLayers = None,
    layer_arg: LayerArguments = None,
    checkpoint: Checkpoint = None,
    match: Match = "parameters",
    model_dim: ModelDim = None,
    heads: Heads = None,
    head_dim: HeadDim = None,
    depth: Depth = None,
    hidden_dim: HiddenDim = None,
    vocabulary_size: VocabularySize = None,
    chunk_size: ChunkSize = None,
    state_count: StateCount = None,
    activation: Activation = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout of every arm in training, 0 to 1. Default: 0.")] = None,
    price: UsdPerHour = None,
    prices: PriceFile = None,
    gpu: Gpu = None,
    provider: Provider = None,
    instance: Instance = None,
    purchase_option: PurchaseOption = "on-demand",
    perplexity: Annotated[
        list[str] | None, typer.Option(help="Quality beside the cost, as pam=30.0. Repeatable.")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Folder of report and records. Default: pamprof-report-<UTC time>."),
    ] = None,
    resume: Resume = False,
    effort: Annotated[
        str,
        typer.Option(
            help="quick (an answer in minutes), standard (every implementation and execution, narrower) or reference "
            "(to publish: the best arms in steady state, in turn and alone, in fresh processes)."
        ),
    ] = "quick",
    time_budget: TimeBudget = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="Run the groups (a point and its arms) on a fleet: ray[:HOST:PORT] or slurm[:PARTITION]; slurm:local "
            "starts jobs on this machine. Default: this machine, one after the other."
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Fresh processes for each point. Default: 3 with reference, else 1."),
    ] = None,
    ranks: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_RANKS,
            help="Devices of this machine that share every arm's step once one has measured it: a GPU each, or "
            "processes with --device cpu.",
        ),
    ] = 1,
    parallel: Annotated[
        str,
        typer.Option(
            help="How ranks share a step: ddp (parts of the batch), fsdp (weights in parts, too) or tp (heads and "
            "channels; training and serving)."
        ),
    ] = "ddp",
    activation_checkpointing: Annotated[
        bool,
        typer.Option(
            "--activation-checkpointing",
            help="With --ranks only: training keeps each block's input alone and computes the rest again.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, how long it takes and what it costs; measure nothing.")
    ] = False,
    time_limit: Annotated[
        str | None, typer.Option(help="Sampling time of one point, such as 2s. Default: that of the effort.")
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            help="Relative half width of the ratio's interval at which sampling stops. Default: that of the effort."
        ),
    ] = None,
    monitor: Annotated[
        str | None,
        typer.Option(help="Window of a point for utilisation and energy, such as 2s; 0: none. Default: the effort's."),
    ] = None,
    point_timeout: Annotated[
        str, typer.Option(help="Time without a sign of life after which a point is skipped.")
    ] = "10m",
    cold_cache: Annotated[
        bool, typer.Option("--cold-cache", help="Flush the device's cache before each sample.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and inputs.")] = 0,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Also write a Chrome trace of one step of each arm and phase, in traces/."),
    ] = False,
    json: Json = False,
) -> None:
    """Measure PAM, its twin and a transformer at matched sizes. Writes the report."""
    from pamprof.measure.comparison.request import COMPARISON

    folder = output_dir or Path(f"pamprof-report-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    request = compare_request(
        command=recorded_command(),
        output_dir=folder,
        resume=resume,
        preset=preset,
        batch_size=batch_size,
        sequence_length=sequence_length,
        phase=phase,
        scope=scope,
        dtype=dtype,
        device=device,
        implementation=implementation,
        execution=execution,
        layer=layer,
        layer_arg=layer_arg,
        checkpoint=checkpoint,
        match=match,
        model_dim=model_dim,
        heads=heads,
        head_dim=head_dim,
        depth=depth,
        hidden_dim=hidden_dim,
        vocabulary_size=vocabulary_size,
        chunk_size=chunk_size,
        state_count=state_count,
        activation=activation,
        dropout=dropout,
        perplexity=perplexity,
        effort=effort,
        time_budget=time_budget,
        repeat=repeat,
        on=on,
        ranks=ranks,
        parallel=parallel,
        activation_checkpointing=activation_checkpointing,
        time_limit=time_limit,
        half_width=half_width,
        monitor=monitor,
        point_timeout=point_timeout,
        cold_cache=cold_cache,
        seed=seed,
        trace=trace,
    )
    look_up = price_lookup(
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    if dry_run:
        show_plan(request, look_up, gpu=gpu, json=json)
        return
    measured = measure(request, COMPARISON, look_up)
    write_and_show(measured.records, folder, quote=None, json=json)
    if measured.outcome.interrupted:
        points = len({run.workload.key for run in measured.records.runs})
        raise StoppedError(f"interrupted; the report covers the {points} points measured, {measured.go_on}")
    if measured.outcome.measured == 0 and measured.outcome.skipped:
        raise PamprofError("nothing new could be measured; the report says why")
    measured_layers = {run.workload.spec.layer for run in measured.records.runs}
    if missing := tuple(name for name in request.layers if name not in measured_layers):
        raise PamprofError(f"nothing of {listed(missing)} was measured; the report says why, {measured.go_on}")
