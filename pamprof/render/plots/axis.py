"""Logarithmic axes with readable numbers."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pamprof.render.style import LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def log_axis(axes: Axes, low: float, high: float, formatter: Callable[[float], str], *, at_most: int = 5) -> None:
    """A logarithmic horizontal axis with readable numbers and quiet vertical lines."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _set_ticks(axes.xaxis, readable_ticks(low, high, at_most=at_most), formatter)
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def log_height(axes: Axes, low: float, high: float, formatter: Callable[[float], str], *, at_most: int = 5) -> None:
    """The same for the vertical axis."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    _set_ticks(axes.yaxis, readable_ticks(low, high, at_most=at_most), formatter)
    axes.grid(visible=True, axis="y", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)


def _set_ticks(axis: Axis, ticks: tuple[float, ...], formatter: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([formatter(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def short_number(value: float) -> str:
    """A tick without trailing zeros and without an exponent: ``0.005``, ``20``, ``500k``."""
    if value >= 1000:
        step, letter = next(
            (s, n) for s, n in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s
        )
        return f"{value / step:g}{letter}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def short_dollars(value: float) -> str:
    """The same in dollars."""
    return f"${short_number(value)}"


def readable_ticks(low: float, high: float, *, at_most: int = 5) -> tuple[float, ...]:
    """Round values (1, 2, 5 and their decades; decades alone when there are many) between ``low`` and ``high``."""
    decades = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    ticks: tuple[float, ...] = ()
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = tuple(s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high)
        if len(ticks) <= at_most:
            break
    stride = -(-len(ticks) // at_most) if ticks else 1
    return ticks[::stride]
