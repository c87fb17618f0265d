"""Points that several ranks shared, in words and tables: scaling, what communication costs, bytes of each rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.scaling.conclude import scaling_points
from pamprof.pricing.run_cost import cost_per_million_tokens
from pamprof.records import Phase
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import PHASE_NAMES, cleaned, listed, plural, with_brackets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.scaling.conclude import ScalingPoint
    from pamprof.records import PriceQuote, RankedRun, Skip, Topology, Workload

_WAYS = {"ddp": "data parallel", "fsdp": "fully sharded", "tp": "tensor parallel"}
_MESSAGE_FIELDS = ("communication", "communication.seconds")
_HEADING = "Several GPUs of one machine"
_HEADING_CPU = "Several ranks of one machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingView:
    """Everything shown of points that ranks shared.

    Attributes:
        heading: What, in short.
        sentences: What ranks gain, and what their messages cost.
        tables: Scaling, communication, memory.
        notes: How it was measured, and where the devices sit.
    """

    heading: str
    sentences: tuple[str, ...]
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]


def scaling_view(
    runs: Sequence[RankedRun], skips: Sequence[Skip], names: Names, *, quote: PriceQuote | None
) -> ScalingView | None:
    """The section; None where ranks were to share no point.

    Args:
        runs: Of the records.
        skips: Of the records; those of steps on one device are left to other sections.
        names: Of their layers.
        quote: Rate of one device.
    """
    points = scaling_points(runs)
    done = {run.workload.key for run in runs}
    skipped = {s.workload.key: s for s in skips if s.workload.layout is not None and s.workload.key not in done}
    if not (points or skipped):
        return None
    # Without a point no record says which device it was.
    on_cpu = all(point.run.environment.device_kind == "cpu" for point in points)
    tables = (_scaling_table(points, names, quote), _message_table(points, names), _memory_table(points, names))
    return cleaned(
        ScalingView(
            heading=_HEADING_CPU if on_cpu else _HEADING,
            sentences=tuple(_sentence(point, names) for point in points),
            tables=(
                *(tables if points else ()),
                *((_skipped_table(tuple(skipped.values()), names),) if skipped else ()),
            ),
            notes=_notes(points) if points else (),
        )
    )


def _where(workload: Workload) -> str:
    return f"{PHASE_NAMES[workload.phase]} {workload.batch_size} × {units.tokens(workload.sequence_length)}"


def _how(point: ScalingPoint) -> str:
    return _shared(point.run.workload, ", weak" if point.run.scales_weakly else ", strong")


def _shared(workload: Workload, scaling: str = "") -> str:
    layout = workload.layout
    assert layout is not None
    recomputed = ", activations recomputed" if layout.checkpoints_activations else ""
    return f"{_WAYS[layout.parallel]} × {layout.ranks}{scaling}{recomputed}"


def _sentence(point: ScalingPoint, names: Names) -> str:
    """Speed-up and efficiency of one point, explained by its messages."""
    run = point.run
    what = ", each with as many tokens as one device," if run.scales_weakly else " that share the step of one device"
    text = (
        f"{names.in_sentence(run.workload)}, {_where(run.workload).lower()}, {_how(point)}: "
        f"{plural(point.ranks, 'rank')}{what} process {with_brackets(point.speed_up, units.ratio)} the tokens per "
        f"second of one device, an efficiency of {units.percent(point.efficiency.median)}"
    )
    if point.sent_bytes is not None:
        text += f"; each sends {units.binary_bytes(point.sent_bytes)} a step"
        if point.sent_bytes_per_second is not None and point.communication_ratio is not None:
            text += f" at {units.si(point.sent_bytes_per_second, 'B/s')}"
            text += f": {units.percent(point.communication_ratio)} of the step is messages"
        if point.exposed_ratio is not None:
            text += f", and nothing else runs during {units.percent(point.exposed_ratio)} of it"
    return f"{text}."


def _scaling_table(points: Sequence[ScalingPoint], names: Names, quote: PriceQuote | None) -> TableView:
    return TableView(
        title="Scaling",
        summary=(
            "All ranks beside one device that ran in turn with them; the slowest rank counts. Weak: every rank does "
            "what one device does alone. Strong: they share its step. Dollars and joules are those of all devices."
        ),
        columns=("arm", "point", "ranks", "step", "one device", "tokens/s", "speed-up", "efficiency", "$/M tokens",
                 "$/M, one device", "J/token"),
        right=frozenset(range(3, 11)),
        rows=tuple(_scaling_row(point, names, quote) for point in points),
        notes=_without_energy(points, names),
    )  # fmt: skip


def _without_energy(points: Sequence[ScalingPoint], names: Names) -> tuple[str, ...]:
    """Why joules are not known, a sentence a reason."""
    found: dict[str, list[str]] = {}
    for point in points:
        if point.energy_reason is not None:
            found.setdefault(point.energy_reason, []).append(f"{names.arm(point.run.workload)} ({_how(point)})")
    if len(found) == 1 and len(*found.values()) == len(points) > 1:
        return (f"No energy of any of them: {next(iter(found))}.",)
    return tuple(f"No energy of {listed(tuple(dict.fromkeys(arms)))}: {reason}." for reason, arms in found.items())


def _scaling_row(point: ScalingPoint, names: Names, quote: PriceQuote | None) -> tuple[str, ...]:
    run = point.run
    price, alone = units.UNKNOWN, units.UNKNOWN
    if quote is not None:
        by_device = point.tokens_per_second.scaled(1 / point.device_count)
        price = units.usd(cost_per_million_tokens(quote, by_device).usd_per_million_tokens.median)
        alone = units.usd(cost_per_million_tokens(quote, point.alone_tokens_per_second).usd_per_million_tokens.median)
    return (
        names.arm(run.workload),
        _where(run.workload),
        _how(point),
        with_brackets(point.step_seconds, units.seconds),
        units.seconds(point.alone_seconds.median),
        units.si(point.tokens_per_second.median),
        with_brackets(point.speed_up, units.ratio),
        units.percent(point.efficiency.median),
        price,
        alone,
        units.UNKNOWN if point.joules_per_token is None else units.si(point.joules_per_token, "J"),
    )


def _message_table(points: Sequence[ScalingPoint], names: Names) -> TableView:
    rows = []
    for point in points:
        messages = point.run.communication
        kinds = () if messages is None else messages.collectives
        busy = [units.percent(value) for value in point.busy_ratios if value is not None]
        rows.append(
            (
                names.arm(point.run.workload),
                _where(point.run.workload),
                _how(point),
                units.UNKNOWN
                if messages is None
                else ", ".join(f"{each.count} {each.operation} of {units.binary_bytes(each.bytes)}" for each in kinds)
                or "none",
                units.UNKNOWN if point.sent_bytes is None else units.binary_bytes(point.sent_bytes),
                _with_share(None if messages is None else messages.seconds, point.communication_ratio),
                _with_share(None if messages is None else messages.exposed_seconds, point.exposed_ratio),
                units.UNKNOWN if point.sent_bytes_per_second is None else units.si(point.sent_bytes_per_second, "B/s"),
                units.ratio(point.imbalance),
                " · ".join(busy) or units.UNKNOWN,
            )
        )
    return TableView(
        title="What communication costs",
        summary=(
            "One profiled step of rank 0. A message is under way while its kernel runs, waiting for other ranks "
            "included; exposed is the time in which nothing else runs; in brackets are shares of the step. Sent is "
            "what a ring of ranks passes on."
        ),
        columns=("arm", "point", "ranks", "messages", "sent", "under way", "exposed", "sent/s", "slowest rank",
                 "busy"),
        right=frozenset(range(4, 10)),
        rows=tuple(rows),
        notes=("Slowest rank: its median step over that of the fastest. Busy: time with a kernel on each rank's GPU.",),
    )  # fmt: skip


def _with_share(seconds: float | None, share: float | None) -> str:
    return units.seconds(seconds) + ("" if share is None else f" [{units.percent(share)}]")


def _memory_table(points: Sequence[ScalingPoint], names: Names) -> TableView:
    rows = []
    for point in points:
        run, ranks = point.run, point.run.ranks
        peaks = [rank.peak_bytes for rank in ranks if rank.peak_bytes is not None]
        state = max(rank.state_bytes for rank in ranks)
        rows.append(
            (
                names.arm(run.workload),
                _where(point.run.workload),
                _how(point),
                _beside(max(rank.weight_bytes for rank in ranks), run.alone_weight_bytes),
                units.binary_bytes(max(rank.optimizer_bytes for rank in ranks))
                if run.workload.phase is Phase.TRAIN
                else units.UNKNOWN,
                units.UNKNOWN if run.workload.phase is Phase.TRAIN else _beside(state, run.alone_state_bytes),
                units.UNKNOWN if not peaks else _beside(max(peaks), run.alone_peak_bytes),
            )
        )
    return TableView(
        title="Bytes of each rank",
        summary="The rank that holds most; in brackets one device by itself. A state or cache lies by heads.",
        columns=("arm", "point", "ranks", "weights", "optimizer", "state or cache", "peak of a step"),
        right=frozenset(range(3, 7)),
        rows=tuple(rows),
        notes=(),
    )


def _skipped_table(skips: Sequence[Skip], names: Names) -> TableView:
    return TableView(
        title="Planned for several ranks, but without a number",
        summary="Steps on one device are unaffected; the list of planned points has theirs.",
        columns=("arm", "point", "ranks", "kind", "reason"),
        right=frozenset(),
        rows=tuple(
            (
                names.arm(skip.workload),
                _where(skip.workload),
                _shared(skip.workload),
                str(skip.kind).replace("-", " "),
                skip.reason,
            )
            for skip in skips
        ),
        notes=(),
    )


def _beside(value: int, alone: int | None) -> str:
    return units.binary_bytes(value) + ("" if alone is None else f" [{units.binary_bytes(alone)}]")


def _notes(points: Sequence[ScalingPoint]) -> tuple[str, ...]:
    runs = [point.run for point in points]
    backends = tuple(dict.fromkeys(run.backend for run in runs))
    worst = max(max(run.agreement.output_difference, run.agreement.gradient_norm_difference or 0.0) for run in runs)
    notes = [
        f"Ranks are processes under torchrun's launcher that talk through {listed(backends)}.",
        "Every sample of all ranks was taken next to one of one device, which rank 0 ran while the others waited.",
        "Before the timing the first steps were compared: loss or logits, and the norm of all gradients where both "
        f"saw the same tokens, differ by at most {worst:.1e} relative.",
    ]
    unseen = dict.fromkeys(u.reason for run in runs for u in run.unknowns if u.field in _MESSAGE_FIELDS)
    notes += [f"Messages are not known of every point: {reason}." for reason in unseen]
    topologies = tuple(dict.fromkeys(run.topology for run in runs if run.topology is not None))
    notes += [_joined(topology) for topology in topologies]
    if not topologies:
        reasons = dict.fromkeys(u.reason for run in runs for u in run.unknowns if u.field == "topology")
        notes += [f"No topology: {reason}." for reason in reasons]
    return tuple(notes)


def _joined(topology: Topology) -> str:
    """Where the devices sit, in one sentence."""
    pairs = []
    for link in topology.links:
        nvlink = {None: "NVLinks unknown", 0: "no NVLink"}.get(link.nvlink_count, f"{link.nvlink_count} NVLinks")
        over = "" if link.common_ancestor is None else f", PCIe meets at {link.common_ancestor}"
        pairs.append(f"ranks {link.first} and {link.second}: {nvlink}{over}")
    lanes = dict.fromkeys(
        f"PCIe {generation or '?'} × {width or '?'}"
        for generation, width in zip(topology.pcie_generations, topology.pcie_widths, strict=True)
    )
    nodes = ", ".join("unknown" if node is None else str(node) for node in topology.numa_nodes)
    return f"{'; '.join(pairs)}; {', '.join(lanes)}; NUMA nodes by rank: {nodes}."
