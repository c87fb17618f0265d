"""One picture as plain numbers and words; the files in ``plots`` draw it and read nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from pamprof.render.charts.bars import LadderPanel, MemoryPanel, TornadoPanel
from pamprof.render.charts.lines import CurvePanel, LinePanel
from pamprof.render.charts.points import DotPanel, RooflinePanel
from pamprof.render.charts.runs import ServingStrip, Strip, TrendPanel

Panels = (
    tuple[LadderPanel, ...]
    | tuple[DotPanel, ...]
    | tuple[LinePanel, ...]
    | tuple[MemoryPanel, ...]
    | tuple[RooflinePanel, ...]
    | tuple[Strip, ...]
    | tuple[ServingStrip, ...]
    | tuple[TrendPanel, ...]
    | tuple[CurvePanel, ...]
    | tuple[TornadoPanel, ...]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture.

    Attributes:
        name: File name without ending; also its id in the page.
        kind: Which file of ``plots`` draws it.
        title: The finding, as a sentence without full stop.
        subtitle: Device and date, for the picture on its own.
        axis: Quantity and unit of the value axis.
        caption: What is shown and how to read it; units, n and interval named.
        source: Source line of the picture on its own.
        alt: The finding in words for a reader who cannot see it.
        panels: What is drawn; empty where ``reason`` says why there is nothing to draw.
        reason: Why there is no picture; empty where there is one.
    """

    name: str
    kind: str
    title: str
    subtitle: str
    axis: str
    caption: str
    source: str
    alt: str
    panels: Panels
    reason: str = ""
