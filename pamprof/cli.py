"""The command line: a command parses its options, calls one function and prints.

Standard output carries the result, standard error the talk. Exit status: 0 done, 1 failure, 2 usage, 3 inconclusive.
Nothing heavy is imported before a command runs, so that ``pamprof --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer

from pamprof import __version__
from pamprof.errors import PamprofError

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    name="pamprof",
    help="Measure what complex arithmetic costs: PAM against transformers, down to dollars per token.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
prices_app = typer.Typer(help="List, look up, check and refresh device prices.", no_args_is_help=True)
app.add_typer(prices_app, name="prices")

OutputDir = Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for report and records; made if missing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes a GPU when there is one.")]
Preset = Annotated[str | None, typer.Option(help="Model sizes: tiny, 5m, 10m, 25m, 100m or 1b. Default: tiny on a CPU, 100m on a GPU.")]
Match = Annotated[str, typer.Option(help="What arms are matched on: parameters, flops, width or state-bytes.")]
UsdPerHour = Annotated[str | None, typer.Option("--price", help="Your rate of one device, USD per hour.")]
PriceFile = Annotated[Path | None, typer.Option("--prices", help="Your own price list, CSV with the columns of `pamprof prices list --csv`.")]
Gpu = Annotated[str | None, typer.Option(help="Price as this device, such as H100-SXM, instead of the one measured.")]
Provider = Annotated[str | None, typer.Option(help="Take the price of this provider, such as aws or lambda.")]
PurchaseOption = Annotated[str, typer.Option(help="on-demand, spot or a committed option of the catalogue.")]


def fail(error: PamprofError) -> NoReturn:
    """Say the sentence on standard error and leave with the error's status."""
    typer.echo(f"pamprof: {error}", err=True)
    raise SystemExit(error.exit_code)


def spoken(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn a ``PamprofError`` of the command into its sentence and exit status."""

    @wraps(command)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PamprofError as error:
            fail(error)
        except BrokenPipeError:
            raise SystemExit(1) from None

    return guarded
