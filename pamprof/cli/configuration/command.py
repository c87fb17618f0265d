"""A command whose options may come from a file: ``--config`` and ``--save-config`` of every command that measures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from pamprof.api.texts import engine_alone, file_name_alone
from pamprof.cli.configuration.files import FileSweep, file_of, read_file, read_sweeps
from pamprof.cli.configuration.invocation import Invocation, running
from pamprof.cli.configuration.sweeps import run_all
from pamprof.cli.configuration.values import UNWRITTEN, option_keys, words_of
from pamprof.cli.plain_numbers import PlainNumbers
from pamprof.errors import OutputError, PamprofError

if TYPE_CHECKING:
    from pamprof.cli.configuration.files import FileText

Arguments = ParamSpec("Arguments")

_OPTIONS = {
    "config": Annotated[
        Path | None,
        typer.Option(
            help="Options from this TOML file by their names, such as batch-size = [1, 64]; the command line goes "
            "before it. [sweep.NAME] tables are several runs, each with a folder of its own."
        ),
    ],
    "save_config": Annotated[
        Path | None,
        typer.Option("--save-config", help="Write the options that are no defaults into this file, for --config."),
    ],
}

# How a run is made, not what it measures; or a path of this machine.
_UNRECORDED = frozenset({"output_dir", "prices", "resume", "dry_run"})
# Options whose values are recorded without what is of this machine or network.
_SHORTENED = {"checkpoint": file_name_alone, "on": engine_alone}
# A configuration that held these would ask for less than the run that it was saved from.
_UNSAVED = frozenset({"resume", "dry_run"})


def configurable(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """``command`` with the two options, which ``ConfiguredCommand`` heeds and the command never sees."""

    @wraps(command)
    def without_them(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        command(*args, **{name: value for name, value in kwargs.items() if name not in UNWRITTEN})  # type: ignore[arg-type]

    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in _OPTIONS.items()
    ]
    without_them.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    without_them.__annotations__ = {**command.__annotations__, **_OPTIONS}
    return without_them


class ConfiguredCommand(PlainNumbers):
    """Gives a run for each sweep of the file, parsed as the command line is; every flag can be taken back."""

    report_folder: str | None = None  # what the folder of several runs is called; None where a run makes none

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            if getattr(param, "is_flag", False) and not param.secondary_opts:
                param.secondary_opts.append(f"--no-{param.opts[0].lstrip('-')}")
                param.show_default = False  # type: ignore[attr-defined]  # of an option

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # its own click's
        """Parse once for each sweep, so that a fault in any is told before the first is measured."""
        given = list(args)
        written, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        path = written.get("config")
        if path is None or written.get("help") or ctx.resilient_parsing:
            rest = super().parse_args(ctx, args)
            ctx.obj = [(Invocation(words=self._words(ctx)), ctx)]
            return rest
        options = option_keys(self)
        try:
            file = read_file(Path(path))
            sweeps = read_sweeps(file, options)
        except PamprofError as error:
            raise _told(error) from None
        runs = []
        for number, sweep in enumerate(sweeps):
            each = ctx if number == 0 else typer.Context(self, info_name=ctx.info_name, parent=ctx.parent)
            each.default_map = dict(sweep.values)
            try:
                with each.scope(cleanup=False):
                    rest = super().parse_args(each, list(given))
            except typer.BadParameter as error:
                name = "" if error.param is None else error.param.name or ""
                if name not in sweep.values or written.get(name) is not None:
                    raise
                raise _told(f"{file.at(sweep.places[name])}: {error.message}") from None
            runs.append((self._invocation(each, file, sweep), each))
        ctx.obj = runs
        return rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # its own click's
        """Run the command, or each sweep after the other."""
        runs: list[tuple[Invocation, typer.Context]] = ctx.obj
        self._save(ctx, runs)
        first, _ = runs[0]
        if first.sweep is not None and first.sweep.name:
            raise typer.Exit(run_all(runs, super().invoke, default_folder=self.report_folder))
        token = running.set(first)
        try:
            return super().invoke(ctx)
        finally:
            running.reset(token)

    def _invocation(self, ctx: typer.Context, file: FileText, sweep: FileSweep) -> Invocation:
        used = {
            option.name: option.flag
            for option in option_keys(self)
            if option.name in sweep.values and _source(ctx, option.name) == "DEFAULT_MAP"
        }
        return Invocation(words=self._words(ctx), file=file, sweep=sweep, used=used)

    def _words(self, ctx: typer.Context) -> tuple[str, ...]:
        words = ["pamprof", self.name or ""]
        for option in option_keys(self):
            value = ctx.params.get(option.name)
            if option.name not in _UNRECORDED and not option.is_default(value):
                found = words_of(option, value)
                shortened = _SHORTENED.get(option.name)
                words += found if shortened is None else [shortened(word) for word in found]
        return tuple(words)

    def _save(self, ctx: typer.Context, runs: list[tuple[Invocation, typer.Context]]) -> None:
        path = ctx.params["save_config"]
        if path is None:
            return
        wanted = {
            "" if invocation.sweep is None else invocation.sweep.name: {
                name: None if name in _UNSAVED else value for name, value in each.params.items()
            }
            for invocation, each in runs
        }
        try:
            Path(path).write_text(file_of(option_keys(self), wanted, command=self.name or ""), encoding="utf-8")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "an option is no text in UTF-8"
            raise _told(OutputError(f"--save-config {path} cannot be written: {reason}; give another file")) from None


class ReportCommand(ConfiguredCommand):
    """A command whose runs each write a report."""

    report_folder = "pamprof-report"


class SweepCommand(ConfiguredCommand):
    """A command whose runs each write records."""

    report_folder = "pamprof-sweep"


def _source(ctx: typer.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    return "" if source is None else source.name


def _told(error: PamprofError | str) -> typer.Exit:
    """Say what is wrong, and how to end."""
    from pamprof.render.text import clean

    typer.echo(f"pamprof: {clean(str(error))}", err=True)
    return typer.Exit(2 if isinstance(error, str) else error.exit_code)
