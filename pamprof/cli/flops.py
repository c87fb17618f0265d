"""``pamprof flops``: what one forward and backward pass of any layer costs, counted exactly."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import choice, duration
from pamprof.cli.options import Json, reporting_errors
from pamprof.cli.output import print_json, print_table
from pamprof.errors import UsageError
from pamprof.records import Scope
from pamprof.units import tokens

if TYPE_CHECKING:
    from pamprof.measure.flops.tables import FlopTable
    from pamprof.measure.flops.target.request import CountAnswer

_DEFAULT_WIDTH = 672
_DEFAULT_PRESET = "100m"


class Breakdown(StrEnum):
    """Which tables are shown."""

    OPERATOR = "operator"
    MODULE = "module"
    BOTH = "both"


@reporting_errors
def flops(
    target: Annotated[
        str | None,
        typer.Argument(
            help="module:factory or file.py:factory, which makes a torch.nn.Module that takes [batch, tokens, width]; "
            "or a layer by name, such as pam.",
            show_default=False,
        ),
    ] = None,
    hf_config: Annotated[
        Path | None,
        typer.Option(
            "--hf-config", help="Count this Hugging Face config.json instead; needs transformers, no weights."
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Channels of the input, given to the factory. Default: 672.")
    ] = None,
    sequence_length: Annotated[
        str | None,
        typer.Option(help="Tokens of a sequence, such as 512 or 2k. Default: 2k, or as many as a configuration has."),
    ] = None,
    batch_size: Annotated[str, typer.Option(help="Sequences.")] = "1",
    arg: Annotated[
        list[str] | None, typer.Option("--arg", help="An argument for the factory, NAME=VALUE; repeatable.")
    ] = None,
    phase: Annotated[str, typer.Option(help="forward, or train (forward and backward).")] = "train",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of input and real parameters: float64, float32, bfloat16 or float16; complex64 or complex128 of the "
            "input alone. Default: float32, or complex where all parameters are."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Sizes of a layer given by name. Default: 100m.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Sizes of a layer given by name from this file of weights.")
    ] = None,
    implementation: Annotated[
        str | None, typer.Option(help="Code of a layer given by name. Default: its first.")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="model or layer: what of a layer given by name. Default: model.")
    ] = None,
    by: Annotated[str, typer.Option(help="Tables: operator, module or both.")] = "both",
    timeout: Annotated[str, typer.Option(help="How long the layer's code may run, such as 90s or 5m.")] = "5m",
    json: Json = False,
) -> None:
    """Count the floating-point operations of any layer.

    The table is by operator and by module; complex multiply-adds are 8 FLOP.
    """
    from pamprof.measure.comparison.points import parse_positive
    from pamprof.measure.flops.tables import module_table, operator_table, remark, summary_table
    from pamprof.measure.flops.target.ask import count_target
    from pamprof.measure.flops.target.request import CountedPhase, CountRequest, InputDtype

    shown = choice(Breakdown, by, "--by")
    _refuse_what_does_not_fit(
        target,
        hf_config,
        own={"--width": width, "--arg": arg, "--dtype": dtype},
        registered={
            "--preset": preset,
            "--checkpoint": checkpoint,
            "--implementation": implementation,
            "--scope": scope,
        },
    )
    answer = count_target(
        CountRequest(
            target=target or str(hf_config),
            is_configuration=hf_config is not None,
            batch_size=parse_positive(batch_size, option="--batch-size"),
            sequence_length=None
            if sequence_length is None
            else parse_positive(sequence_length, option="--sequence-length"),
            phase=choice(CountedPhase, phase, "--phase"),
            timeout_seconds=duration(timeout, "--timeout") or 0.0,
            width=width or _DEFAULT_WIDTH,
            arguments=tuple(_argument(text) for text in arg or ()),
            dtype=None if dtype is None else choice(InputDtype, dtype, "--dtype"),
            preset=preset or _DEFAULT_PRESET,
            checkpoint=None if checkpoint is None else str(checkpoint),
            implementation=implementation,
            scope=choice(Scope, scope or Scope.MODEL, "--scope"),
        )
    )
    if answer.warning:
        typer.echo(f"pamprof: {answer.warning}", err=True)
    if json:
        print_json(answer)
        return
    typer.echo(_title(answer))
    _print(summary_table(answer.flops, answer.batch_size * answer.sequence_length))
    if shown is not Breakdown.MODULE:
        _print(operator_table(answer.flops))
    if shown is not Breakdown.OPERATOR:
        _print(module_table(answer.flops))
    typer.echo(remark(answer.flops))


def _refuse_what_does_not_fit(
    target: str | None, hf_config: Path | None, *, own: dict[str, object], registered: dict[str, object]
) -> None:
    """Raise ``UsageError`` unless there is one thing to count and every option says something about it."""
    if (target is None) == (hf_config is None):
        raise UsageError("give one of TARGET and --hf-config, such as: pamprof flops my_layers.py:block --width 672")
    refused: dict[str, object] = {}
    if target is None or ":" in target:
        refused |= registered
    if target is None or ":" not in target:
        refused |= own
    kind = "a configuration" if target is None else "module:factory" if ":" in target else "a layer given by name"
    for option, value in refused.items():
        if value:
            raise UsageError(f"{option} says nothing about {kind}; leave it out")


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise UsageError(f"--arg {text!r} is not of the form NAME=VALUE, such as num_layers=2")
    return name, value


def _title(answer: CountAnswer) -> str:
    from pamprof.render.text import clean

    where = {"meta": "on the meta device", "fake": "on tensors without data", "cpu": "on the CPU"}[answer.device]
    length = tokens(answer.sequence_length)
    return clean(
        f"{answer.target}: {answer.description}, batch {answer.batch_size} × {length} tokens, "
        f"{'forward and backward' if answer.phase == 'train' else 'forward'}, counted {where}"
    )


def _print(table: FlopTable) -> None:
    print_table(table.columns, table.rows, right=frozenset(range(table.left, len(table.columns))))
    typer.echo()
