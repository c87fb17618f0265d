"""Where somebody else's layer comes from, in one line: ``module:factory`` or ``file.py:factory``, with its arguments.

The line is part of a layer's sizes (``LayerSpec.source``), so that a record says which code with which arguments was
measured. Reading it imports nothing; ``load`` imports the code and is called in processes of their own alone.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, cast

from pamprof.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from torch import nn

Argument = int | float | bool | str | None

CARRIER = "carrier"  # the one argument that is ours: what surrounds the module in the model


@dataclass(frozen=True, slots=True)
class LayerSource:
    """A factory and its arguments.

    Attributes:
        place: A module's dotted name, or the path of a file that ends in ``.py``.
        factory: Name of the callable in it, dotted where it is an attribute of a class.
        arguments: Keyword arguments in order of their names; ``carrier`` is taken out before the factory is called.
    """

    place: str
    factory: str
    arguments: tuple[tuple[str, Argument], ...] = ()

    @property
    def text(self) -> str:
        """``module:factory(name=value, ...)``; ``parse_source`` reads it back."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments)
        return f"{self.place}:{self.factory}({given})" if given else f"{self.place}:{self.factory}"

    def with_arguments(self, arguments: dict[str, Argument]) -> LayerSource:
        """The same factory with further arguments."""
        return replace(self, arguments=tuple(sorted({**dict(self.arguments), **arguments}.items())))


@cache
def parse_source(text: str) -> LayerSource:
    """The source that ``text`` names, with arguments or without.

    Raises:
        UsageError: Not of the form ``module:factory`` or ``file.py:factory``.
    """
    place, colon, called = text.strip().rpartition(":") if "(" not in text else _before_call(text)
    name, bracket, rest = called.partition("(")
    identifiers = name.split(".")
    dotted = place.split(".")
    whole = bool(colon and place) and all(part.isidentifier() for part in identifiers)
    if not whole or not (place.endswith((".py", ".pickle")) or all(part.isidentifier() for part in dotted)):
        raise UsageError(f"{text!r} names no layer; give module:factory or file.py:factory, such as my_layers.py:gru")
    source = LayerSource(place, name)
    if not bracket:
        return source
    try:
        call = ast.parse(f"_({rest}", mode="eval").body
        assert isinstance(call, ast.Call)
        assert not call.args
        return source.with_arguments({str(given.arg): ast.literal_eval(given.value) for given in call.keywords})
    except (SyntaxError, ValueError, AssertionError):
        raise UsageError(f"{text!r} has arguments that cannot be read; give name=value with numbers or words") from None


def _before_call(text: str) -> tuple[str, str, str]:
    head, bracket, rest = text.strip().partition("(")
    place, colon, name = head.rpartition(":")
    return place, colon, name + bracket + rest


def argument_value(text: str) -> Argument:
    """What ``--layer-arg NAME.key=TEXT`` means: a number, true, false or none where it reads as one, else the text."""
    words: dict[str, Argument] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if "_" not in text:  # Python would read 2_990 as a number
        for kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            if isfinite(number):  # an infinite one has no text that is read back
                return number
    return text


def load(source: LayerSource) -> Callable[..., nn.Module]:
    """Import the code and return the factory; runs what the module runs.

    Raises:
        UsageError: There is no such module, file or factory. What the module itself raises is passed on.
    """
    if source.place.endswith(".pickle"):
        import cloudpickle

        with open(source.place, "rb") as file:
            return cast("Callable[..., nn.Module]", cloudpickle.load(file))
    module = _module(source.place)
    found: object = module
    for part in source.factory.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        near = get_close_matches(source.factory, vars(module), n=1)
        remedy = f"did you mean {near[0]}?" if near and callable(vars(module)[near[0]]) else "check its name"
        raise UsageError(f"{source.place} has no function or class {source.factory}; {remedy}")
    return found


def parameters_of(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """The parameters that ``function`` names, in order; none where it does not tell, as functions written in C."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def call_factory(factory: Callable[..., object], width: int, arguments: Mapping[str, object]) -> object:
    """Call a factory; the width goes to its parameter of that name, else to the first one it needs, if there is one."""
    parameters = parameters_of(factory)
    if "width" in parameters and parameters["width"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return factory(**{"width": width, **arguments})
    takes_width = any(
        each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and each.default is inspect.Parameter.empty
        for name, each in parameters.items()
        if name not in arguments
    )
    return factory(width, **arguments) if takes_width else factory(**arguments)


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """Look for modules in ``folder`` first; afterwards last, lest a file there stand in for a module of Python's."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # where the module itself took it away
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        try:
            with _first_on_path(os.getcwd()):
                return importlib.import_module(place)
        except ModuleNotFoundError as exc:
            if exc.name is None or not (place == exc.name or place.startswith(f"{exc.name}.")):
                raise  # one of its own imports is missing
            raise UsageError(
                f"no module {place}; install it, or give the path of its file, such as {place}.py"
            ) from exc
    path = os.path.abspath(place)
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.stdlib_module_names:
        name = f"{name}_layers"  # a profile.py of the user's is not Python's
    loaded = sys.modules.get(name)
    if loaded is not None and os.path.abspath(getattr(loaded, "__file__", None) or "") == path:
        return loaded
    if not os.path.isfile(path):
        raise UsageError(f"no file {place}; give its path from the current folder, or the name of a module")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _first_on_path(os.path.dirname(path)):  # for what it imports beside it
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
