"""Options that several commands share, and what turns an option's text into a noun."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

from pamprof.errors import PamprofError, PriceError, UsageError
from pamprof.records import Perplexity, PriceQuote, ProcessorUse
from pamprof.units import plain_number

if TYPE_CHECKING:
    from pamprof.devices.parts import BoardPart
    from pamprof.measure.session.request import PriceLookup

if TYPE_CHECKING:
    from pamprof.workloads.layers.foreign.source import LayerSource

Arguments = ParamSpec("Arguments")
Choice = TypeVar("Choice", bound=StrEnum)

Preset = Annotated[
    str | None,
    typer.Option(
        help="Sizes by name, such as tiny, 25m, 100m or 1b (parameters). Default: tiny on a CPU, 100m on a GPU."
    ),
]
Match = Annotated[str, typer.Option(help="What arms are matched on: parameters, flops, width, state-bytes or none.")]
Layers = Annotated[str, typer.Option("--layer", help="Arms, comma-separated registry names.")]
ModelDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels of the residual stream.")]
Heads = Annotated[int | None, typer.Option(help="Own size of PAM: heads.")]
HeadDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels of one head.")]
Depth = Annotated[int | None, typer.Option(help="Own size of PAM: blocks.")]
HiddenDim = Annotated[int | None, typer.Option(help="Own size of PAM: complex channels inside the gate unit.")]
VocabularySize = Annotated[int | None, typer.Option(help="Own size of every arm: tokens of the vocabulary.")]
ChunkSize = Annotated[int | None, typer.Option(help="Chunk length of PAM as published, tokens. Default: 256.")]
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
        help="After this no further point begins, such as 90s, 5m or 1.5h; --resume continues. Default: that of the "
        "effort; of a sweep 40s on a CPU, none on a GPU.",
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
            typer.echo(f"pamprof: {clean(told)}", err=True)
            raise typer.Exit(status) from None
        except KeyboardInterrupt:
            typer.echo("pamprof: interrupted", err=True)
            raise typer.Exit(1) from None

    return guarded


_DURATION_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LONGEST_DURATION_SECONDS = 1e6  # eleven days


def duration(text: str | None, option: str, *, zero: bool = False) -> float | None:
    """Seconds of ``90``, ``90s``, ``5m`` or ``1.5h``; None stays None.

    Args:
        text: As given.
        option: Named in the message.
        zero: Whether 0 is allowed.

    Raises:
        UsageError: Anything else, nothing and less than nothing included.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[0-9]+)?) ?(s|min|m|h|)", text.strip().lower())
    value = float(found[1]) * _DURATION_UNITS[found[2]] if found else -1.0
    if not 0 <= value <= _LONGEST_DURATION_SECONDS or (value == 0 and not zero):
        given = f"{'0 or more' if zero else 'more than 0'}, at most {_LONGEST_DURATION_SECONDS // 3600:.0f}h,"
        raise UsageError(
            f"{option} {text!r} is no duration; give {given} as seconds, minutes or hours, such as 90s, 5m or 1.5h"
        )
    return value


def names(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list, in order, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def some_names(text: str, option: str) -> tuple[str, ...]:
    """The names of a list that must not be empty.

    Raises:
        UsageError: It is.
    """
    found = names(text)
    if not found:
        raise UsageError(f"{option} {text!r} names nothing; give at least one, or leave the option out")
    return found


def layers_with_sources(texts: list[str], arguments: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of ``--layer``, and of those that no package registers where they come from, with their ``--layer-arg``.

    A layer is a registry name, ``NAME=module:factory``, ``NAME=file.py:factory``, or one of the latter two alone, which
    is called what the factory is called.

    Raises:
        UsageError: A name twice, a source that cannot be read, or an argument for a layer that has no source.
    """
    from pamprof.workloads.layers.foreign.source import argument_value, parse_source

    found: dict[str, LayerSource | None] = {}
    for part in (part for text in texts for part in some_names(text, "--layer")):
        name, equals, source = part.partition("=")
        if not equals and ":" not in part:
            found.setdefault(part, None)
            continue
        parsed = parse_source(source if equals else part)
        name = name.strip() if equals else parsed.factory.rpartition(".")[2]
        if name in found:
            raise UsageError(f"--layer names {name} twice; give each layer a name of its own, as in a={parsed.text}")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name):
            raise UsageError(f"--layer {part!r} has no usable name; give letters, digits, _ and -, such as gru=...")
        found[name] = parsed
    for argument in arguments:
        place, equals, value = argument.partition("=")
        name, dot, key = place.strip().rpartition(".")
        known = found.get(name)
        if not (equals and dot and key.isidentifier()):
            raise UsageError(f"--layer-arg {argument!r} is not of the form gru.num_layers=2")
        if known is None:
            raise UsageError(f"--layer-arg {argument!r} is for no layer given as NAME=module:factory in --layer")
        found[name] = known.with_arguments({key: argument_value(value.strip())})
    return tuple(found), {name: source.text for name, source in found.items() if source is not None}


def choice(kind: type[Choice], text: str, option: str) -> Choice:
    """The member called ``text``.

    Raises:
        UsageError: There is none; the message names them all.
    """
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not known; use {', '.join(kind)}") from None


def own_sizes(**given: int | float | str | None) -> dict[str, int | float | str]:
    """The sizes that were given.

    Raises:
        UsageError: A size that is not positive, or a dropout outside 0 to 1.
    """
    sizes = {name: value for name, value in given.items() if value is not None}
    for name, value in sizes.items():
        option = f"--{name.replace('_', '-')}"
        if name == "dropout":
            if not (isinstance(value, float) and 0 <= value < 1):
                raise UsageError(f"{option} {value} is no probability; give 0 or more and less than 1")
        elif isinstance(value, int) and value < 1:
            raise UsageError(f"{option} must be 1 or more, not {value}")
    return sizes


def perplexity(text: str) -> Perplexity:
    """A quality figure from ``layer=value``.

    Raises:
        UsageError: Not of that form, or not a perplexity.
    """
    layer, equals, number = text.partition("=")
    value = float(plain_number(number) or 0)
    if not (equals and layer and 1 <= value < float("inf")):
        raise UsageError(f"--perplexity {text!r} is not of the form pam=30.0 with a perplexity of 1 or more")
    return Perplexity(layer=layer.strip(), value=value, source="given on the command line")


def price_lookup(
    *,
    price: str | None,
    prices: Path | None,
    gpu: str | None,
    provider: str | None,
    instance: str | None,
    purchase_option: str,
) -> PriceLookup:
    """``find_quote`` with everything but the device, which is known once measuring begins."""

    def look_up(
        device_kind: str, device_name: str, processor: ProcessorUse | None, part: BoardPart | None = None
    ) -> tuple[PriceQuote | None, str | None]:
        return find_quote(
            device_kind,
            device_name,
            processor,
            part,
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            instance=instance,
            purchase_option=purchase_option,
        )

    return look_up


def find_quote(
    device_kind: str,
    device_name: str,
    processor: ProcessorUse | None,
    part: BoardPart | None = None,
    *,
    price: str | None,
    prices: Path | None,
    gpu: str | None,
    provider: str | None,
    instance: str | None,
    purchase_option: str,
) -> tuple[PriceQuote | None, str | None]:
    """The price of a device, or None with the reason where nobody asked for a particular one.

    Raises:
        PriceError: The price that was asked for cannot be had.
    """
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.pricing.rates.quote import quote

    asked = price or prices or gpu or provider or instance or purchase_option != "on-demand"
    try:
        found = quote(
            load_catalogue(prices),
            device_name,
            gpu=gpu,
            provider=provider,
            instance=instance,
            purchase_option=purchase_option,
            usd_per_hour=price,
            device_kind=device_kind,
            processor=processor,
            part=part,
        )
    except PriceError as error:
        if asked:
            raise
        return None, str(error)
    return found, None
