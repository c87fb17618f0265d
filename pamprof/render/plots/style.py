"""How pictures look: colours by role, and their exact bytes as PNG or SVG.

Colours were checked for contrast (3:1 and more against the paper), for the three common colour-vision deficiencies
(simulated with the matrices of Machado, Oliveira and Fernandes, 2009) and in greyscale; every arm has a marker shape
besides. A PNG uses the font that ships with matplotlib, so that the same records give the same bytes on any machine.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.markers import MarkerStyle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure


LIGHT = {
    "ink": "#1b2026",
    "muted": "#59636e",
    "rule": "#8d97a1",
    "grid": "#dde2e7",
    "band": "#f1f3f5",
    "paper": "#ffffff",
    "reference": "#5f7a98",
    "twin": "#0b7549",
    "published": "#d97500",
    "plain1": "#b01238",
    "plain2": "#6b1a5e",
    "plain3": "#4a3f9e",
    "kernels": "#2b0633",
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
    "unaccounted": "#c8452d",
}
DARK = {
    "ink": "#eceff2",
    "muted": "#a5b0bb",
    "rule": "#727d88",
    "grid": "#30373e",
    "band": "#1d2227",
    "paper": "#14171a",
    "reference": "#8fa9c6",
    "twin": "#38c48a",
    "published": "#ffb454",
    "plain1": "#f2476a",
    "plain2": "#c058b5",
    "plain3": "#8673f2",
    "kernels": "#fbdcff",
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
    "unaccounted": "#ff7d5c",
}

PNG_DOTS_PER_INCH = 200
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}


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
    """The figure as one inline ``<svg>`` element whose colours are CSS variables and whose ids carry ``name``.

    It holds no style attribute and no style sheet, so it has its colours where a page may have neither.
    """
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return _inline(text[text.index("<svg") :], name)


def css_variables(colours: dict[str, str]) -> str:
    """``--ink: #1b2026;`` and so on."""
    return " ".join(f"--{role}: {value};" for role, value in colours.items())


def css_colour(role: str) -> str:
    """``var(--ink,#1b2026)``: the scheme's colour, or the light one where no style sheet may say it."""
    return f"var(--{role},{LIGHT[role]})"


_ROLE_OF = {value: role for role, value in LIGHT.items()}
_SHORT_FONT = re.compile(r"(?:(?P<weight>\d+) )?(?P<size>[\d.]+px) ")  # as matplotlib before 3.10 writes it
# What an element has anyway, inherited from the whole picture or by default.
_NEEDLESS = {"font-family", "text-anchor: start", "stroke-dashoffset: 0"}


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
    svg = svg.replace("<svg", '<svg font-family="var(--font,sans-serif)" stroke-linejoin="round"', 1)
    svg = re.sub(r"<[^>]*>", lambda tag: _plain_tag(tag[0]), svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = re.sub(r"<defs>\s*</defs>\s*", "", svg)
    svg = re.sub(
        r' id="[^"]*-(?:text|line2d|patch|xtick|ytick|matplotlib\.axis|FillBetweenPolyCollection)_\d+"', "", svg
    )
    svg = re.sub(r"<g/>\s*", "", svg)
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()


def _plain_tag(tag: str) -> str:
    """A tag with two decimals, colours by role, and presentation attributes in place of its style attribute."""
    tag = re.sub(r' style="([^"]*)"', _presentation, tag)
    if tag.startswith("<use"):
        tag = re.sub(r' stroke-linejoin="[^"]*"', "", tag)  # the outline that it uses has its own
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda m: css_colour(_ROLE_OF[m[0]]) if m[0] in _ROLE_OF else m[0], tag)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)


def _presentation(style: re.Match[str]) -> str:
    """The declarations of a style attribute as presentation attributes."""
    attributes = []
    for declaration in style[1].split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (short := _SHORT_FONT.match(value)):
            attributes += [f' font-{part}="{said}"' for part, said in short.groupdict().items() if said]
        elif name and name not in _NEEDLESS and f"{name}: {value}" not in _NEEDLESS:
            attributes.append(f' {name}="{value}"')
    return "".join(attributes)


def icon_path(marker: str) -> str:
    """The outline of a marker as SVG path data, in a box from -1 to 1 with y downwards."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    scale = 0.95 / float(np.abs(np.asarray(path.vertices, dtype=float)).max())
    parts = []
    for points, code in path.iter_segments():
        letter = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(code)]
        if letter == "Z":
            parts.append("Z")
            continue
        numbers = " ".join(f"{(-v if i % 2 else v) * scale:.3f}" for i, v in enumerate(points))
        parts.append(letter + numbers.replace("-0.000", "0"))
    return "".join(parts)
