"""Peak memory stacked by component; the fixed state and the KV cache have colours of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from matplotlib.patches import Rectangle

from pamprof import units
from pamprof.render.plots.labels import write_above, write_before_row
from pamprof.render.plots.marks import margin_marker
from pamprof.render.plots.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pamprof.render.charts import Chart, MemoryPanel
    from pamprof.render.plots.sheet import Sheet

COMPONENTS = (
    ("parameters", "parameters"),
    ("gradients", "gradients"),
    ("optimizer", "optimizer state"),
    ("activations", "saved activations"),
    ("state", "fixed state"),
    ("cache", "KV cache"),
    ("inputs", "inputs and outputs"),
    ("transient", "short-lived tensors, workspaces"),
    ("unaccounted", "unaccounted for"),
)


def draw(sheet: Sheet, chart: Chart) -> None:
    """Draw ``MemoryPanel``s, two to a row where there is room, under a key of the components present."""
    panels = cast("tuple[MemoryPanel, ...]", chart.panels)
    present = {name for panel in panels for bar in panel.bars for name, size in bar.parts if size}
    _draw_key(sheet, tuple(entry for entry in COMPONENTS if entry[0] in present))
    columns = 1 if sheet.narrow else min(2, len(panels))
    left, right = (1.35, 0.75) if sheet.narrow else (1.4, 0.85)
    for first in range(0, len(panels), columns):
        group = panels[first : first + columns]
        rows = max(len(panel.bars) for panel in group)
        sheet.space(0.34)
        made = sheet.row(0.27 * rows + 0.05, columns=columns, left=left, right=right, gap=0.3)
        for axes, panel in zip(made, group, strict=False):
            _draw_panel(axes, panel, rows, left, most_ticks=2 if sheet.narrow else 4)
        for axes in made[len(group) :]:
            axes.set_visible(False)
        sheet.space(0.22)
    sheet.text(chart.axis, size=8.5, role="muted")


def _draw_key(sheet: Sheet, entries: tuple[tuple[str, str], ...]) -> None:
    if not entries:
        return
    columns = 2 if sheet.narrow else 4
    rows = -(-len(entries) // columns)
    (axes,) = sheet.row(0.2 * rows)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    swatch = 0.16 * columns / (4.0 if sheet.narrow else 9.9)
    for number, (name, label) in enumerate(entries):
        x, y = number % columns, number // columns
        axes.add_patch(
            Rectangle((x, y + 0.2), swatch, 0.6, facecolor=LIGHT[name], edgecolor=LIGHT["paper"], linewidth=0)
        )
        axes.text(x + swatch * 1.4, y + 0.5, label, fontsize=8, color=LIGHT["ink"], va="center")


def _draw_panel(axes: Axes, panel: MemoryPanel, rows: int, left: float, *, most_ticks: int) -> None:
    longest = max(max(bar.total_bytes, sum(size for _, size in bar.parts)) for bar in panel.bars)
    step = _step(longest, most_ticks)
    axes.set_xlim(0, max(longest, 1) * 1.02)
    axes.set_xticks([step * i for i in range(int(longest // step) + 1)])
    axes.set_xticklabels([units.binary_bytes(step * i) if i else "0" for i in range(int(longest // step) + 1)])
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(rows - 0.45, -0.55)
    axes.set_yticks([])
    write_above(axes, panel.title, left=left, points=6)
    for row, bar in enumerate(panel.bars):
        edge = 0
        for name, size in bar.parts:
            axes.add_patch(
                Rectangle(
                    (edge, row - 0.31),
                    size,
                    0.62,
                    facecolor=LIGHT[name],
                    edgecolor=LIGHT["paper"],
                    linewidth=0.6,
                    zorder=2,
                )
            )
            edge += size
        margin_marker(axes, bar.arm, row, left)
        write_before_row(axes, bar.label, row, points=left * 72 - 12)
        axes.annotate(
            units.binary_bytes(bar.total_bytes),
            (max(edge, bar.total_bytes), row),
            xytext=(5, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=LIGHT["ink"],
            va="center",
            annotation_clip=False,
        )


def _step(longest: int, most_ticks: int) -> int:
    """The smallest round binary step that gives at most ``most_ticks`` ticks besides zero."""
    step = 1
    while longest / step > most_ticks:
        step *= 2
    return step
