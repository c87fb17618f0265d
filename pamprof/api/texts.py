"""Texts of options that become nouns, for the command line and the Python door alike."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pamprof.errors import UsageError
from pamprof.records import Perplexity
from pamprof.units import plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.workloads.layers.foreign.source import LayerSource

Choice = TypeVar("Choice", bound=StrEnum)

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


def counts(text: str, option: str) -> tuple[int, ...]:
    """The whole numbers of a comma-separated list, such as ``512,2k``, in order, each once.

    Raises:
        UsageError: One that is no whole number above 0.
    """
    from pamprof.measure.comparison.points import parse_positive

    return tuple(dict.fromkeys(parse_positive(part, option=option) for part in text.split(",")))


def layers_with_sources(texts: Sequence[str], arguments: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of ``--layer``, and of those that no package registers where they come from, with their ``--layer-arg``.

    A layer is a registry name, ``peers`` for all layers of other libraries, ``NAME=module:factory``,
    ``NAME=file.py:factory``, or one of the latter two alone, which is called what the factory is called.

    Raises:
        UsageError: A name twice, a source that cannot be read, or an argument for a layer that has no source.
    """
    from pamprof.workloads.layers.foreign.source import argument_value, parse_source
    from pamprof.workloads.registry import PEER_LAYERS

    found: dict[str, LayerSource | None] = {}
    for part in (part for text in texts for part in some_names(text, "--layer")):
        name, equals, source = part.partition("=")
        for peer in PEER_LAYERS if part == "peers" else (part,) if part in PEER_LAYERS else ():
            found.setdefault(peer, parse_source(PEER_LAYERS[peer]))
        if part in ("peers", *PEER_LAYERS):
            continue
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


def checkpoints(texts: Sequence[str]) -> dict[str, Path]:
    """Files of weights by layer, from ``pam=weights.safetensors``.

    Raises:
        UsageError: Not of that form, or two for one layer.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = (part.strip() for part in text.partition("="))
        if not (equals and name and file):
            raise UsageError(f"--checkpoint {text!r} is not of the form pam=weights.safetensors")
        if name in found:
            raise UsageError(f"--checkpoint gives two files for {name}; give one")
        found[name] = Path(file)
    return found


def file_name_alone(text: str) -> str:
    """``pam=weights.pt`` of ``pam=/home/me/weights.pt``: what records may say of it."""
    name, equals, file = text.partition("=")
    return f"{name}{equals}{Path(file).name}"


def engine_alone(text: str) -> str:
    """``ray`` of ``ray:10.0.0.1:6379``: what records may say of it. A partition of Slurm stays."""
    name, _, _ = text.partition(":")
    return name if name == "ray" else text


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
