"""What a plot shows, as plain numbers and words; ``pamprof.render.plots`` draws it."""

from __future__ import annotations

from pamprof.render.charts.bars import LadderBar, LadderPanel, MemoryBar, MemoryPanel, TornadoBar, TornadoPanel
from pamprof.render.charts.chart import Chart
from pamprof.render.charts.lines import ArmCurve, ArmLine, CurvePanel, LinePanel, Mark, Piece, Spot, Unit
from pamprof.render.charts.points import Dot, DotPanel, RooflineDot, RooflinePanel, RooflineSlope
from pamprof.render.charts.runs import ServingStrip, Signal, Strip, TrendPanel, Window

__all__ = [
    "ArmCurve",
    "ArmLine",
    "Chart",
    "CurvePanel",
    "Dot",
    "DotPanel",
    "LadderBar",
    "LadderPanel",
    "LinePanel",
    "Mark",
    "MemoryBar",
    "MemoryPanel",
    "Piece",
    "RooflineDot",
    "RooflinePanel",
    "RooflineSlope",
    "ServingStrip",
    "Signal",
    "Spot",
    "Strip",
    "TornadoBar",
    "TornadoPanel",
    "TrendPanel",
    "Unit",
    "Window",
]
