"""Files of tensors: safetensors, or what ``torch.save`` writes, read without running any code that they hold."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# Keys under which training scripts keep the model's tensors beside optimizer and counters; qllm2 has the first.
_WRAPPINGS = ("model_state_dict", "state_dict", "model")
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """Tensors by name, and what was stored beside them.

    Attributes:
        tensors: As the file names them.
        configuration: Sizes that no tensor's shape tells, such as ``n_head``: the file's own ``config``, or that of a
            ``config.json`` beside it.
    """

    tensors: Mapping[str, Tensor]
    configuration: Mapping[str, object] = field(default_factory=dict)


def identity(path: Path) -> str:
    """The file's name and the beginning of its SHA-256, which tell weights apart and name no folder.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        digest = _digest(path, _version(path))
    except OSError as error:
        raise UsageError(f"--checkpoint {path}: {error.strerror}; give a file of safetensors or torch.save") from None
    return f"{re.sub(r'[^ -~]', '_', path.name)} sha256:{digest[:_DIGITS]}"


def read_shapes(path: Path) -> StoredModel:
    """The model of a file on the meta device: shapes without a value; ``UsageError`` as of ``read_weights``."""
    return _read(path, "meta", _version(path))


def read_weights(path: Path) -> StoredModel:
    """The model of a file on the CPU; kept, because each check of an arm asks for a block of it.

    Raises:
        UsageError: It is of neither kind, holds more than tensors and plain values, or no tensors.
    """
    return _read(path, "cpu", _version(path))


def _version(path: Path) -> tuple[int, int]:
    """What changes with a file's content, as far as its folder tells."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _digest(path: Path, version: tuple[int, int]) -> str:
    del version  # only a part of the key
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _read(path: Path, device: str, version: tuple[int, int]) -> StoredModel:
    del version  # likewise
    with path.open("rb") as stream:
        begin = stream.read(9)
    content = _safetensors(path, device) if begin[8:9] == b"{" else _torch_file(path, device, is_zip=begin[:2] == b"PK")
    for name in _WRAPPINGS:
        inner = content.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            content, beside = inner, content.get("config")
            break
    else:
        beside = None
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UsageError(f"{path.name} holds no tensors by name; give what torch.save(model.state_dict(), ...) writes")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    configuration = beside if isinstance(beside, Mapping) else _configuration_beside(path)
    return StoredModel(tensors=tensors, configuration={str(name): value for name, value in configuration.items()})


def _safetensors(path: Path, device: str) -> Mapping[str, object]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if device == "cpu":
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            return {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
    except SafetensorError as error:
        raise UsageError(f"{path.name} is no whole safetensors file ({error}); save or fetch it again") from None


def _torch_file(path: Path, device: str, *, is_zip: bool) -> Mapping[str, object]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own about pickles that it will refuse
            content = torch.load(
                path,
                map_location=device,
                weights_only=True,
                mmap=is_zip and device == "cpu",  # the optimizer's share of the file is never read
            )
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        OSError,
        AttributeError,
        TypeError,
    ) as error:
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UsageError(
                f"{path.name} holds code or objects beside tensors ({code[1]}), and nothing of a file is run; save "
                "model.state_dict() alone, or safetensors"
            ) from None
        raise UsageError(
            f"{path.name} is neither safetensors nor a torch file of tensors alone; save it with "
            "torch.save(model.state_dict(), ...)"
        ) from None
    return content if isinstance(content, Mapping) else {}


def _configuration_beside(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads((path.parent / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
