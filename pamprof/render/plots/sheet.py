"""The page a picture is drawn on: filled from the top down, in inches."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE_INCHES = 10.0
NARROW_INCHES = 4.1
_MARGIN = 0.03
_STANDALONE_MARGIN = 0.28
_CHARACTER_WIDTH = 0.6  # of the font size: generous for prose in the font that ships with matplotlib


class Sheet:
    """A figure filled from the top down in inches, so that its layout depends on no font metrics.

    Attributes:
        width: Inches.
        narrow: True for the variant that phones show.
        figure: matplotlib's figure.
    """

    def __init__(self, *, narrow: bool, standalone: bool) -> None:
        self.narrow = narrow
        self.width = NARROW_INCHES if narrow else WIDE_INCHES
        self.figure = Figure(figsize=(self.width, 1.0))
        self.figure.patch.set_facecolor(LIGHT["paper"] if standalone else "none")
        self._margin = _STANDALONE_MARGIN if standalone else _MARGIN
        self._top = self._margin
        self._axes: list[tuple[Axes, float, float, float, float]] = []
        self._texts: list[tuple[float, float, str, float, str, str, str]] = []

    def space(self, inches: float) -> None:
        """Leave ``inches`` free."""
        self._top += inches

    def text(
        self, text: str, *, size: float = 9.0, weight: str = "normal", role: str = "ink", left: float = 0.0
    ) -> None:
        """Write a paragraph at the left edge, wrapped at the right one, and move below it."""
        room = int((self.width - left - 2 * self._margin) * 72 / (size * _CHARACTER_WIDTH))
        text = "\n".join(textwrap.wrap(text, room))
        lines = text.split("\n")
        self._texts.append((left, self._top, text, size, weight, role, "left"))
        self._top += len(lines) * size * 1.32 / 72

    def row(
        self, height: float, *, columns: int = 1, left: float = 0.0, right: float = 0.0, gap: float = 0.4
    ) -> list[Axes]:
        """Axes side by side, ``height`` inches high, with ``left`` and ``right`` inches free for the labels of each."""
        cell = (self.width - 2 * self._margin - gap * (columns - 1)) / columns
        made = []
        for column in range(columns):
            axes = self.figure.add_axes((0.1 + 0.01 * len(self._axes), 0.1, 0.5, 0.5))
            plain(axes)
            self._axes.append(
                (axes, self._margin + column * (cell + gap) + left, self._top, cell - left - right, height)
            )
            made.append(axes)
        self._top += height
        return made

    def finish(self) -> Figure:
        """Fix the height and put everything in its place."""
        height = self._top + self._margin
        self.figure.set_size_inches(self.width, height)
        for axes, left, top, width, tall in self._axes:
            axes.set_position((left / self.width, 1 - (top + tall) / height, width / self.width, tall / height))
        for left, top, text, size, weight, role, align in self._texts:
            self.figure.text(
                (self._margin + left) / self.width,
                1 - top / height,
                text,
                fontsize=size,
                fontweight=weight,
                color=LIGHT[role],
                ha=align,
                va="top",
                linespacing=1.3,
            )
        return self.figure


def plain(axes: Axes) -> None:
    """No box, no tick marks, quiet ink."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=LIGHT["muted"], pad=4)
    axes.tick_params(which="minor", length=0, labelbottom=False, labelleft=False)
