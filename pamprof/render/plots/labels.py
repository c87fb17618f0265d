"""Texts beside axes: the title above a panel, the quantity below it, the name and the value of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS_PER_INCH = 72


def write_above(
    axes: Axes, text: str, *, left: float, points: float, size: float = 9.5, weight: str = "bold", role: str = "ink"
) -> None:
    """A line ``points`` above the axes that begins ``left`` inches before them, such as a panel's title."""
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-left * _POINTS_PER_INCH, points),
        textcoords="offset points",
        fontsize=size,
        fontweight=weight,
        color=LIGHT[role],
        va="bottom",
        annotation_clip=False,
    )


def write_below(axes: Axes, text: str) -> None:
    """Quantity and unit of the horizontal axis, in the middle below its ticks."""
    axes.annotate(
        text,
        (0.5, 0),
        xycoords="axes fraction",
        xytext=(0, -18),
        textcoords="offset points",
        fontsize=8.5,
        color=LIGHT["muted"],
        ha="center",
        va="top",
        annotation_clip=False,
    )


def write_before_row(
    axes: Axes, text: str, row: float, *, points: float, up: float = 0, size: float = 8.5, role: str = "ink"
) -> None:
    """The name of a row, ``points`` before the axes and ``up`` points above the row's middle."""
    axes.annotate(
        text,
        (0, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-points, up),
        textcoords="offset points",
        fontsize=size,
        color=LIGHT[role],
        va="center",
        annotation_clip=False,
    )


def write_after_row(
    axes: Axes,
    text: str,
    row: float,
    *,
    points: float,
    size: float = 8.5,
    weight: str = "normal",
    align: str = "left",
) -> None:
    """The value of a row, ``points`` behind the axes."""
    axes.annotate(
        text,
        (1, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(points, 0),
        textcoords="offset points",
        fontsize=size,
        fontweight=weight,
        color=LIGHT["ink"],
        va="center",
        ha=align,
        annotation_clip=False,
    )
