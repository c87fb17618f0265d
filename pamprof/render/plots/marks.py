"""Small marks that several plots share: an arm's marker with its interval, and end labels that do not collide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.transforms import ScaledTranslation

from pamprof.analysis.comparison.results import Basis
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from pamprof.records import Interval
    from pamprof.render.arms import Arm


LINE_STYLES: dict[Basis | None, str | tuple[int, tuple[float, ...]]] = {
    None: "-",  # given
    Basis.MEASURED: "-",
    Basis.COUNTED: "-",
    Basis.INTERPOLATED: (0, (1, 1.2)),
    Basis.MODELLED: (0, (4, 2.5)),
}


def marker(axes: Axes, arm: Arm, x: float, y: float, *, basis: Basis = Basis.MEASURED, size: float = 6.5) -> None:
    """The arm's shape: filled where measured, half filled where interpolated, hollow where modelled."""
    filled = basis in (Basis.MEASURED, Basis.COUNTED)
    axes.plot(
        (x,),
        (y,),
        marker=arm.marker,
        markersize=size,
        color=LIGHT[arm.role],
        fillstyle="left" if basis is Basis.INTERPOLATED else "full",
        markerfacecolor=LIGHT["paper"] if basis is Basis.MODELLED else LIGHT[arm.role],
        markerfacecoloralt=LIGHT["paper"],
        markeredgecolor=LIGHT["paper"] if filled else LIGHT[arm.role],
        markeredgewidth=0.7 if filled else 1.4,
        linestyle="none",
        zorder=4,
        clip_on=False,
    )


def margin_marker(axes: Axes, arm: Arm, row: float, left: float) -> None:
    """The arm's shape in the margin, ``left`` inches before the axes, beside a row's label."""
    figure = axes.get_figure()
    if figure is None:
        return
    shift = ScaledTranslation(-left + 0.05, 0, figure.dpi_scale_trans)
    axes.plot(
        (0,),
        (row,),
        marker=arm.marker,
        markersize=6,
        color=LIGHT[arm.role],
        markeredgewidth=0,
        transform=axes.get_yaxis_transform() + shift,
        clip_on=False,
    )


def whisker(axes: Axes, arm: Arm, interval: Interval, y: float) -> None:
    """A horizontal interval with caps; narrower than the marker it hides behind it."""
    axes.plot(
        (interval.low, interval.high),
        (y, y),
        color=LIGHT[arm.role],
        linewidth=1.6,
        marker="|",
        markersize=5,
        zorder=3,
        clip_on=False,
    )


def vertical_mark(axes: Axes, low: float, median: float, high: float, text: str, *, basis: Basis | None) -> None:
    """A named place on the horizontal axis, such as a crossover, with its interval as a shade."""
    if low < high:
        axes.axvspan(low, high, color=LIGHT["band"], zorder=0)
    axes.axvline(median, color=LIGHT["ink"], linewidth=1.0, linestyle=LINE_STYLES[basis], zorder=2)
    axes.annotate(
        text,
        (median, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=8,
        color=LIGHT["ink"],
        ha="center",
        va="bottom",
        annotation_clip=False,
    )


def spread(positions: list[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """``positions`` moved apart in their order, inside ``low`` to ``high`` if they fit.

    What stands there, of the same number of ``heights`` and in its middle, does not touch its neighbour then.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    placed = [positions[i] for i in order]
    for _ in range(200):
        moved = False
        for i in range(1, len(placed)):
            least = (heights[order[i]] + heights[order[i - 1]]) / 2
            lack = least - (placed[i] - placed[i - 1])
            if lack > least * 1e-3:
                placed[i - 1] -= lack / 2
                placed[i] += lack / 2
                moved = True
        if placed and placed[0] < low:
            placed[0], moved = low, True
        if placed and placed[-1] > high:
            placed[-1], moved = high, True
        if not moved:
            break
    result = [0.0] * len(positions)
    for place, i in zip(placed, order, strict=True):
        result[i] = place
    return result
