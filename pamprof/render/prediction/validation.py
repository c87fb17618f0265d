"""Predictions beside what was measured on the GPU left out: a table of steps, one of kernels by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.prediction.leave_out import median_error
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import PHASE_NAMES, cleaned, plural, point_label, with_brackets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.prediction.leave_out import LeftOut, LeftOutStep
    from pamprof.analysis.prediction.published import BesidePublished


def left_out_tables(found: LeftOut, published: Sequence[BesidePublished], names: Names) -> tuple[TableView, ...]:
    """The tables, free of characters that act."""
    return cleaned(
        (
            _steps(found, names),
            *([_kernels(found)] if found.kernels else []),
            *([_published(published, names)] if published else []),
        )
    )


def _steps(found: LeftOut, names: Names) -> TableView:
    errors = [step.error_ratio for step in found.steps]
    ratios = [step.ratio_error_ratio for step in found.steps]
    gpus = tuple(dict.fromkeys(step.prediction.gpu for step in found.steps))
    inside = sum(step.is_inside for step in found.steps)
    judged = sum(ratio is not None for ratio in ratios)
    ratios_inside = [step.is_ratio_inside for step in found.steps]
    return TableView(
        title="Steps of each GPU, predicted from the others",
        summary=(
            f"{plural(len(found.steps), 'step')} on {', '.join(gpus)}: median error "
            f"{units.percent(median_error(errors))}, of the ratio to the reference "
            f"{units.percent(median_error(ratios))} ({judged} steps); {inside} of {len(found.steps)} measured times "
            f"({units.percent(found.step_coverage)}) and {sum(map(bool, ratios_inside))} of {judged} ratios lie in "
            "their 90 % intervals."
        ),
        columns=("left out", "workload", "predicted", "measured", "error", "inside", "ratio's error", "how"),
        right=frozenset({2, 3, 4, 6}),
        rows=tuple(_step_row(step, names) for step in found.steps),
        notes=(),
    )


def _step_row(step: LeftOutStep, names: Names) -> tuple[str, ...]:
    prediction, workload = step.prediction, step.prediction.workload
    return (
        prediction.gpu,
        f"{PHASE_NAMES[workload.phase]}, {point_label(workload.point)}: {names.arm(workload)}",
        with_brackets(prediction.step_seconds, units.seconds),
        units.seconds(step.measured),
        _signed(step.error_ratio),
        "yes" if step.is_inside else "no",
        _signed(step.ratio_error_ratio),
        f"{prediction.method} from {prediction.source}",
    )


def _signed(error: float | None) -> str:
    return units.UNKNOWN if error is None else f"{error * 100:+.1f} %".replace("-", "−")


def _kernels(found: LeftOut) -> TableView:
    classes = tuple(dict.fromkeys(kernel.kernel_class for kernel in found.kernels))
    rows = []
    for each in classes:
        members = [kernel for kernel in found.kernels if kernel.kernel_class is each]
        judged = [kernel for kernel in members if kernel.has_interval]
        covered = sum(kernel.is_inside for kernel in judged) / len(judged) if judged else None
        rows.append(
            (
                each.value,
                str(len(members)),
                units.percent(median_error([kernel.error_ratio for kernel in members])),
                units.percent(covered),
            )
        )
    return TableView(
        title="Kernels that two GPUs ran in the same workload",
        summary=(
            f"{plural(len(found.kernels), 'use')} predicted from the other GPU: median error "
            f"{units.percent(median_error([kernel.error_ratio for kernel in found.kernels]))}; "
            f"{units.percent(found.kernel_coverage)} of the measured times lie in 90 % intervals whose margin comes "
            "from the kernels of all other workloads."
        ),
        columns=("class", "uses", "median error", "inside"),
        right=frozenset({1, 2, 3}),
        rows=tuple(rows),
        notes=(),
    )


def _published(published: Sequence[BesidePublished], names: Names) -> TableView:
    rows = []
    for each in published:
        speed, prediction = each.published, each.prediction
        low, high = speed.tokens_per_second
        told = units.si(low) if low == high else f"{units.si(low)} to {units.si(high)}"
        predicted = prediction.tokens_per_second
        inside = {True: "yes", False: "no", None: units.UNKNOWN}[each.is_inside]
        error = None if predicted is None else predicted.median / ((low + high) / 2) - 1
        rows.append(
            (
                speed.gpu,
                names.arm(prediction.workload),
                str(speed.batch_size),
                told,
                str(prediction.workload.batch_size),
                with_brackets(predicted, units.si) if predicted else prediction.basis_words,
                _signed(error),
                inside,
                f"{prediction.method} from {prediction.source}",
            )
        )
    return TableView(
        title="Beside published speeds of training at 2k tokens",
        summary=(
            "Tokens per second that others measured on GPUs whose architecture no record has. None of it was fitted. "
            "Where their batch was not measured here, the nearest that was."
        ),
        columns=("GPU", "arm", "batch", "published", "at batch", "predicted", "error", "inside", "how"),
        right=frozenset({2, 3, 4, 5, 6}),
        rows=tuple(rows),
        notes=(),
    )
