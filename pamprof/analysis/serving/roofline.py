"""A roofline calibrated on measured steps, for places beyond them: what it predicts and how wrong it was where known.

Decode: ``max((weights + B·moved) / b, B·flop_per_token / a) + t0``. Bytes and FLOPs are the run's own counts: a fixed
state is read and written (twice its bytes), a cache read once. The rates b and a, the device's bandwidth and peak as
far as this arm reaches them, and the fixed time t0 are fitted to the measured steps, so that no data sheet enters.
Prefill: ``flop(T) / a + t0``, the counted FLOPs being a polynomial of second degree in the prompt's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.serving.memory import StateBytes, state_bytes_of
from pamprof.records import Dtype
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pamprof.records import Run

_ELEMENT_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2}

# Twice as many as there are numbers to fit: a model meets fewer places whatever the truth, and its errors say nothing.
_FEWEST_STEPS = 6
_FEWEST_PROMPTS = 4
# The search: a grid over both rates around what the steps reached, then finer grids around the best.
_GRID = 33
_SPAN = 100.0
_REFINEMENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a model did at the places it was fitted to: relative errors, ratios."""

    largest_error: float
    median_error: float
    places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRoofline:
    """Times of decode steps.

    Attributes:
        weight_bytes: Read by every step.
        state: Bytes one sequence keeps.
        flops: Matrix FLOPs of one token, at context 0 and for each token of context.
        bytes_per_second, flops_per_second, fixed_seconds: As fitted.
        fit: How well.
    """

    weight_bytes: float
    state: StateBytes
    flops: tuple[float, float]
    bytes_per_second: float
    flops_per_second: float
    fixed_seconds: float
    fit: Fit

    def seconds(self, batch_size: int, context: int) -> float:
        """One step of ``batch_size`` sequences with ``context`` tokens held."""
        moved = self.weight_bytes + batch_size * self.state.moved_bytes(context)
        flop = batch_size * (self.flops[0] + self.flops[1] * context)
        return max(moved / self.bytes_per_second, flop / self.flops_per_second) + self.fixed_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillRoofline:
    """Times of prompts read by one sequence: FLOPs ``linear``·T + ``square``·T² at a rate, and a fixed time."""

    linear: float
    square: float
    flops_per_second: float
    fixed_seconds: float
    fit: Fit

    def seconds(self, prompt_length: int) -> float:
        """One prompt."""
        flop = self.linear * prompt_length + self.square * prompt_length**2
        return flop / self.flops_per_second + self.fixed_seconds


def fit_decode(runs: Sequence[Run]) -> DecodeRoofline | None:
    """The roofline of decode ``runs`` of one arm; None with fewer steps than can be fitted and checked, or no FLOPs."""
    if len(runs) < _FEWEST_STEPS or any(run.flops.matrix_flop_count <= 0 for run in runs):
        return None
    import numpy as np

    state = state_bytes_of(runs)
    batches = np.array([run.workload.batch_size for run in runs], dtype=float)
    contexts = np.array([run.workload.sequence_length for run in runs], dtype=float)
    # Of the weights each is read once; what an implementation keeps besides, such as a table of positions made longer
    # for the sweep, is not, and what it reads twice lands in the fixed time.
    weights = float(runs[0].parameter_count * _ELEMENT_BYTES[runs[0].workload.dtype])
    per_token = np.array([run.flops.matrix_flop_count for run in runs], dtype=float) / batches
    base, slope = _line(contexts, per_token)
    moved = weights + batches * np.array([state.moved_bytes(run.workload.sequence_length) for run in runs])
    flop = batches * (base + slope * contexts)
    times = np.array([_median_seconds(run) for run in runs])
    bandwidth, rate, fixed = _search(moved, flop, times)
    predicted = np.maximum(moved / bandwidth, flop / rate) + fixed
    return DecodeRoofline(
        weight_bytes=weights,
        state=state,
        flops=(base, slope),
        bytes_per_second=bandwidth,
        flops_per_second=rate,
        fixed_seconds=fixed,
        fit=_fit(predicted, times),
    )


def fit_prefill(runs: Sequence[Run]) -> PrefillRoofline | None:
    """The roofline of prefill ``runs`` at batch 1; None as for decode."""
    lengths = sorted({run.workload.sequence_length for run in runs})
    if len(lengths) < _FEWEST_PROMPTS or any(run.flops.matrix_flop_count <= 0 for run in runs):
        return None
    import numpy as np

    tokens = np.array([run.workload.sequence_length for run in runs], dtype=float)
    counted = np.array([run.flops.matrix_flop_count for run in runs], dtype=float)
    linear, square = _line(tokens, counted / tokens)
    flop = linear * tokens + square * tokens**2
    times = np.array([_median_seconds(run) for run in runs])
    # Least squares of relative errors: (t0 + x flop) / t is 1.
    system = np.stack((1 / times, flop / times), axis=1)
    fixed, pace = (float(number) for number in np.linalg.lstsq(system, np.ones(len(times)), rcond=None)[0])
    if fixed < 0 or pace <= 0:
        fixed, ratios = 0.0, flop / times
        pace = float(ratios.sum() / (ratios**2).sum())
    return PrefillRoofline(
        linear=linear,
        square=square,
        flops_per_second=1 / pace,
        fixed_seconds=fixed,
        fit=_fit(flop * pace + fixed, times),
    )


def _median_seconds(run: Run) -> float:
    return median_interval(run.timing.wall_time_seconds).median


def _line(places: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of counted numbers, which lie on a line; a slope of 0 where there is but one place."""
    import numpy as np

    if np.ptp(places) == 0:
        return float(np.median(values)), 0.0
    slope, base = np.polyfit(places, values, 1)
    return float(base), max(0.0, float(slope))


def _fit(predicted: NDArray[np.float64], times: NDArray[np.float64]) -> Fit:
    import numpy as np

    errors = np.abs(predicted / times - 1)
    return Fit(largest_error=float(errors.max()), median_error=float(np.median(errors)), places=len(times))


def _search(
    moved: NDArray[np.float64], flop: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Bandwidth, rate and fixed time of the least mean square relative error."""
    import numpy as np

    centres = np.log([(moved / times).max(), (flop / times).max()])
    span = np.log(_SPAN)
    best = (np.inf, 0.0, 0.0, 0.0)
    for _ in range(_REFINEMENTS):
        grids = [np.exp(np.linspace(centre - span, centre + span, _GRID)) for centre in centres]
        floor = np.maximum(
            moved[None, None, :] / grids[0][:, None, None], flop[None, None, :] / grids[1][None, :, None]
        )
        relative = floor / times
        fixed = np.maximum(0.0, ((1 - relative) / times).sum(-1) / (1 / times**2).sum())
        error = (((floor + fixed[..., None]) / times - 1) ** 2).mean(-1)
        row, column = np.unravel_index(int(error.argmin()), error.shape)
        found = (float(error[row, column]), float(grids[0][row]), float(grids[1][column]), float(fixed[row, column]))
        best = min(best, found)
        centres = np.log([best[1], best[2]])
        span /= 3
    return best[1], best[2], best[3]
