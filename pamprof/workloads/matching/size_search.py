"""Integer search for the shape of a layer that has a given size and departs least from a starting shape."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import chain
from math import ceil, floor, log
from typing import TYPE_CHECKING

from pamprof.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pamprof.records import LayerSpec
    from pamprof.workloads.base import LayerDefinition

# Tensor cores take operands in multiples of 8. A residual stream or head that is not one slows every product of the
# arm, so that such shapes are a last resort; an odd hidden_dim counts as this much departure from the shape.
_WIDTH_MULTIPLE = 8
_ODD_HIDDEN_PENALTY = 0.05

# Feed-forward ratios further off than this are another architecture.
_HIDDEN_FACTOR = 1.25

# Possible widths looked at on each side of the target, for every depth.
_NEIGHBOURS = 3

_LARGEST_WIDTH = 2**20


def nearest_shapes(
    layer: LayerDefinition,
    start: LayerSpec,
    *,
    target: int,
    size: Callable[[LayerSpec], int],
    tolerance: float,
) -> tuple[LayerSpec, ...]:
    """Shapes of ``layer`` near ``target``.

    Width, depth (from 1 to twice the start's) and the feed-forward ratio are free. A hit whose model_dim is a multiple
    of 8 comes before one whose is not, then one whose head_dim is. Among equals the departure from the start decides:
    the sum of the absolute logarithms of the changes of head_dim, depth and feed-forward ratio, plus the relative
    residual, plus a penalty for a hidden_dim that is no multiple of 8.

    Args:
        layer: Offers ``resize`` and ``check``.
        start: The shape to stay close to.
        target: The wanted size, above 0.
        size: Size of a possible shape; grows with width and depth, and at most linearly with hidden_dim.
        tolerance: Largest relative residual of a hit.

    Returns:
        The hit that departs least, alone; without a hit, the nearest shape below and the nearest above, where possible.
    """

    def residual(spec: LayerSpec) -> float:
        return size(spec) / target - 1

    seen = set(_candidates(layer, start, target=target, size=size))
    hits = [spec for spec in seen if abs(residual(spec)) <= tolerance]
    if hits:
        return (
            min(
                hits,
                key=lambda spec: (
                    *_odd_widths(spec),
                    _departure(spec, start) + abs(residual(spec)),
                    *_order(spec),
                ),
            ),
        )
    below = [spec for spec in seen if residual(spec) < 0]
    above = [spec for spec in seen if residual(spec) > 0]
    return tuple(
        min(side, key=lambda spec: (abs(residual(spec)), _departure(spec, start), _order(spec)))
        for side in (below, above)
        if side
    )


def _departure(spec: LayerSpec, start: LayerSpec) -> float:
    ratio = (spec.hidden_dim / spec.model_dim) / (start.hidden_dim / start.model_dim)
    return (
        abs(log(spec.head_dim / start.head_dim))
        + abs(log(spec.depth / start.depth))
        + abs(log(ratio))
        + (_ODD_HIDDEN_PENALTY if spec.hidden_dim % _WIDTH_MULTIPLE else 0.0)
    )


def _odd_widths(spec: LayerSpec) -> tuple[bool, bool]:
    """Whether model_dim, and whether head_dim, is no multiple of 8."""
    return (spec.model_dim % _WIDTH_MULTIPLE != 0, spec.head_dim % _WIDTH_MULTIPLE != 0)


def _order(spec: LayerSpec) -> tuple[int, int, int]:
    return (spec.model_dim, spec.depth, spec.hidden_dim)


def _candidates(
    layer: LayerDefinition, start: LayerSpec, *, target: int, size: Callable[[LayerSpec], int]
) -> Iterator[LayerSpec]:
    depths = (start.depth,) if getattr(layer, "keeps_depth", False) else range(1, 2 * start.depth + 1)
    for depth in depths:
        shape = replace(start, depth=depth)
        widths: Sequence[int] | None = getattr(layer, "widths", None)
        around = (
            [_widths_around(layer, shape, step=step, target=target, size=size) for step in (_WIDTH_MULTIPLE, 1)]
            if widths is None
            else [_proposed_around(layer, shape, widths, target=target, size=size)]
        )
        for spec in chain(*around):
            yield spec
            yield from _tuned_hidden(layer, spec, start, target=target, size=size)


def _proposed_around(
    layer: LayerDefinition,
    shape: LayerSpec,
    widths: Sequence[int],
    *,
    target: int,
    size: Callable[[LayerSpec], int],
) -> Iterator[LayerSpec]:
    """Those of the layer's own ``widths``, ascending, whose sizes lie next to the target on either side."""

    def reaches(width: int) -> bool:
        spec = layer.resize(shape, width)
        return spec is not None and size(spec) >= target

    first = bisect_left(widths, True, key=reaches)
    for width in widths[max(0, first - _NEIGHBOURS) : first + _NEIGHBOURS]:
        spec = layer.resize(shape, width)
        if spec is not None and _exists(layer, spec):
            yield spec


def _widths_around(
    layer: LayerDefinition, shape: LayerSpec, *, step: int, target: int, size: Callable[[LayerSpec], int]
) -> Iterator[LayerSpec]:
    """The possible widths, multiples of ``step``, whose sizes lie next to the target on either side."""
    low, high = 0, 1
    while high * step < _LARGEST_WIDTH:
        spec = _possible(layer, shape, high, step, direction=1)
        if spec is None or size(spec) >= target:
            break
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        spec = _possible(layer, shape, middle, step, direction=1)
        if spec is None or size(spec) >= target:
            high = middle
        else:
            low = middle
    for first, direction in ((low, -1), (low + 1, 1)):
        place = first
        for _ in range(_NEIGHBOURS):
            spec = _possible(layer, shape, place, step, direction=direction)
            if spec is None:
                break
            yield spec
            place = spec.model_dim // step + direction


def _possible(layer: LayerDefinition, shape: LayerSpec, place: int, step: int, *, direction: int) -> LayerSpec | None:
    """The possible shape of width ``place * step``, or the next in ``direction``; None where there is none near."""
    # Widths that keep head_dim are at most head_dim apart, so a gap wider than this means that there is nothing at all.
    for offset in range(2 * shape.head_dim // step + 2):
        width = (place + direction * offset) * step
        if width < 1:
            if direction < 0:
                return None
            continue
        spec = layer.resize(shape, width)
        if spec is not None and _exists(layer, spec):
            return spec
    return None


def _tuned_hidden(
    layer: LayerDefinition, spec: LayerSpec, start: LayerSpec, *, target: int, size: Callable[[LayerSpec], int]
) -> Iterator[LayerSpec]:
    """``spec`` with the hidden_dim that meets the target, as far as the feed-forward ratio allows."""
    slope = size(replace(spec, hidden_dim=spec.hidden_dim + 1)) - size(spec)
    if slope <= 0:
        return  # the size does not depend on it
    wanted = spec.hidden_dim + (target - size(spec)) / slope
    natural = start.hidden_dim / start.model_dim * spec.model_dim
    for step in (_WIDTH_MULTIPLE, 1):
        for hidden_dim in {floor(wanted / step) * step, ceil(wanted / step) * step}:
            if natural / _HIDDEN_FACTOR <= hidden_dim <= natural * _HIDDEN_FACTOR and hidden_dim >= 1:
                tuned = replace(spec, hidden_dim=hidden_dim)
                if _exists(layer, tuned):
                    yield tuned


def _exists(layer: LayerDefinition, spec: LayerSpec) -> bool:
    try:
        layer.check(spec)
    except SpecError:
        return False
    return True
