"""Serving curves that are exactly what a formula says, and the runs they would have been measured with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from math import floor
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.errors import UnsupportedError
from pamprof.records import Execution, Interval, Phase, Run
from tests.synthetic import synthetic_run, synthetic_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GIB = 2**30
KAPPA = 32_256
STATE_BYTES = 3_145_728
CONTEXTS = (128, 512, 2048, 8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    value: float
    interval: Interval | None
    basis: str = Basis.MEASURED
    error: float | None = None
    affine: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaCurve:
    title: str
    runs: Sequence[Run]
    step: Callable[[int, int], float]
    fits: Callable[[int], int]
    prefill: Callable[[int], float] = field(default=lambda prompt: prompt * 2e-6)
    width: float = 0.0
    basis: str = Basis.MEASURED
    longest: int = 65_536

    def _answer(self, value: float) -> Answer:
        interval = Interval(low=value * (1 - self.width), median=value, high=value * (1 + self.width), confidence=0.95)
        return Answer(
            value=value, interval=interval, basis=self.basis, error=0.1 if self.basis == Basis.MODELLED else None
        )

    def decode_seconds(self, batch_size: int, context: int) -> Answer:
        if context > self.longest:
            raise UnsupportedError(f"context {context} lies beyond the measured {self.longest}")
        return self._answer(self.step(batch_size, context))

    def prefill_seconds(self, prompt_length: int) -> Answer:
        return self._answer(self.prefill(prompt_length))

    def maximum_batch(self, context: int) -> Answer:
        return Answer(value=float(self.fits(context)), interval=None, basis=self.basis)


@cache
def decode_runs(layer: str, implementation: str) -> tuple[Run, ...]:
    """One decode run for each context, with the bytes the 100M pair keeps."""
    workloads = [
        synthetic_workload(layer, implementation, Execution.GRAPH, Phase.DECODE, batch_size=1, sequence_length=context)
        for context in CONTEXTS
    ]
    return tuple(synthetic_run(workload, step_seconds=1e-3) for workload in workloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRoof:
    """A step on an RTX 4090 at half its peak and 80 % of its bandwidth."""

    weight_bytes: float
    moved_bytes_per_sequence: float
    flop_per_token: float

    def step_seconds(self, batch_size: int) -> float:
        traffic = self.weight_bytes + batch_size * self.moved_bytes_per_sequence
        return max(traffic / (0.8 * 1008e9), batch_size * self.flop_per_token / (0.5 * 165e12))


def roof(weight_bytes: float, moved_bytes: float, flop_per_token: float) -> DecodeRoof:
    return DecodeRoof(weight_bytes=weight_bytes, moved_bytes_per_sequence=moved_bytes, flop_per_token=flop_per_token)


PAM_WEIGHTS = 100_395_968 * 4
TRANSFORMER_WEIGHTS = 100_283_232 * 4


def _fits(weights: int, per_sequence: float) -> int:
    return max(0, floor((0.9 * 24 * GIB - weights - 1.5e9) / per_sequence))


def pam_curve(**changes: object) -> FormulaCurve:
    curve = FormulaCurve(
        title="PAM planar · graph",
        runs=decode_runs("pam", "planar"),
        step=lambda batch, _: roof(PAM_WEIGHTS, 2 * STATE_BYTES, 331.1e6).step_seconds(batch),
        fits=lambda _: _fits(PAM_WEIGHTS, STATE_BYTES),
    )
    return replace(curve, **changes)


def transformer_curve(**changes: object) -> FormulaCurve:
    curve = FormulaCurve(
        title="transformer · graph",
        runs=decode_runs("transformer", "sdpa"),
        step=lambda batch, context: roof(TRANSFORMER_WEIGHTS, KAPPA * context, 206e6 + 0.0323e6 * context).step_seconds(
            batch
        ),
        fits=lambda context: _fits(TRANSFORMER_WEIGHTS, KAPPA * context),
    )
    return replace(curve, **changes)
