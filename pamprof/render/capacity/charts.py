"""Accuracy and signal over interference against the number of associations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.capacity.conclude import seed_count
from pamprof.analysis.comparison.results import Basis
from pamprof.records import AssociativeMemory, Interval
from pamprof.render.capacity.looks import memory_arm, memory_name
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Piece, Spot
from pamprof.render.text import day, device_label, plural
from pamprof.statistics import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.capacity.conclude import CapacityFindings
    from pamprof.records import Capacity

_Place = tuple[AssociativeMemory, int, int, Interval]  # memory, head_dim, associations, value


def accuracy_chart(record: Capacity, findings: CapacityFindings) -> Chart:
    """The share of associations retrieved, by how many were written."""
    values = [
        (row.state, row.head_dim, row.associations, Interval(
            low=row.low, median=row.accuracy, high=row.high, confidence=CONFIDENCE
        ))
        for row in findings.rows
    ]  # fmt: skip
    finding = _finding(findings)
    return Chart(
        name="capacity",
        kind="shares",
        title=finding,
        subtitle=_subtitle(record),
        axis="associations retrieved, percent",
        caption=(
            f"Random unit keys and values; {_seeds(record)}, bands are 95 % intervals over seeds. Marks thicken near "
            "99 %, where sizes were searched. Forgetting: with the decays a head begins training with; else nothing is "
            "forgotten."
        ),
        source=_source(record),
        alt=f"{finding}.",
        panels=_panels(values),
        reason="" if values else "nothing was measured",
    )


def signal_chart(record: Capacity, findings: CapacityFindings) -> Chart:
    """Signal over interference, by how many associations were written."""
    values = [(row.state, row.head_dim, row.associations, row.signal) for row in findings.signals]
    vectors = [law for law in findings.laws if law.state is AssociativeMemory.VECTOR]
    law = next(reversed(vectors or findings.laws), None)
    title = "Signal over interference"
    if law is not None:
        exponent = law.signal.exponent
        title = (
            f"Signal over interference of the {memory_name(law.state)} with {law.head_dim} channels falls as n to the "
            f"{_signed(exponent.median)} [{_signed(exponent.low)}, {_signed(exponent.high)}]"
        )
    return Chart(
        name="capacity-signal",
        kind="curves",
        title=title,
        subtitle=_subtitle(record),
        axis="length of the value over length of what disturbs it (logarithmic)",
        caption=(
            "A law O(1/sqrt(n)) is a straight line that falls by half where n grows fourfold. Memories that forget are "
            f"left out: their values fade. {_seeds(record).capitalize()}; bands are 95 % intervals over seeds."
        ),
        source=_source(record),
        alt=f"{title}.",
        panels=_panels(values),
        reason="" if values else "no memory that keeps everything was measured with interference",
    )


def _panels(values: Iterable[_Place]) -> tuple[CurvePanel, ...]:
    found: dict[int, dict[AssociativeMemory, list[tuple[int, Interval]]]] = {}
    for state, head_dim, associations, value in values:
        found.setdefault(head_dim, {}).setdefault(state, []).append((associations, value))
    return tuple(
        CurvePanel(
            title=f"{head_dim} channels a head",
            x_label="associations written (log)",
            x_unit="tokens",
            curves=tuple(_curve(state, places) for state, places in curves.items()),
        )
        for head_dim, curves in found.items()
    )


def _curve(state: AssociativeMemory, places: list[tuple[int, Interval]]) -> ArmCurve:
    ordered = sorted(places, key=lambda place: place[0])
    xs = tuple(float(x) for x, _ in ordered)
    arm = memory_arm(state)
    return ArmCurve(
        arm=arm,
        label=arm.label,
        pieces=(Piece(xs=xs, values=tuple(value for _, value in ordered), basis=Basis.MEASURED),),
        spots=tuple(Spot(x=float(x), value=value, basis=Basis.MEASURED) for x, value in ordered),
    )


def _finding(findings: CapacityFindings) -> str:
    last = findings.rows[-1].head_dim if findings.rows else 0
    shown = (AssociativeMemory.PAM_K1, AssociativeMemory.REAL_MATRIX, AssociativeMemory.VECTOR)
    held = [findings.held_by(state, last) for state in shown]
    parts = [f"{each.associations} ({memory_name(each.state)})" for each in held if each and each.associations]
    if not parts:
        return "Associations retrieved by how many were written"
    return f"With {last} channels 99 % are retrieved of up to {', '.join(parts)} associations"


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _seeds(record: Capacity) -> str:
    return plural(seed_count(record), "seed")


def _subtitle(record: Capacity) -> str:
    return f"{device_label(record.environment)} · {day(record.started_at)}"


def _source(record: Capacity) -> str:
    environment = record.environment
    return f"Source: pamprof {environment.pamprof_version}, torch {environment.torch_version}."
