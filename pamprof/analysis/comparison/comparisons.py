"""An arm against a baseline: cost ratio = FLOP ratio x efficiency ratio, with the verdict on the whole interval."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.pairing import fastest, time_ratio
from pamprof.analysis.comparison.results import Comparison
from pamprof.statistics import verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.records import Point, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonReference:
    """What one curve over several contexts is held to: at each the fastest of the same references.

    Attributes:
        layers: Those of them that are the fastest at a context, in order of preference.
        baselines: The fastest at each point that has them.
    """

    layers: tuple[str, ...]
    baselines: Mapping[Point, Run]


def compare(subject: Run, baseline: Run) -> Comparison:
    """``subject`` against ``baseline``; both at one point, so steps hold the same number of tokens."""
    ratio = time_ratio(subject, baseline)
    flop_ratio = counted_ratio(subject, baseline)
    return Comparison(
        subject=subject.workload,
        baseline=baseline.workload,
        time_ratio=ratio.interval,
        flop_ratio=flop_ratio,
        efficiency_ratio=None if flop_ratio is None else ratio.interval.scaled(1 / flop_ratio),
        verdict=verdict(ratio.interval),
        paired=ratio.paired,
        processes=ratio.processes,
    )


def counted_ratio(subject: Run, baseline: Run) -> float | None:
    """Matrix FLOPs of ``subject`` over those of ``baseline``; None where either count is incomplete or 0.

    What a checkpoint computes again is a choice of the code, not of the architecture, and not among them.
    """
    counts = subject.flops, baseline.flops
    if not all(count.complete and count.matrix_flop_count > 0 for count in counts):
        return None
    return counts[0].model_matrix_flop_count / counts[1].model_matrix_flop_count


def baseline_of(runs: Sequence[Run], reference_layers: Sequence[str], subject: str | None = None) -> Run:
    """What everything at a point is compared to: the fastest reference in its fastest execution measured there.

    Choosing the fastest is the hardest test for the others. Where none of ``reference_layers`` was measured, the layer
    of what the first run was paired with stands in for them, then any but ``subject``.
    """
    measured = tuple(dict.fromkeys(run.workload.spec.layer for run in runs))
    others = ((layer,) for layer in measured if layer != subject)
    for layers in (reference_layers, (runs[0].reference.spec.layer,), *others, measured):
        best = fastest(run for run in runs if run.workload.spec.layer in layers)
        if best is not None:
            return best
    return runs[0]


def own_reference_of(runs: Sequence[Run], reference_layers: Sequence[str], baseline: Run) -> Run:
    """The first of ``reference_layers`` that was measured, in its fastest execution; ``baseline`` without any."""
    found = (fastest(run for run in runs if run.workload.spec.layer == layer) for layer in reference_layers)
    return next((run for run in found if run is not None), baseline)


def common_reference(
    runs_by_point: Mapping[Point, Sequence[Run]], baselines: Mapping[Point, Run], reference_layers: Sequence[str]
) -> CommonReference:
    """What ratios at several points are taken to, so that a curve may join them.

    It is the fastest of the references that were measured at every point; where there is none such, the one that was
    measured at most points, at these alone. A point without any reference counts with the layer of its baseline.

    Args:
        runs_by_point: The points.
        baselines: What everything is compared to at each of them by itself.
        reference_layers: In order of preference.
    """
    present = {point: {run.workload.spec.layer for run in runs} for point, runs in runs_by_point.items()}
    measured = {
        point: [layer for layer in reference_layers if layer in layers] or [baselines[point].workload.spec.layer]
        for point, layers in present.items()
    }
    order = tuple(dict.fromkeys((*reference_layers, *(layer for layers in measured.values() for layer in layers))))
    counts = Counter(layer for layers in measured.values() for layer in layers)
    most = max(counts.values(), default=0)
    common = [layer for layer in order if counts[layer] == most]
    if most < len(measured):
        common = common[:1]
    found = {
        point: best
        for point, runs in runs_by_point.items()
        if (best := fastest(run for run in runs if run.workload.spec.layer in common)) is not None
    }
    winners = {run.workload.spec.layer for run in found.values()}
    return CommonReference(layers=tuple(layer for layer in common if layer in winners), baselines=found)


def same_execution_comparisons(runs: Sequence[Run], baseline: Run) -> tuple[Comparison, ...]:
    """Every arm against the code of ``baseline`` in the arm's own execution, where that was measured."""
    partners = {
        run.workload.execution: run
        for run in runs
        if (run.workload.spec, run.workload.implementation)
        == (baseline.workload.spec, baseline.workload.implementation)
    }
    return tuple(
        compare(run, partners[run.workload.execution])
        for run in runs
        if run.workload.execution in partners and run is not partners[run.workload.execution]
    )
