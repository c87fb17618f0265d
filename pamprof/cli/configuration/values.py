"""An option's value in TOML and on the command line: what a file may say for it, and how it is written back."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import typer

# What a file has no say in.
UNWRITTEN = frozenset({"config", "save_config"})

_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path as text",
    str: "text, a number, or a list of them",
}
_LISTED = "text, a number, a list of them, or a table of names"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionKey:
    """An option as a file names it.

    Attributes:
        name: Of the parameter.
        key: In a file: the option without its dashes, or what the help calls an argument, in small letters.
        kind: ``bool`` of a flag, ``int``, ``float``, ``Path`` or ``str``.
        repeatable: Whether it takes a list.
        default: Where it is not given.
        flag: As on the command line; empty of an argument.
    """

    name: str
    key: str
    kind: type
    repeatable: bool
    default: object
    flag: str

    def is_default(self, value: object) -> bool:
        """Whether ``value`` says no more than leaving the option out."""
        return value is None or value == self.default or (self.repeatable and not value)


def option_keys(command: typer.core.TyperCommand) -> tuple[OptionKey, ...]:
    """Every option and argument of ``command`` that a file may give, in order of declaration."""
    callback = command.callback
    assert callback is not None
    hints = {**get_type_hints(inspect.unwrap(callback)), **get_type_hints(callback)}
    found = []
    for param in command.params:
        name = param.name or ""
        if name not in UNWRITTEN:
            kinds = set(_plain_types(hints[name])) - {NoneType}
            flag = max(param.opts, key=len) if param.param_type_name == "option" else ""
            found.append(
                OptionKey(
                    name=name,
                    key=flag.lstrip("-") or name.replace("_", "-"),
                    kind=next(kind for kind in _WANTED if kind in kinds),
                    repeatable=bool(getattr(param, "multiple", False)) or param.nargs == -1,
                    default=param.default,
                    flag=flag,
                )
            )
    return tuple(found)


def _plain_types(hint: object) -> Iterator[object]:
    inner = get_args(hint)
    if not inner:
        yield hint
    for each in inner:
        yield from _plain_types(each)


def read_value(option: OptionKey, value: object) -> object:
    """What ``value`` of a file is on the command line.

    A table for a repeatable option has a value for each name: ``{train = [3, 18]}`` is ``train=3,18``, and
    ``{gru = {num_layers = 2}}`` is ``gru.num_layers=2``.

    Raises:
        ValueError: It is of another type; the text says what is wanted.
    """
    if option.repeatable:
        items = value if isinstance(value, list) else [value]
        return [text for item in items for text in _texts(item, option)]
    if option.kind is str:
        return ",".join(_text(item, option) for item in value) if isinstance(value, list) else _text(value, option)
    fits = {bool: bool, int: int, float: int | float, Path: str}[option.kind]
    if not isinstance(value, fits) or (isinstance(value, bool) and option.kind is not bool):
        raise ValueError(_WANTED[option.kind])
    return float(value) if option.kind is float else value


def _texts(item: object, option: OptionKey) -> Iterator[str]:
    if isinstance(item, dict) and option.kind is str:
        yield from _named(item, option)
    else:
        yield _text(item, option)


def _named(table: Mapping[str, object], option: OptionKey, prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _named(value, option, f"{prefix}{name}.")
        else:
            values = value if isinstance(value, list) else [value]
            words = ("true" if each is True else "false" if each is False else _text(each, option) for each in values)
            yield f"{prefix}{name}={','.join(words)}"


def _text(value: object, option: OptionKey) -> str:
    if isinstance(value, str):
        return value
    if option.kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(_LISTED if option.repeatable and option.kind is str else _WANTED[option.kind])


def written_value(option: OptionKey, value: object) -> str:
    """``value`` as TOML, which ``read_value`` reads back."""
    if option.repeatable:
        assert isinstance(value, list | tuple)
        return f"[{', '.join(_quoted(str(each)) for each in value)}]"
    if option.kind is bool:
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else _quoted(str(value))


def _quoted(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, which wants one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def words_of(option: OptionKey, value: object) -> list[str]:
    """``value`` as words of a command line; those of an argument are the value alone."""
    if option.kind is bool:
        return [option.flag if value else f"--no-{option.key}"]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for each in values for word in ([option.flag, str(each)] if option.flag else [str(each)])]
