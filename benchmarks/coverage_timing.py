"""Timed trials of known truth: equal arms, and an arm that does three percent more of the same work.

Both arms of a trial are built anew, as a comparison builds them, and go through the product's warm-up, paired sampling,
stopping rule and verdict. An arm repeats one small step of the transformer a fixed number of times: 100 on either side
where nothing differs, 103 against 100 where three percent are injected. The injected factor is not taken from any clock
but counted: matrix FLOPs, elementwise FLOPs and dispatched operators must all stand at exactly 103 : 100.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pamprof.measure.flops.counter import count_flops
from pamprof.measure.session.sampling import sample_pairs, warm_up
from pamprof.measure.session.settings import default_settings
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.statistics import ratio_interval, verdict
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from pamprof.hardware.device import Device

UNITS = 100
SLOWER_UNITS = 103
_PHASES = (Phase.PREFILL, Phase.DECODE)
_TOKENS = 16

Step = Callable[[], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One verdict; ``ratio`` is the arm's time over the reference's."""

    number: int
    work: str
    verdict: str
    ratio: float
    low: float
    high: float
    samples: int
    stop_reason: str
    seconds: float


def trials(device: Device, *, arm_units: int, count: int, seconds: float) -> Iterator[Trial]:
    """``count`` trials of ``arm_units`` steps against ``UNITS`` steps, prefill and decode in turn.

    Args:
        device: Where to run.
        arm_units: Small steps in one step of the arm.
        count: Trials.
        seconds: Sampling time of a trial at most; every other rule is the product's default.
    """
    settings = dataclasses.replace(default_settings(device.kind), time_limit_seconds=seconds)
    for number in range(count):
        phase = _PHASES[number % len(_PHASES)]
        began = time.perf_counter()
        arm, reference = repeated(prepared(device, phase).run, arm_units), repeated(prepared(device, phase).run, UNITS)
        _, reference_steps = warm_up(reference, device, settings.sample_seconds)
        _, arm_steps = warm_up(arm, device, settings.sample_seconds)
        pairs = sample_pairs(arm, reference, device, settings, arm_steps=arm_steps, reference_steps=reference_steps)
        interval = ratio_interval(pairs.arm.wall_time_seconds, pairs.reference.wall_time_seconds)
        yield Trial(
            number=number,
            work=f"transformer {phase}",
            verdict=str(verdict(interval)),
            ratio=round(interval.median, 5),
            low=round(interval.low, 5),
            high=round(interval.high, 5),
            samples=len(pairs.arm.wall_time_seconds),
            stop_reason=str(pairs.stop_reason),
            seconds=round(time.perf_counter() - began, 2),
        )


def check_injected_factor(device: Device) -> str:
    """Count what both arms do; a sentence with the counts.

    Raises:
        SystemExit: The counts are not at 103 : 100.
    """
    shown = []
    for phase in _PHASES:
        eager = prepared(device, phase).eager
        slower, plain = count_flops(repeated(eager, SLOWER_UNITS)), count_flops(repeated(eager, UNITS))
        for name in ("matrix_flop_count", "elementwise_flop_count", "operator_count"):
            more, less = getattr(slower, name), getattr(plain, name)
            if more * UNITS != less * SLOWER_UNITS or less == 0:
                raise SystemExit(f"{phase}: {name} is {more} against {less}, not {SLOWER_UNITS} : {UNITS}")
        shown.append(f"{phase} {slower.matrix_flop_count:,} against {plain.matrix_flop_count:,} matrix FLOPs")
    return "; ".join(shown)


def prepared(device: Device, phase: Phase) -> PreparedStep:
    """A block of the tiny transformer at 16 tokens; on CUDA a graph, so that the device is timed and not Python."""
    layer = definition("transformer")
    workload = Workload(
        spec=layer.preset("tiny"),
        implementation="sdpa",
        execution=Execution.EAGER if device.kind == "cpu" else Execution.GRAPH,
        phase=phase,
        scope=Scope.LAYER,
        batch_size=1,
        sequence_length=_TOKENS,
        dtype=Dtype.FLOAT32,
    )
    step = PreparedStep(workload, layer, device=device.torch_device, seed=0)
    step.reset()
    step.capture()
    step.reset()
    return step


def repeated(step: Step, count: int) -> Step:
    """``step`` done ``count`` times."""

    def run() -> None:
        for _ in range(count):
            step()

    return run
