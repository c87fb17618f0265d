"""``pamprof serve-check``: predict how requests are served, serve them in real time, and put both side by side."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import choice, duration, names, some_names
from pamprof.cli.configuration.invocation import note_result, recorded_command
from pamprof.cli.cost_options import duration_seconds
from pamprof.cli.options import DeviceName, DtypeName, Json, Preset, reporting_errors
from pamprof.cli.output import print_records, print_tables
from pamprof.errors import StoppedError, UsageError
from pamprof.records import Dtype

if TYPE_CHECKING:
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.simulation.checked import CheckedLoad

_CPU_REQUESTS, _CUDA_REQUESTS = 60, 2_000


@reporting_errors
def serve_check(
    preset: Preset = None,
    layer: Annotated[
        str, typer.Option(help="Arms, comma-separated registry names, matched to PAM on parameters.")
    ] = "pam,llama",
    implementation: Annotated[
        str,
        typer.Option(
            help="Implementations, comma-separated. Default: of PAM fused on a GPU, else planar; of others the first."
        ),
    ] = "",
    arrivals: Annotated[
        str,
        typer.Option(
            help="How requests come: poisson, bursty, bursty:cv=5 (gaps' deviation over their mean), even, or a "
            "trace.csv with time, input_tokens and output_tokens, whose times are stretched to the load."
        ),
    ] = "poisson",
    load: Annotated[
        str,
        typer.Option(
            help="Loads, comma-separated: half or 80% of the highest rate that holds the limits, 12/s, or trace for a "
            "trace's own rate; bursty:80% with other arrivals."
        ),
    ] = "half,80%,95%",
    requests: Annotated[
        int | None, typer.Option(help="Requests of each load. Default: 60 on a CPU, 2000 on a GPU, or the trace's.")
    ] = None,
    input_tokens: Annotated[
        str | None,
        typer.Option(help="Prompt of a request: 128, lognormal:128, lognormal:128:sigma=0.8 (mean tokens), or trace."),
    ] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Generated tokens, written likewise.")] = None,
    slo_ttft: Annotated[str, typer.Option(help="Time to the first token allowed, such as 200ms.")] = "200ms",
    slo_tpot: Annotated[
        str, typer.Option(help="Time per output token allowed, a request's mean, such as 50ms.")
    ] = "50ms",
    percentile: Annotated[
        float, typer.Option(help="Share of the requests within each limit, percent, above 0 to 100.")
    ] = 95.0,
    max_batch: Annotated[int, typer.Option(min=1, max=4096, help="Sequences at once.")] = 32,
    chunk_tokens: Annotated[int, typer.Option(min=1, help="Prompt tokens a step reads at most.")] = 2048,
    kv_policy: Annotated[
        str,
        typer.Option(
            help="When caches outgrow memory: recompute (the last admitted is read again) or reserve (admit only what "
            "will fit)."
        ),
    ] = "recompute",
    memory: Annotated[
        str | None,
        typer.Option(help="For states or caches, such as 512MiB. Default: what the largest batch of requests needs."),
    ] = None,
    step_times: Annotated[
        list[Path] | None,
        typer.Option(help="Predict by the step times of a serve-sweep's records. Default: the server samples its own."),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(help="How long steps are sampled. Default: 1s on a CPU, 8s on a GPU, an arm.")
    ] = None,
    dtype: DtypeName = None,
    device: DeviceName = "auto",
    seed: Annotated[int, typer.Option(help="Of requests, weights and prompts.")] = 0,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Folder of records, predictions and page. Default: pamprof-serve-check-<UTC time>.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check the simulation against a real server.

    Predicts, writes that down, then serves the same requests in real time. Random weights in the models'
    own decode and prefill code, continuous batching by the simulation's own decisions.
    """
    from pamprof.analysis.simulation.server import MemoryPolicy
    from pamprof.api.serve_check import serve_checks
    from pamprof.api.serve_request import ServeCheckRequest
    from pamprof.cli.load_options import asked_loads, level_of, load_requests
    from pamprof.hardware.device import resolve_device
    from pamprof.records.store import RECORDS_FILE, read_records
    from pamprof.render.simulation.check_page import write_check_page
    from pamprof.render.simulation.check_view import check_view, sentence
    from pamprof.render.text import clean

    cuda = resolve_device(device)[0] == "cuda"
    folder = output_dir or Path(f"pamprof-serve-check-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    loads = asked_loads(load, arrivals)
    count = requests or (_CUDA_REQUESTS if cuda else _CPU_REQUESTS)
    default = (128, 32) if cuda else (24, 6)
    request = ServeCheckRequest(
        command=recorded_command(),
        output_dir=folder,
        device=device,
        preset=preset,
        layers=some_names(layer, "--layer"),
        implementations=names(implementation),
        dtype=None if dtype is None else choice(Dtype, dtype, "--dtype"),
        loads=loads,
        requests={
            each: load_requests(each, input_tokens, output_tokens, default=default, count=count, seed=seed)
            for each in dict.fromkeys(asked.arrivals for asked in loads)
        },
        seed=seed,
        level=level_of(duration_seconds(slo_tpot, "--slo-tpot"), duration_seconds(slo_ttft, "--slo-ttft"), percentile),
        largest_batch=max_batch,
        chunk_tokens=chunk_tokens,
        policy=choice(MemoryPolicy, kv_policy, "--kv-policy"),
        room_bytes=None if memory is None else _bytes(memory),
        sample_seconds=duration(sampling, "--sampling") or (8.0 if cuda else 1.0),
        curves=_curves(step_times),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done: list[CheckedLoad] = []
    try:
        for checked in serve_checks(request, lambda words: typer.echo(clean(f"pamprof: {words}"), err=True)):
            done.append(checked)
            typer.echo(clean(f"pamprof: {sentence(checked)}"), err=True)
    except KeyboardInterrupt:
        pass  # between loads; what was served is on the disk
    if not done:
        raise StoppedError("interrupted before a load was served; nothing is kept")
    page, *_ = write_check_page(done, folder)
    note_result(f"{len(done)} loads served", folder / RECORDS_FILE)
    if json:
        print_records(read_records(folder / RECORDS_FILE))
    else:
        view = check_view(done)
        for line in (view.title, *view.alerts, *view.sentences):
            typer.echo(line)
        print_tables(view.tables, view.notes)
    typer.echo(f"Page: {page}; records: {folder / RECORDS_FILE}", err=True)
    wanted = len(loads) * len(request.layers)
    if done[-1].check.interrupted or len(done) < wanted:
        raise StoppedError(f"{len(done)} of {wanted} loads were served before an interruption; they are kept")


def _curves(paths: list[Path] | None) -> tuple[ServingCurve, ...]:
    from pamprof.analysis.serving.from_records import serving_curves
    from pamprof.cli.stored_files import counted_once, read_stored
    from pamprof.records.store import merged

    if not paths:
        return ()
    records = merged(counted_once(paths, [read_stored(path) for path in paths]))
    return tuple(serving_curves(records.runs, records.skips))


_UNITS = {"B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _bytes(text: str) -> float:
    """Bytes of ``512MiB`` or ``2GB``.

    Raises:
        UsageError: Something else.
    """
    from pamprof.units import plain_number

    number = text.strip().rstrip("KMGiBkmgb")
    unit = text.strip()[len(number) :].upper()
    value = plain_number(number)
    if value is None or value <= 0 or unit not in _UNITS:
        raise UsageError(f"--memory {text!r} is no size; write a number with a unit, such as 512MiB or 2GB")
    return float(value) * _UNITS[unit]
