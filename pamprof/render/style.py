"""How pictures look: colours by role, the page they are drawn on, and their exact bytes as PNG or SVG.

Colours were checked for contrast (3:1 and more against the paper), for the three common colour-vision deficiencies
(simulated with the matrices of Machado, Oliveira and Fernandes, 2009) and in greyscale; every arm has a marker shape
besides. A PNG uses the font that ships with matplotlib, so that the same records give the same bytes on any machine.
"""

from __future__ import annotations

import io
import re
import textwrap
from contextlib import contextmanager
from math import ceil, floor, log10
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

ARM_ROLES = ("transformer", "real", "published", "planar", "gauss", "complex", "fused")
LIGHT = {
    "ink": "#1b2026",
    "muted": "#59636e",
    "rule": "#8d97a1",
    "grid": "#dde2e7",
    "band": "#f1f3f5",
    "paper": "#ffffff",
    "transformer": "#5f7a98",
    "real": "#0b7549",
    "published": "#d97500",
    "planar": "#b01238",
    "gauss": "#6b1a5e",
    "complex": "#4a3f9e",
    "fused": "#2b0633",
    "other1": "#7a5c2e",
    "other2": "#00798c",
    "other3": "#5c6b00",
    "other4": "#8c4b6f",
    "parameters": "#33475b",
    "gradients": "#587189",
    "optimizer": "#8199ae",
    "activations": "#aebfcd",
    "state": "#0e7c86",
    "cache": "#d9ac00",
    "inputs": "#66513c",
    "transient": "#d5dbe1",
}
DARK = {
    "ink": "#eceff2",
    "muted": "#a5b0bb",
    "rule": "#727d88",
    "grid": "#30373e",
    "band": "#1d2227",
    "paper": "#14171a",
    "transformer": "#8fa9c6",
    "real": "#38c48a",
    "published": "#ffb454",
    "planar": "#f2476a",
    "gauss": "#c058b5",
    "complex": "#8673f2",
    "fused": "#fbdcff",
    "other1": "#c8a46b",
    "other2": "#3cbfd3",
    "other3": "#b4c63c",
    "other4": "#dc9bbf",
    "parameters": "#b9c8d6",
    "gradients": "#8ea3b6",
    "optimizer": "#687f94",
    "activations": "#48606f",
    "state": "#27b8a4",
    "cache": "#e0bb29",
    "inputs": "#b39474",
    "transient": "#363f47",
}

WIDE_INCHES = 10.0
NARROW_INCHES = 4.1
PNG_DOTS_PER_INCH = 200
_MARGIN = 0.03
_CHARACTER_WIDTH = 0.6  # of the font size: generous for prose in the font that ships with matplotlib
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}


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
        self._top = _MARGIN
        self._axes: list[tuple[Axes, float, float, float, float]] = []
        self._texts: list[tuple[float, float, str, float, str, str, str]] = []

    def space(self, inches: float) -> None:
        """Leave ``inches`` free."""
        self._top += inches

    def text(
        self, text: str, *, size: float = 9.0, weight: str = "normal", role: str = "ink", left: float = 0.0
    ) -> None:
        """Write a paragraph at the left edge, wrapped at the right one, and move below it."""
        room = int((self.width - left) * 72 / (size * _CHARACTER_WIDTH))
        text = "\n".join(textwrap.wrap(text, room))
        lines = text.split("\n")
        self._texts.append((left, self._top, text, size, weight, role, "left"))
        self._top += len(lines) * size * 1.32 / 72

    def row(
        self, height: float, *, columns: int = 1, left: float = 0.0, right: float = 0.0, gap: float = 0.4
    ) -> list[Axes]:
        """Axes side by side, ``height`` inches high, each with ``left`` and ``right`` inches free for its own labels."""
        cell = (self.width - 2 * _MARGIN - gap * (columns - 1)) / columns
        made = []
        for column in range(columns):
            axes = self.figure.add_axes((0.1 + 0.01 * len(self._axes), 0.1, 0.5, 0.5))
            plain(axes)
            self._axes.append((axes, _MARGIN + column * (cell + gap) + left, self._top, cell - left - right, height))
            made.append(axes)
        self._top += height
        return made

    def finish(self) -> Figure:
        """Fix the height and put everything in its place."""
        height = self._top + _MARGIN
        self.figure.set_size_inches(self.width, height)
        for axes, left, top, width, tall in self._axes:
            axes.set_position((left / self.width, 1 - (top + tall) / height, width / self.width, tall / height))
        for left, top, text, size, weight, role, align in self._texts:
            self.figure.text(
                (_MARGIN + left) / self.width,
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


@contextmanager
def drawing() -> Iterator[None]:
    """The settings every picture is drawn under, whatever matplotlib was told elsewhere."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG, without a date or a program name in it."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def svg_text(figure: Figure, *, name: str) -> str:
    """The figure as one inline ``<svg>`` element whose colours are CSS variables and whose ids carry ``name``."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return _inline(text[text.index("<svg") :], name)


def css_variables(colours: dict[str, str]) -> str:
    """``--ink: #1b2026;`` and so on."""
    return " ".join(f"--{role}: {value};" for role, value in colours.items())


_ROLE_OF = {value: role for role, value in LIGHT.items()}


def _inline(svg: str, name: str) -> str:
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) xmlns="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) xmlns:xlink="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var(--{_ROLE_OF[m[0]]})" if m[0] in _ROLE_OF else m[0], svg)
    svg = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--font)", svg)
    svg = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "font-family: var(--font)", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = re.sub(r"<defs>\s*</defs>\s*", "", svg)
    svg = re.sub(
        r' id="[^"]*-(?:text|line2d|patch|xtick|ytick|matplotlib\.axis|FillBetweenPolyCollection)_\d+"', "", svg
    )
    svg = re.sub(r"<g/>\s*", "", svg)
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()


def icon_path(marker: str) -> str:
    """The outline of a marker as SVG path data, in a box from -1 to 1 with y downwards."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    scale = 0.95 / max(abs(path.vertices).max(), 1e-9)
    parts = []
    for points, code in path.iter_segments():
        letter = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(code)]
        if letter == "Z":
            parts.append("Z")
            continue
        numbers = " ".join(f"{(-v if i % 2 else v) * scale:.3f}" for i, v in enumerate(points))
        parts.append(letter + numbers.replace("-0.000", "0"))
    return "".join(parts)
