"""Logarithmic axes with readable numbers, for any positive values a record can hold."""

from __future__ import annotations

from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Ends beyond these lie so near the end of the floats that matplotlib's own arithmetic on them overflows.
_SMALLEST, _LARGEST = 1e-150, 1e150
_NEAR = 4.0


def log_axis(axes: Axes, low: float, high: float, formatter: Callable[[float], str], *, at_most: int = 5) -> None:
    """A logarithmic horizontal axis with readable numbers and quiet vertical lines."""
    low, high = drawable(low, high)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _set_ticks(axes.xaxis, readable_ticks(low, high, at_most=at_most), formatter)
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def log_height(axes: Axes, low: float, high: float, formatter: Callable[[float], str], *, at_most: int = 5) -> None:
    """The same for the vertical axis."""
    set_log_height(axes, low, high, readable_ticks(low, high, at_most=at_most), formatter)


def drawable(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis held within what can be drawn, an axis of some width; absurd ends become the outermost."""
    low = min(max(low, _SMALLEST), _LARGEST / 10) if isfinite(low) else _SMALLEST
    high = min(max(high, _SMALLEST), _LARGEST) if isfinite(high) else _LARGEST
    return low, high if high > low else low * 10


def set_log_height(
    axes: Axes,
    low: float,
    high: float,
    ticks: tuple[float, ...],
    formatter: Callable[[float], str] | None = None,
) -> None:
    """A logarithmic vertical axis with ``ticks`` of the caller's choice."""
    low, high = drawable(low, high)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    _set_ticks(axes.yaxis, ticks, formatter or short_number)
    axes.grid(visible=True, axis="y", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def _set_ticks(axis: Axis, ticks: tuple[float, ...], formatter: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([formatter(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def short_number(value: float) -> str:
    """A tick without trailing zeros: ``0.005``, ``20``, ``500k``; an exponent only where no one would read zeros."""
    if value != 0 and not 1e-9 <= abs(value) < 1e18:
        return f"{value:.1e}".replace(".0e", "e").replace("e+", "e")
    if value >= 1000:
        step, letter = next(
            (s, n) for s, n in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s
        )
        return f"{value / step:g}{letter}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def short_dollars(value: float) -> str:
    """The same in dollars."""
    return f"${short_number(value)}"


def short_seconds(value: float) -> str:
    """The same in the largest unit of time that gives 1 or more: ``1.5 ms``, ``30 s``."""
    for step, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= step * (1 - 1e-9):
            return f"{short_number(value / step)} {unit}"
    return f"{short_number(value / 1e-9)} ns"


def readable_ticks(low: float, high: float, *, at_most: int = 5) -> tuple[float, ...]:
    """Round values (1, 2, 5 and their decades; decades alone when there are many) between ``low`` and ``high``.

    Ends that no logarithmic axis has are taken as ``drawable`` takes them.
    """
    low, high = drawable(low, high)
    decades = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    ticks: tuple[float, ...] = ()
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = tuple(s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high)
        if len(ticks) <= at_most:
            break
    stride = -(-len(ticks) // at_most) if ticks else 1
    return ticks[::stride]


def near_ticks(low: float, high: float, *, at_most: int = 5) -> tuple[float, ...]:
    """Evenly spaced round values where the ends lie within a factor of four, ``readable_ticks`` elsewhere."""
    low, high = drawable(low, high)
    if high / low >= _NEAR:
        return readable_ticks(low, high, at_most=at_most)
    decade = 10.0 ** floor(log10((high - low) / at_most)) if high - low > low * 1e-9 else 0.0
    for step in (decade * factor for factor in (1, 2, 5, 10, 20)):
        if step > 0 and floor(high / step) - ceil(low / step) < at_most:
            return tuple(number * step for number in range(ceil(low / step), floor(high / step) + 1))
    return (low,)
