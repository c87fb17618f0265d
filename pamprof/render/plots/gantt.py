"""What servers did over a minute: reading prompts above, decoding below, then how many ran and how many waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pamprof import units
from pamprof.render.plots.labels import write_above
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, ServingStrip
    from pamprof.render.plots.sheet import Sheet


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``ServingStrip``s below each other, each with its own time axis and its own scale of sequences."""
    left, right = (0.62, 0.1) if sheet.narrow else (0.75, 0.12)
    sheet.text(chart.axis, size=8.5, role="muted")
    for strip in cast("tuple[ServingStrip, ...]", chart.panels):
        sheet.space(0.34)
        (device,) = sheet.row(0.34, left=left, right=right)
        write_above(device, strip.title, left=left, points=6)
        _draw_device(device, strip)
        sheet.space(0.08)
        (counts,) = sheet.row(0.62, left=left, right=right)
        _draw_counts(counts, strip)
        sheet.space(0.24)


def _edges(strip: ServingStrip) -> list[float]:
    slot = strip.seconds / len(strip.running)
    return [slot * number for number in range(len(strip.running) + 1)]


def _draw_device(axes: Axes, strip: ServingStrip) -> None:
    axes.set_xlim(0, strip.seconds)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([0, 1], ["0", "100 %"])
    axes.tick_params(axis="y", labelsize=7)
    both = [decoding + reading for decoding, reading in zip(strip.decoding, strip.reading, strict=True)]
    axes.stairs(both, _edges(strip), fill=True, color=LIGHT[strip.arm.role])
    axes.stairs(strip.decoding, _edges(strip), fill=True, color=LIGHT["transient"])


def _draw_counts(axes: Axes, strip: ServingStrip) -> None:
    top = max(strip.most, 1)
    axes.set_xlim(0, strip.seconds)
    axes.set_ylim(0, top * 1.05)
    axes.set_yticks([0, top], ["0", units.whole(top)])
    axes.tick_params(axis="y", labelsize=7)
    axes.axhline(0, color=LIGHT["rule"], linewidth=0.7)
    axes.stairs(strip.waiting, _edges(strip), fill=True, color=LIGHT["unaccounted"], alpha=0.75)
    axes.stairs(strip.running, _edges(strip), color=LIGHT[strip.arm.role], linewidth=1.2)
