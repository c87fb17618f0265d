"""The one place layers are found: entry points ``pamprof.layers``, the built-in layers included.

A layer's module, and torch with it, is imported when the layer is asked for, not before. A layer that cannot be
imported is left out of ``definitions`` and raises its own error when it is asked for by name, so that one broken
package never stops the others.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from pamprof.errors import LayerError, UsageError
from pamprof.workloads.standard_output import talk_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.workloads.base import LayerDefinition

ENTRY_POINT_GROUP = "pamprof.layers"

# The same lines as in pyproject.toml: a plain checkout, run without being installed, has no entry points to read.
BUILT_IN_LAYERS = {
    "pam": "pamprof.workloads.layers.pam.definition:DEFINITION",
    "real_pam": "pamprof.workloads.layers.real_pam.definition:DEFINITION",
    "vector_pam": "pamprof.workloads.layers.vector_pam.definition:DEFINITION",
    "transformer": "pamprof.workloads.layers.transformer.definition:DEFINITION",
    "wide_head_transformer": "pamprof.workloads.layers.transformer.wide_heads:DEFINITION",
    "llama": "pamprof.workloads.layers.llama.definition:DEFINITION",
}

# Layers of other libraries, which the extra ``peers`` installs; factories, as those of anybody else.
_PEERS = ("gla", "simple_gla", "retnet", "delta_net", "gated_deltanet", "kda", "rwkv7", "mla", "mlstm", "mamba2")
PEER_LAYERS = {name: f"pamprof.workloads.layers.peers.factories:{name}" for name in _PEERS}

_REQUIRED = (
    "title",
    "implementations",
    "complex_valued",
    "fixed_state",
    "supports",
    "preset",
    "resize",
    "check",
    "parameter_count",
    "flop_count",
    "implementation_flop_count",
    "state_byte_count",
    "example_inputs",
    "build",
    "oracle_error",
)


_given: dict[str, LayerDefinition] = {}
_adopt: Callable[[str, str], LayerDefinition] | None = None


def adopt_factories(adopt: Callable[[str, str], LayerDefinition]) -> None:
    """How an entry point that is a function becomes a layer: ``adopt`` gets its name and ``module:factory``."""
    global _adopt  # noqa: PLW0603 - the measuring half counts and runs what this half registers
    _adopt = adopt


def register(layer: LayerDefinition) -> None:
    """Make a layer known in this process that no package registers: one that a command or a caller gave.

    Raises:
        UsageError: A built-in layer has its name.
    """
    if layer.name in BUILT_IN_LAYERS:
        raise UsageError(f"{layer.name} is a layer of pamprof; give yours another name")
    _given[layer.name] = layer


def layer_names() -> tuple[str, ...]:
    """Names of all layers, built-ins first and those given to this process last, without importing any of them."""
    return tuple(dict.fromkeys((*layer_sources(), *_given)))


def definition(name: str) -> LayerDefinition:
    """The layer registered as ``name``.

    Raises:
        UsageError: No layer has this name (the message says which there are).
        LayerError: Two packages claim it, its module cannot be imported, or what it holds is not a layer definition.
    """
    if name in _given:
        return _given[name]
    sources = layer_sources()
    if name not in sources:
        near = get_close_matches(name, sources, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no layer {name!r}; {hint}layers are {', '.join(sources)}")
    return _load(name, sources[name])


def definitions() -> dict[str, LayerDefinition]:
    """Every layer that can be imported, by name, built-ins first; ``broken_layers`` has the others."""
    loaded: dict[str, LayerDefinition] = {}
    for name, values in layer_sources().items():
        try:
            loaded[name] = _load(name, values)
        except UsageError:
            continue  # said by broken_layers, raised by definition
    return loaded


def broken_layers() -> dict[str, str]:
    """Registered layers that cannot be used, by name, with the reason."""
    broken: dict[str, str] = {}
    for name, values in layer_sources().items():
        try:
            _load(name, values)
        except UsageError as exc:
            broken[name] = str(exc)
    return broken


def layer_sources() -> dict[str, tuple[str, ...]]:
    """The ``module:attribute`` values claimed for every name; a name of this package belongs to it alone."""
    sources: dict[str, tuple[str, ...]] = {name: (value,) for name, value in BUILT_IN_LAYERS.items()}
    sources |= {name: (value,) for name, value in PEER_LAYERS.items()}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda found: (found.name, found.value)):
        if point.name in BUILT_IN_LAYERS or point.name in PEER_LAYERS:
            continue
        claimed = sources.get(point.name, ())
        if point.value not in claimed:
            sources[point.name] = (*claimed, point.value)
    return sources


@cache
def _load(name: str, values: tuple[str, ...]) -> LayerDefinition:
    if len(values) > 1:
        raise LayerError(f"layer {name!r} is registered twice, by {' and '.join(values)}; uninstall one of them")
    (value,) = values
    try:
        with talk_to_stderr():
            loaded = EntryPoint(name=name, value=value, group=ENTRY_POINT_GROUP).load()
    except (Exception, SystemExit) as exc:  # a foreign module may raise anything while it is imported
        raise LayerError(
            f"layer {name!r} cannot be loaded from {value}: {type(exc).__name__}: {exc}; "
            "repair or uninstall its package"
        ) from exc
    if callable(loaded) and not _offers(loaded, "implementations") and _adopt is not None:
        return _adopt(name, value)
    missing = [attribute for attribute in _REQUIRED if not _offers(loaded, attribute)]
    if missing:
        raise LayerError(f"layer {name!r} at {value} lacks {', '.join(missing)}; see pamprof.workloads.base")
    if getattr(loaded, "name", None) != name:
        raise LayerError(
            f"layer {name!r} at {value} calls itself {getattr(loaded, 'name', None)!r}; register it under that name"
        )
    return cast("LayerDefinition", loaded)


def _offers(loaded: object, attribute: str) -> bool:
    """Whether a definition has ``attribute``; one that fails when it is read is there, and says so where it is used."""
    try:
        return hasattr(loaded, attribute)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return True
