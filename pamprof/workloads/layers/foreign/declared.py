"""``pamprof.layer``: what the author of a layer says about it, where nothing else could know it.

The declaration is kept on the factory itself, so that it goes wherever the factory goes: into the processes that import
its module or unpickle it, to ``--layer gru=file.py:factory``, and to a package's entry point. Needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pamprof.errors import UsageError
from pamprof.records import LayerRole, Phase
from pamprof.workloads.registry import BUILT_IN_LAYERS

if TYPE_CHECKING:
    from torch import Tensor

Factory = TypeVar("Factory", bound=Callable[..., object])
Widths = Iterable[int] | Callable[[], Iterable[int]]

_ATTRIBUTE = "__pamprof_layer__"
_by_name: dict[str, Callable[..., object]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDeclaration:
    """The arguments of ``pamprof.layer``; None, or no phases: derived.

    Attributes:
        name: What comparisons from Python call it.
        role: Its part in a comparison.
        twin_of: The layer that it repeats over real numbers.
        select: Picks the output from what ``forward`` returns.
        sizes: The widths that a match may choose from.
        phases: Those that are measured.
        oracle: The reference that the gate compares with.
    """

    name: str = ""
    role: LayerRole = LayerRole.SUBJECT
    twin_of: str | None = None
    select: Callable[..., Tensor] | None = None
    sizes: Widths | None = None
    phases: tuple[Phase, ...] | None = None
    oracle: Callable[..., Tensor] | None = None

    def widths(self) -> tuple[int, ...] | None:
        """The widths of ``sizes``, ascending; None where any may be tried.

        Raises:
            UsageError: They are not whole numbers of 1 or more. What the layer's own function raises comes through.
        """
        if self.sizes is None:
            return None
        found = tuple(self.sizes() if callable(self.sizes) else self.sizes)
        if not found or not all(isinstance(width, int) and width >= 1 for width in found):
            raise UsageError(f"its sizes are {list(found)[:8]!r}; give widths, whole numbers of 1 or more")
        return tuple(sorted(set(found)))


def layer(
    name: str,
    *,
    twin_of: str | None = None,
    select: Callable[..., Tensor] | None = None,
    sizes: Widths | None = None,
    phases: Iterable[str] | str | None = None,
    oracle: Callable[..., Tensor] | None = None,
    role: str | None = None,
) -> Callable[[Factory], Factory]:
    """Name the factory of a layer, and say of it what cannot be derived.

        @pamprof.layer("gru", select=lambda returned: returned[0])
        def gru(width: int, **options) -> nn.Module:        # a block: [B, T, width] -> [B, T, width]
            return nn.GRU(width, width, batch_first=True, **options)

        pamprof.compare(["transformer", "gru"])             # or the function: ["transformer", gru]

    The factory, a function of the width and of keyword arguments or a class of modules, is returned as it is and keeps
    the declaration, also for ``pamprof compare --layer gru=my_layers.py:gru`` and as an entry point of the group
    ``pamprof.layers``. For a factory written elsewhere call the decorator: ``pamprof.layer("s4", phases="train")(s4)``.
    There is no other way to give these; each is derived where it is left out. The functions given as ``select``,
    ``sizes`` and ``oracle`` run in the processes that run the layer.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``, none of pamprof's own names. On the command line the name given
            there counts.
        twin_of: The layer, by name, that this one repeats over real numbers, such as ``pam``: the report then tells
            apart what the architecture costs and what complex arithmetic does. Default: it is no twin.
        select: A function of what ``forward`` returns; it gives the output [B, T, width]. Default: the first tensor of
            the input's shape in it.
        sizes: Widths (channels) that a match may choose from, or a function without arguments that gives them, for a
            layer with constraints of its own. Default: any, in steps of 8 before others; one at which the factory
            raises is stepped over.
        phases: ``train``, ``prefill``, ``decode``, in a list or joined by commas; no other is measured. Default: all
            that it can do.
        oracle: A function of a module in float64 (complex128) and of its input [B, T, width] in float64; it gives the
            right output, differentiable with respect to the input. A method of the module's class will do. The module
            called in it returns what ``select`` picks. Every execution and dtype is compared with the oracle, decode
            step by step. Default: the module's own eager ``forward`` and ``step``, in float64 where they run in it.
        role: ``subject`` (what the report is about), ``reference`` (what others are compared to) or ``twin``. Default:
            ``subject``; ``twin`` with ``twin_of``.

    Returns:
        A decorator.

    Raises:
        UsageError: A name that cannot be or that pamprof has, an argument that does not hold, or, when it decorates, a
            factory that cannot be called, keep an attribute, or is a layer of another name already.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name):
        raise UsageError(f"{name!r} is no name of a layer; give letters, digits, _ and -, as in @pamprof.layer('gru')")
    if name in BUILT_IN_LAYERS:
        raise UsageError(f"{name} is a layer of pamprof; give yours another name")
    for word, function in (("select", select), ("oracle", oracle)):
        if function is not None and not callable(function):
            raise UsageError(f"layer {name}: {word}={function!r} cannot be called; give a function")
    if sizes is not None and (isinstance(sizes, str) or not (callable(sizes) or isinstance(sizes, Iterable))):
        raise UsageError(f"layer {name}: sizes={sizes!r} are no widths; give whole numbers, or a function that does")
    if twin_of is not None and (not isinstance(twin_of, str) or twin_of in ("", name)):
        raise UsageError(f"layer {name}: twin_of={twin_of!r} names no other layer; give a name, such as 'pam'")
    declaration = LayerDeclaration(
        name=name,
        role=_role(name, role, twin_of),
        twin_of=twin_of,
        select=select,
        sizes=sizes if sizes is None or callable(sizes) else tuple(sizes),
        phases=None if phases is None else _phases(name, phases),
        oracle=oracle,
    )
    if not callable(declaration.sizes):
        try:
            declaration.widths()
        except UsageError as exc:
            raise UsageError(f"layer {name}: {exc}") from None

    def declare(factory: Factory) -> Factory:
        if not callable(factory):
            raise UsageError(f"layer {name}: {factory!r} is no factory; give a function of the width, or a class")
        held = declaration_of(factory).name
        if held not in ("", name):
            raise UsageError(f"{held} and {name} cannot be one factory; make {name} a function that calls it")
        try:
            setattr(factory, _ATTRIBUTE, declaration)
        except (AttributeError, TypeError):
            raise UsageError(f"layer {name}: {factory!r} keeps no declaration; make it a function") from None
        _by_name[name] = factory
        return factory

    return declare


def declaration_of(factory: object) -> LayerDeclaration:
    """What was declared of ``factory`` itself, not of a class that it inherits from; else everything is derived."""
    found = getattr(factory, "__dict__", {}).get(_ATTRIBUTE)
    return found if isinstance(found, LayerDeclaration) else LayerDeclaration()


def declared_factory(name: str) -> Callable[..., object] | None:
    """The factory that this process declared last under ``name``."""
    return _by_name.get(name)


def _role(name: str, role: str | None, twin_of: str | None) -> LayerRole:
    if role is None:
        return LayerRole.SUBJECT if twin_of is None else LayerRole.TWIN
    if role not in list(LayerRole):
        raise UsageError(f"layer {name}: role={role!r} is not known; use {', '.join(LayerRole)}")
    if (role == LayerRole.TWIN) != (twin_of is not None):
        raise UsageError(f"layer {name}: role='twin' and twin_of go together; name the layer it is the twin of")
    return LayerRole(role)


def _phases(name: str, phases: Iterable[str] | str) -> tuple[Phase, ...]:
    given = phases.split(",") if isinstance(phases, str) else list(phases)
    words = [phase.strip() if isinstance(phase, str) else phase for phase in given]
    if not words or not all(word in list(Phase) for word in words):
        raise UsageError(f"layer {name}: phases={phases!r} are not all known; use {', '.join(Phase)}")
    return tuple(phase for phase in Phase if phase in words)
