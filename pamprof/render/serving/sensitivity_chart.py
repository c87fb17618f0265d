"""What moves the bill of the cheapest arm: every input a fifth lower and higher, the largest swing on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.charts import Chart, TornadoBar, TornadoPanel
from pamprof.render.serving.detail_tables import kept_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.analysis.comparison.results import Basis
    from pamprof.pricing.serving.sensitivity import ChangedBill, Sensitivity
    from pamprof.pricing.serving.study import SizeClass, StudyArm
    from pamprof.render.serving.chart_facts import ChartFacts

_ROWS = 10


def tornado_chart(material: ChartFacts) -> Chart:
    """Two panels a class: the monthly bill, in whole replicas, and the working time of a million tokens."""
    panels = [panel for found in material.study.classes for panel in _panels(material, found)]
    return Chart(
        name="serving-tornado",
        kind="tornado",
        title=_finding(material),
        subtitle=material.subtitle,
        axis=f"left: {material.unit} a month; right: {material.unit} per million tokens of working time",
        caption=(
            "The line is the demand asked for; a bar shows where one input, changed alone, moves it. Bills move in "
            f"whole replicas, so a small change may move them not at all.{_kept(material)} {material.demand}. "
            f"{material.price} Medians; "
            f"the line is dotted where the cost is interpolated, dashed where it is modelled. {material.samples}."
        ),
        source=material.source,
        alt=f"{_finding(material)}.",
        panels=tuple(panels),
        reason="" if panels else "no arm serves the demand within the limits at a known rate",
    )


def _kept(material: ChartFacts) -> str:
    return next((words for found in material.study.classes if (words := kept_words(found.arms[0]))), "")


def _panels(material: ChartFacts, found: SizeClass) -> list[TornadoPanel]:
    arm = found.arms[0]
    bill, point = arm.deployment.bill, arm.deployment.feasible
    if bill is None or point is None or not arm.sensitivities:
        return []
    title = material.look(arm).label
    return [
        _panel(
            material,
            arm,
            material.named(found, f"{title}, {what}"),
            usual,
            of,
            basis=point.basis,
        )
        for what, usual, of in (
            ("a month", bill.served.usd_per_month, lambda outcome: outcome.usd_per_month),
            (
                "a million tokens",
                bill.served.usage.blended_usd_per_million_tokens,
                lambda outcome: outcome.usage_usd_per_million_tokens,
            ),
        )
    ]  # fmt: skip


def _panel(
    material: ChartFacts,
    arm: StudyArm,
    title: str,
    usual: float,
    of: Callable[[ChangedBill], float | None],
    *,
    basis: Basis,
) -> TornadoPanel:
    return TornadoPanel(
        title=title,
        usual=material.shown(usual),
        bars=tuple(
            TornadoBar(
                name=row.name,
                lower=_shown(material, of(row.lower)),
                higher=_shown(material, of(row.higher)),
                reason=_reason(row),
            )
            for row in arm.sensitivities[:_ROWS]
            if not row.name.startswith("owned")  # those move another rate than the line's
        ),
        basis=basis,
    )


def _shown(material: ChartFacts, usd: float | None) -> float | None:
    return None if usd is None else material.shown(usd)


def _reason(row: Sensitivity) -> str:
    lost = [word for word, outcome in (("lower", row.lower), ("higher", row.higher)) if outcome.reason]
    return f"{' and '.join(lost)}: not served" if lost else ""


def _finding(material: ChartFacts) -> str:
    said = []
    for found in material.study.classes:
        rows = [row for row in found.arms[0].sensitivities if row.swing_usd > 0]
        title = found.arms[0].deployment.curve.title
        if not found.arms[0].sensitivities:
            said.append(material.named(found, "no bill to move"))
        elif not rows:
            said.append(material.named(found, f"no input moves the bill of {title} by itself"))
        else:
            most = rows[0]
            swing = material.study.request.currency.text(most.swing_usd)
            said.append(
                material.named(
                    found, f"{most.name} moves the bill of {title} most, by up to {swing} a month ({most.basis})"
                )
            )
    text = "; ".join(said)
    return text[:1].upper() + text[1:]
