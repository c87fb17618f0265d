"""A layer of the user's own: found by module or file, made by a factory."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.target.countable import Countable
from pamprof.measure.flops.target.request import CountedPhase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from pamprof.measure.flops.target.countable import Builder
    from pamprof.measure.flops.target.request import CountRequest

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}


def made_by_a_factory(request: CountRequest, length: int) -> Builder:
    """A layer of the user's own: what a factory returns, on inputs [B, T, width]."""
    found = _attribute(request.target)
    arguments = {name: _value(text) for name, text in request.arguments}

    def build(device: torch.device) -> Countable:
        module = found if isinstance(found, nn.Module) else _called(found, request.width, arguments)
        if not isinstance(module, nn.Module):
            raise UnsupportedError(f"{request.target} returned {type(module).__name__}, not a torch.nn.Module")
        dtype = None if request.dtype is None else getattr(torch, request.dtype)
        if dtype is not None and dtype.is_floating_point:
            module = module._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        first = next(module.parameters(), None)
        inputs = torch.randn(
            (request.batch_size, length, request.width),
            dtype=dtype or _input_dtype(module),
            device=device if first is None else first.device,
            requires_grad=request.phase is CountedPhase.TRAIN,
        )
        name = str(inputs.dtype).removeprefix("torch.")
        return Countable(
            module=module, run=lambda: module(inputs), inputs=inputs, description=f"width {request.width}, {name} input"
        )

    return build


def _called(factory: Callable[..., object], width: int, arguments: Mapping[str, object]) -> object:
    """Call a factory; the width goes to its parameter of that name, else to the first one it needs, if there is one."""
    try:
        parameters = dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # written in C
        parameters = {}
    if "width" in parameters and parameters["width"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return factory(**{"width": width, **arguments})
    takes_width = any(
        each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and each.default is inspect.Parameter.empty
        for name, each in parameters.items()
        if name not in arguments
    )
    return factory(width, **arguments) if takes_width else factory(**arguments)


def _input_dtype(module: nn.Module) -> torch.dtype:
    dtypes = {parameter.dtype for parameter in module.parameters()}
    return next(iter(dtypes)) if len(dtypes) == 1 and next(iter(dtypes)).is_complex else torch.float32


def _value(text: str) -> object:
    """The Python value that ``text`` writes; the text itself where it writes none."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _attribute(target: str) -> Callable[..., object]:
    source, _, name = target.rpartition(":")
    module = _file(Path(source)) if source.endswith(".py") else _module(source)
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        near = get_close_matches(name, vars(module), n=1)
        hint = f"did you mean {near[0]}?" if near else "name a function or class that it defines"
        raise UsageError(f"{source} has no {name}; {hint}") from None
    if not callable(found):
        raise UsageError(f"{target} is {type(found).__name__}; name a function or class that makes a torch.nn.Module")
    return cast("Callable[..., object]", found)


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give file.py:factory or module:factory")
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.resolve().parent}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses and pickles of the module expect
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    try:
        if all(part.isidentifier() for part in name.split(".")):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that it imports
    raise UsageError(f"no module {name!r} in the current folder or installed; give module:factory or file.py:factory")
