"""The FLOP counter against formulas: products whose FLOPs are known, and every layer's own closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.validation.judge import FLOP_TOLERANCE, judged, not_available
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.records.validation import ValidationGroup, ValidationRow
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from pamprof.workloads.base import LayerDefinition

_PRODUCT_SIZE = 64
_BATCH_SIZE = 2
_SEQUENCE_LENGTH = 96  # one and a half chunks


def closed_form_rows() -> list[ValidationRow]:
    """Rows for two plain products and for every implementation of the built-in layers; runs on the CPU."""
    return [_product_row(torch.float32, 2), _product_row(torch.complex64, 8), *_layer_rows()]


def _product_row(dtype: torch.dtype, flops_per_multiply_add: int) -> ValidationRow:
    matrix = torch.ones(_PRODUCT_SIZE, _PRODUCT_SIZE, dtype=dtype)
    return _row(
        f"{str(dtype).removeprefix('torch.')} product, {_PRODUCT_SIZE}³, on the CPU",
        ours=count_flops(lambda: matrix @ matrix).matrix_flop_count,
        formula=flops_per_multiply_add * _PRODUCT_SIZE**3,
        source=f"{flops_per_multiply_add} n³",
    )


def _layer_rows() -> list[ValidationRow]:
    rows = []
    for layer in BUILT_IN_LAYERS:
        found = definition(layer)
        for implementation in found.implementations:
            subject = f"{found.title} {implementation}, tiny model, training, prefill and decode, on the CPU"
            try:
                ours, formula = _all_phases(found, implementation)
            except UnsupportedError as exc:
                rows.append(
                    not_available(
                        ValidationGroup.FLOPS, subject, unit="FLOP", witness_source="closed form", reason=str(exc)
                    )
                )
            else:
                rows.append(_row(subject, ours=ours, formula=formula, source="closed form"))
    return rows


def _all_phases(found: LayerDefinition, implementation: str) -> tuple[int, int]:
    """Counted and closed-form FLOPs of one step of each phase."""
    spec = found.preset("tiny")
    ours = formula = 0
    for phase in Phase:
        workload = Workload(
            spec=spec,
            implementation=implementation,
            execution=Execution.EAGER,
            phase=phase,
            scope=Scope.MODEL,
            batch_size=_BATCH_SIZE,
            sequence_length=_SEQUENCE_LENGTH,
            dtype=Dtype.FLOAT32,
        )
        step = PreparedStep(workload, found, device=torch.device("cpu"), seed=0)
        ours += count_flops(step.eager).matrix_flop_count
        form = found.implementation_flop_count(
            spec,
            implementation=implementation,
            phase=phase,
            scope=Scope.MODEL,
            batch_size=_BATCH_SIZE,
            sequence_length=_SEQUENCE_LENGTH,
        )
        assert form is not None
        formula += form.matrix_flop_count
    return ours, formula


def _row(subject: str, *, ours: int, formula: int, source: str) -> ValidationRow:
    return judged(
        ValidationGroup.FLOPS,
        subject,
        unit="FLOP",
        ours=float(ours),
        ours_source="FLOP counter",
        witness=float(formula),
        witness_source=source,
        tolerance=FLOP_TOLERANCE,
    )
