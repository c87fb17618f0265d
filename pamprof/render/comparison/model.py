"""The report as plain words and numbers: page, terminal and Markdown are written from this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.render.arms import Arm
    from pamprof.render.capacity.view import CapacityView
    from pamprof.render.charts import Chart
    from pamprof.render.formats.table_view import TableView
    from pamprof.render.scaling.view import ScalingView
    from pamprof.render.serving.page_view import ServingPageView
    from pamprof.render.training.figures import TrainingView


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One of the four numbers at the top.

    Attributes:
        heading: What it is, such as ``Training cost``.
        value: The number with its unit; a dash where unknown.
        interval: In brackets; empty where exact or unknown.
        basis: ``measured`` with its effort, ``counted`` or ``modelled``; empty where unknown.
        subject: What was compared with what.
        second: The number that belongs beside it, such as the best arm's.
        reason: Why there is no number; empty where there is one.
    """

    heading: str
    value: str
    interval: str
    basis: str
    subject: str
    second: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a table.

    Attributes:
        text: As shown; a dash where unknown.
        detail: Interval or a second line.
        sort: What the column sorts by; None sorts last.
        reason: Why it is unknown; empty where it is known.
        name: Of its column, where the table names them.
    """

    text: str
    detail: str = ""
    sort: float | None = None
    reason: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A small word beside a number, and what it means."""

    text: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLink:
    """A trace of one step.

    Attributes:
        text: Of which arm at which point.
        href: The file, from the folder of the report; empty where there is none.
        meaning: Its name and size, or why it could not be written.
    """

    text: str
    href: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload of the table.

    ``of_headline``: its point sums its phase up. ``is_quoted``: its number stands in that point's tile. ``is_subject``:
    of the layer the report is about.
    """

    arm: Arm
    execution: str
    phase: str
    point: str
    batch_size: int
    sequence_length: int
    dtype: str
    first_of_point: bool
    of_headline: bool
    is_quoted: bool
    is_subject: bool
    is_baseline: bool
    cells: tuple[Cell, ...]
    verdict: Cell
    doubts: tuple[Word, ...]

    def cell(self, name: str) -> Cell:
        """The cell of a column by its name."""
        return next(cell for cell in self.cells if cell.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A numeric column: its name, heading, unit line and explanation."""

    name: str
    heading: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRow:
    """A rung as a table row; ``price`` is the cost of a million tokens after it, in the report's unit."""

    label: str
    explanation: str
    factor: str
    cumulative: str
    price: str
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderTable:
    """The ladder of one point in words, with what could not be built; ``unit`` is that of the rows' prices.

    ``of_headline``: its point sums its phase up.
    """

    title: str
    unit: str
    rows: tuple[LadderRow, ...]
    missing: tuple[str, ...]
    of_headline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """One point's price per million tokens (or device-hours where no price is known), a cell an arm."""

    point: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Cost by point and arm.

    Attributes:
        unit: Of every cell.
        arms: Columns.
        rows: Points.
        perplexities: Quality beside the cost, one cell an arm; empty where the session has none.
        perplexity_source: Who says so.
        bill: The training example, one sentence an arm.
        bill_heading: What the example is.
        market: What the spread of prices does to the amounts.
    """

    unit: str
    arms: tuple[Arm, ...]
    rows: tuple[CostRow, ...]
    perplexities: tuple[Cell, ...]
    perplexity_source: str
    bill: tuple[str, ...]
    bill_heading: str
    market: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyTableRow:
    """One layer: its name, which code is behind its numbers, and a cell a column."""

    layer: str
    state_count: int
    name: str
    remark: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyTable:
    """All layers of one device model, and what is not comparable in it."""

    heading: str
    columns: tuple[Column, ...]
    rows: tuple[FamilyTableRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTable:
    """What the subject costs on each machine, where records are of several; never one machine against another.

    Attributes:
        title: The heading.
        machines: Columns.
        rows: Points, with a cell a machine.
        note: What a cell is.
    """

    title: str
    machines: tuple[str, ...]
    rows: tuple[CostRow, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and its value, as a line of a list of facts."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """What is matched, what each arm was given, and what a sceptic would object to."""

    matched: str
    size_headings: tuple[str, ...]
    sizes: tuple[tuple[str, ...], ...]
    given_headings: tuple[str, ...]
    given: tuple[tuple[str, ...], ...]
    policy: str
    objections: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A planned point without a number."""

    what: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """Everything a reader sees, in order.

    Attributes:
        title: What was compared, on what, when.
        price: The price used with provider and date, or why there is none.
        effort: With which effort it was measured, and what a quick one lacks; empty where the records do not say.
        alerts: What must be known before anything else: incomplete, mixed devices, unreadable lines.
        sentences: The conclusion and the largest doubt.
        tiles: Four numbers.
        arms: Every arm with a number, in reading order: the key to all colours.
        charts: Pictures by name.
        ladders: The ladder in words.
        cost: The cost table.
        columns: Headings of the numeric columns of ``rows``.
        rows: Every measured workload.
        skipped: Every planned one without a number.
        kernels: Where the kernel time of the points that sum a phase up went, by arm.
        launches: How kernels of our own were launched, and which was chosen among several, by run.
        traces: Chrome traces of single steps, where they were asked for.
        doubts: Each kind of doubt that occurs, once, with advice.
        fairness: See ``Fairness``.
        method: How the numbers were made.
        noise: The noise floor in a few words, or why there is none.
        roof_shares: What the baseline reaches of the device's ceilings in each phase, or why that is unknown.
        command: What reproduces them.
        serving: What serving costs; None where no sweep was measured.
        capacity: How many associations a memory holds; None where that was not measured.
        loops: Profiled training loops among the records.
        kernel_table: Kernels by class; None where no records of a phase's own arms have them.
        family: All layers of the device model; None of fewer than three.
        machines: The subject's cost by machine; None where all was measured on one.
        scaling: What several ranks gain; None where none shared a point.
    """

    title: str
    price: str
    effort: str
    alerts: tuple[str, ...]
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    arms: tuple[Arm, ...]
    charts: tuple[Chart, ...]
    ladders: tuple[LadderTable, ...]
    cost: CostTable
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    kernels: tuple[Word, ...]
    launches: tuple[Word, ...]
    traces: tuple[TraceLink, ...]
    doubts: tuple[Word, ...]
    fairness: Fairness
    method: tuple[Fact, ...]
    noise: str
    roof_shares: str
    command: str
    serving: ServingPageView | None = None
    capacity: CapacityView | None = None
    loops: tuple[TrainingView, ...] = ()
    kernel_table: TableView | None = None
    family: FamilyTable | None = None
    machines: MachineTable | None = None
    scaling: ScalingView | None = None

    @property
    def every_chart(self) -> tuple[Chart, ...]:
        """The pictures of all sections."""
        sections = (self.serving, self.capacity)
        return (*self.charts, *(chart for section in sections if section is not None for chart in section.charts))

    def column(self, name: str) -> Column:
        """The numeric column of that name."""
        return next(column for column in self.columns if column.name == name)

    def chart(self, name: str) -> Chart:
        """The picture of that name."""
        return next(chart for chart in self.charts if chart.name == name)
