"""The command line: a command parses its options, calls one function and prints.

Standard output has the result, standard error progress and messages. Exit status: 0 done, 1 failure, 2 usage or a
machine on which the command cannot run (no torch, output that cannot be written), 3 inconclusive. Where the reader of
standard output has gone, the process ends by SIGPIPE.
Nothing heavy is imported before a command runs, so that ``pamprof --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pamprof.cli import (
    calibrate,
    capacity,
    compare,
    cost,
    diff,
    doctor,
    flops,
    layers,
    merge,
    predict,
    prices,
    report,
    serve_check,
    serve_sweep,
    simulate,
    trend,
    validate,
)
from pamprof.cli.configuration.command import ConfiguredCommand, ReportCommand, SweepCommand, configurable
from pamprof.cli.plain_numbers import PlainNumbers
from pamprof.cli.streams import Streams
from pamprof.version import __version__

app = typer.Typer(
    name="pamprof",
    help="Measure what complex arithmetic costs: PAM against transformers, down to dollars per token.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
app.command("compare", cls=ReportCommand)(configurable(compare.compare))
app.command("serve-sweep", cls=SweepCommand)(configurable(serve_sweep.serve_sweep))
app.command("capacity", cls=ConfiguredCommand)(configurable(capacity.capacity))
app.command("calibrate", cls=PlainNumbers)(calibrate.calibrate)
app.command("report", cls=PlainNumbers)(report.report)
app.command("diff", cls=PlainNumbers)(diff.diff)
app.command("trend", cls=PlainNumbers)(trend.trend)
app.command("merge", cls=PlainNumbers)(merge.merge)
app.command("layers", cls=PlainNumbers)(layers.layers)
app.command("flops", cls=ConfiguredCommand)(configurable(flops.flops))
app.command("doctor", cls=PlainNumbers)(doctor.doctor)
app.command("cost", cls=ConfiguredCommand)(configurable(cost.cost))
app.command("simulate", cls=ConfiguredCommand)(configurable(simulate.simulate))
app.command("predict", cls=ConfiguredCommand)(configurable(predict.predict))
app.command("serve-check", cls=ConfiguredCommand)(configurable(serve_check.serve_check))
app.command("validate", cls=PlainNumbers)(validate.validate)
app.add_typer(prices.app, name="prices")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"pamprof {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Entry point of the ``pamprof`` command."""
    streams = Streams()
    try:
        app()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # outside a command: of installing the shell's completion
        from pamprof.cli.machine import MACHINE_FAULT, machine_fault

        told, status = machine_fault(error), MACHINE_FAULT
        if told is None:
            raise
        typer.echo(f"pamprof: {told}", err=True)
    sys.exit(streams.leave(status))
