"""The strip: what the device did over time, one row a signal, phases shaded and arms coloured underneath."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from matplotlib.patches import Rectangle

from pamprof import units
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, Signal, Strip
    from pamprof.render.plots.sheet import Sheet


_MOST_NAMED = 24


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw one ``Strip``: phase names on top, signals below each other on one time axis, a band of arms, its key."""
    (strip,) = cast("tuple[Strip, ...]", chart.panels)
    left, right = (0.66, 0.05) if sheet.narrow else (1.75, 0.12)
    end = strip.windows[-1].end or 1.0  # seconds; an axis needs some width
    sheet.space(0.2)
    for number, signal in enumerate(strip.signals):
        if sheet.narrow:
            sheet.text(signal.label, size=8)
        (axes,) = sheet.row(0.46 if sheet.narrow else 0.56, left=left, right=right)
        _shade(axes, strip, names=number == 0)
        _draw_signal(axes, signal, end)
        if not sheet.narrow:
            _name(axes, signal.label, left)
        sheet.space(0.1)
    (band,) = sheet.row(0.16, left=left, right=right)
    band.set_xlim(0, end)
    band.set_ylim(0, 1)
    band.set_yticks([])
    for window in strip.windows:
        band.add_patch(
            Rectangle(
                (window.start, 0),
                window.end - window.start,
                1,
                facecolor=LIGHT[window.arm.role],
                edgecolor=LIGHT["paper"],
                linewidth=0.5,
            )
        )
    if not sheet.narrow:
        for window in strip.windows if len(strip.windows) <= _MOST_NAMED else ():
            middle = (window.start + window.end) / 2
            band.annotate(
                window.execution,
                (middle, 0),
                xytext=(0, -3),
                textcoords="offset points",
                fontsize=6.5,
                color=LIGHT["muted"],
                ha="center",
                va="top",
                annotation_clip=False,
            )
        _name(band, "arm", left)
    band.tick_params(pad=4 if sheet.narrow else 12)
    sheet.space(0.22 if sheet.narrow else 0.34)
    sheet.text(chart.axis, size=8.5, role="muted", left=left)
    sheet.space(0.06)
    _draw_key(sheet, strip, left)


def _name(axes: Axes, text: str, left: float) -> None:
    """Writes ``text`` before the axes, ``left`` inches from their edge."""
    axes.annotate(
        text,
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-left * 72, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=LIGHT["ink"],
        va="center",
        annotation_clip=False,
    )


def _shade(axes: Axes, strip: Strip, *, names: bool) -> None:
    start = 0
    windows = strip.windows
    shaded = False
    for i in range(1, len(windows) + 1):
        if i < len(windows) and windows[i].phase == windows[start].phase:
            continue
        if shaded:
            axes.axvspan(windows[start].start, windows[i - 1].end, color=LIGHT["band"], linewidth=0, zorder=0)
        if names:
            axes.annotate(
                windows[start].phase,
                (windows[start].start, 1),
                xycoords=("data", "axes fraction"),
                xytext=(1, 5),
                textcoords="offset points",
                fontsize=9,
                fontweight="bold",
                color=LIGHT["ink"],
                va="bottom",
                annotation_clip=False,
            )
        shaded = not shaded
        start = i


def _draw_signal(axes: Axes, signal: Signal, end: float) -> None:
    axes.set_xlim(0, end)
    axes.set_ylim(0, (signal.top or 1.0) * 1.05)
    axes.set_xticks([])
    axes.set_yticks([0, signal.top])
    axes.set_yticklabels(["0", f"{units.significant(signal.top)} {signal.unit}"])
    axes.tick_params(axis="y", labelsize=7)
    axes.axhline(0, color=LIGHT["rule"], linewidth=0.7)
    for times, values in signal.segments:
        axes.fill_between(times, values, 0, color=LIGHT["transient"], linewidth=0, zorder=1)
        axes.plot(times, values, color=LIGHT["parameters"], linewidth=0.9, zorder=2)


def _draw_key(sheet: Sheet, strip: Strip, left: float) -> None:
    arms = {window.arm.key: window.arm for window in strip.windows}
    columns = 2 if sheet.narrow else 6
    rows = -(-len(arms) // columns)
    (axes,) = sheet.row(0.2 * rows, left=0.0 if sheet.narrow else left)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for number, arm in enumerate(arms.values()):
        x, y = number % columns, number // columns
        axes.add_patch(Rectangle((x, y + 0.2), 0.1, 0.6, facecolor=LIGHT[arm.role], linewidth=0))
        axes.text(x + 0.14, y + 0.5, arm.label, fontsize=8, color=LIGHT["ink"], va="center")
