"""What a fault inside a layer is said to be: one sentence that names layer, error, file and line, and its traceback."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.workloads.registry import BUILT_IN_LAYERS, layer_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_MESSAGE = 300
# Of a traceback as it is stored; of a longer one the beginning and the end.
LONGEST_TRACEBACK = 8000

_STANDARD_LIBRARY, _INSTALLED = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
_PACKAGE = Path(__file__).resolve().parents[2]
_LAYERS = _PACKAGE / "workloads" / "layers"
_CARRIER = _LAYERS / "foreign"  # runs the code of others


def fault_sentence(layer: str, fault: BaseException, *, implementation: str = "") -> str:
    """``fault`` in one sentence: whose it is, what was raised, and where in the layer's own code."""
    message = _message(fault) or "no message"
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[: _LONGEST_MESSAGE - 1]}…"
    who = f"{layer} {implementation}".strip()
    return f"{who}: {type(fault).__name__}: {message}{place_of(layer, fault)}"


def place_of(layer: str, fault: BaseException) -> str:
    """`` (file, line N)`` of the innermost frame in the layer's code; empty where no frame of a layer is known.

    Of a layer of this package its own line is named, whatever it calls. Of somebody else's, a file of its author comes
    before one of an installed package, and the model of this package that stands around it is never named.
    """
    chain = list(_chain(fault))
    if any(isinstance(each, SyntaxError) and each.filename for each in chain):
        return ""  # its message has file and line
    frames = [frame for each in chain for frame in traceback.extract_tb(each.__traceback__)]
    package = _package_of(layer)
    is_carried = any(Path(frame.filename).is_relative_to(_CARRIER) for frame in frames)

    def is_of_package(path: Path) -> bool:
        return package is not None and path.is_relative_to(package)

    def is_of_user(path: Path) -> bool:
        return _is_outside(path) and not path.is_relative_to(_INSTALLED)

    def is_built_in(path: Path) -> bool:
        return not is_carried and path.is_relative_to(_LAYERS)

    order = (is_built_in, _is_outside) if layer in BUILT_IN_LAYERS else (is_of_user, _is_outside, is_built_in)
    for is_wanted in (is_of_package, *order):
        found = [frame for frame in frames if is_wanted(Path(frame.filename))]
        if found:
            return f" ({_shown(Path(found[-1].filename))}, line {found[-1].lineno})"
    return ""


def _message(fault: BaseException) -> str:
    try:
        return " ".join(str(fault).split())
    except Exception:  # noqa: BLE001 - an error of the layer's own that cannot be written
        return ""


def fault_traceback(fault: BaseException) -> str:
    """The whole traceback with its causes; of one beyond ``LONGEST_TRACEBACK`` characters its beginning and end."""
    text = "".join(traceback.format_exception(fault))
    if len(text) <= LONGEST_TRACEBACK:
        return text
    gap = "\n[…]\n"
    half = (LONGEST_TRACEBACK - len(gap)) // 2
    return f"{text[:half]}{gap}{text[-half:]}"


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """``fault`` and what it was raised from, the outermost first: the cause knows the place better."""
    seen: set[int] = set()
    current: BaseException | None = fault
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _package_of(layer: str) -> Path | None:
    """The package, or the one file, that ``layer`` is registered from; None where it was never imported."""
    sources = layer_sources().get(layer, ())
    module = sys.modules.get(sources[0].partition(":")[0].partition(".")[0]) if sources else None
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    package = path.parent if path.name == "__init__.py" else path
    return None if package == _PACKAGE else package


def _is_outside(path: Path) -> bool:
    """Whether a file belongs neither to this package, nor to Python, nor to torch and Triton."""
    libraries = (Path(file).parent for name in ("torch", "triton") if (file := _file_of(name)))
    is_python = path.is_relative_to(_STANDARD_LIBRARY) and "site-packages" not in path.parts
    return path.is_absolute() and not (
        is_python or path.is_relative_to(_PACKAGE) or any(path.is_relative_to(library) for library in libraries)
    )


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _shown(path: Path) -> str:
    """A path without what is the same for every layer on this machine."""
    places = (_PACKAGE.parent, _INSTALLED, Path.cwd())
    return next((str(path.relative_to(place)) for place in places if path.is_relative_to(place)), path.name)
