"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from pamprof.cli.configuration.invocation import located
from pamprof.cli.ended import Ended
from pamprof.errors import PamprofError, StoppedError

Arguments = ParamSpec("Arguments")

Preset = Annotated[
    str | None,
    typer.Option(
        help="Sizes by name, such as tiny, 25m, 100m or 1b (parameters). Default: tiny on a CPU, 100m on a GPU."
    ),
]
Checkpoint = Annotated[
    list[str] | None,
    typer.Option(
        help="Weights of an arm, as pam=weights.safetensors or a torch file; its sizes are the file's. Repeatable."
    ),
]
Match = Annotated[str, typer.Option(help="What arms are matched on: parameters, flops, width, state-bytes or none.")]
NamedLayers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="Arms, comma-separated: registry names, or your own as NAME=module:factory or NAME=file.py:factory. "
        "Repeatable. Default: transformer,real_pam,pam; a comparison on a GPU has wide_head_transformer,llama, too.",
    ),
]
LayerArguments = Annotated[
    list[str] | None,
    typer.Option("--layer-arg", help="Argument of a layer of yours, as gru.num_layers=2. Repeatable."),
]
ModelDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels of the residual stream.")]
Heads = Annotated[int | None, typer.Option(help="Own size of PAM: heads.")]
HeadDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels of one head.")]
Depth = Annotated[int | None, typer.Option(help="Own size of PAM: blocks.")]
HiddenDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels inside the gate unit.")]
VocabularySize = Annotated[int | None, typer.Option(help="Own size of every arm: tokens of the vocabulary.")]
ChunkSize = Annotated[int | None, typer.Option(help="Chunk length of PAM as published, tokens. Default: 256.")]
StateCount = Annotated[
    int | None, typer.Option("--states", min=1, help="States of a head of PAM. Default: those of the preset, mostly 1.")
]
Activation = Annotated[str | None, typer.Option(help="Activation of PAM: modswish (default) or modrelu.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
UsdPerHour = Annotated[
    str | None, typer.Option("--price", help="Your rate of one device, USD per hour; on a CPU of the vCPUs used.")
]
PriceFile = Annotated[
    Path | None, typer.Option("--prices", help="Your price list, CSV as `pamprof prices list --csv` prints it.")
]
Gpu = Annotated[str | None, typer.Option(help="Price it as this device, such as H100-SXM. Default: the one measured.")]
Provider = Annotated[str | None, typer.Option(help="Provider of the rate, such as aws. Default: the median provider.")]
Instance = Annotated[
    str | None, typer.Option("--instance", help="Price it as on this machine of the price list, such as c7i.2xlarge.")
]
DtypeName = Annotated[
    str | None, typer.Option("--dtype", help="float32 or bfloat16. Default: float32 on a CPU, bfloat16 on a GPU.")
]
DeviceName = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:N; auto takes a GPU when there is one.")
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget",
        help="After this no further point begins, such as 90s, 5m or 1.5h; --resume continues. Default of compare: "
        "that of the effort; of serve-sweep: 40s on a CPU, none on a GPU.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Measure only what --output-dir does not hold yet.")]
PurchaseOption = Annotated[str, typer.Option(help="on-demand, spot, or a committed option of the price list.")]


def reporting_errors(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn a ``PamprofError`` of the command, or a fault of the machine, into one sentence and its exit status."""

    @wraps(command)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            from pamprof.cli.machine import MACHINE_FAULT, machine_fault
            from pamprof.render.text import clean

            told, status = machine_fault(error), MACHINE_FAULT
            if told is None and isinstance(error, PamprofError):
                told, status = str(error), error.exit_code
            if told is None:
                raise
            told = clean(located(told))
            typer.echo(f"pamprof: {told}", err=True)
            raise Ended(status, told, is_stopped=isinstance(error, StoppedError)) from None
        except KeyboardInterrupt:
            typer.echo("pamprof: interrupted", err=True)
            raise Ended(1, "interrupted", is_stopped=True) from None

    return guarded
