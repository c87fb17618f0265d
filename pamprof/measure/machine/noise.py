"""This machine's noise floor: identical code against itself, by the same sampling and estimator as every comparison.

Nothing differs, so the ratio measured is noise; a smaller difference cannot be told from it on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pamprof.measure.comparison.efforts import effort_rules
from pamprof.measure.session.sampling import sample_pairs, warm_up
from pamprof.measure.session.settings import Settings
from pamprof.records import Dtype, Effort, Execution, Interval, Phase, Scope, Workload
from pamprof.statistics import Verdict, half_width, ratio_interval, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.measure.session.sampling import Stopwatch

NOISE_SECONDS = 3.0
_MOST_SAMPLES = 200
_SEQUENCE_LENGTH = 256
# Never reached, so that the time is used up and the floor is that of a comparison which took as many samples.
_UNREACHABLE_HALF_WIDTH = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineNoise:
    """What A against A came out at.

    Attributes:
        device_name: Where.
        workload: Key of what ran on both sides.
        ratio: Interval of A's time over A's time; without noise it is 1.
        half_width: Relative half width of ``ratio``: the resolution of a comparison with as many samples.
        median_deviation: The ratio's median less 1, signed: what a comparison of equals would be off by.
        pair_deviation: Median distance of a single pair's ratio from 1: how restless the machine is.
        samples: Pairs taken.
        steps_per_sample: Steps in each sample.
        verdict: What the usual rule says of the two equals; anything but ``equivalent`` is the machine's noise.
    """

    device_name: str
    workload: str
    ratio: Interval
    half_width: float
    median_deviation: float
    pair_deviation: float
    samples: int
    steps_per_sample: int
    verdict: Verdict


def measure_noise(device: Device, *, time_limit_seconds: float = NOISE_SECONDS) -> MachineNoise:
    """Prefill of the tiny transformer against itself on ``device``, in float32, operator by operator.

    Args:
        device: Where to run.
        time_limit_seconds: Sampling time; warm-up comes on top.

    Raises:
        UsageError: The time is not positive.
    """
    from pamprof.workloads.registry import definition
    from pamprof.workloads.steps import PreparedStep

    layer = definition("transformer")
    workload = Workload(
        spec=layer.preset("tiny"),
        implementation="sdpa",
        execution=Execution.EAGER,
        phase=Phase.PREFILL,
        scope=Scope.MODEL,
        batch_size=1,
        sequence_length=_SEQUENCE_LENGTH,
        dtype=Dtype.FLOAT32,
    )
    step = PreparedStep(workload, layer, device=device.torch_device, seed=0)
    step.reset()
    return noise_of(
        step.run,
        device,
        device_name=device.name,
        workload=workload.key,
        settings=Settings(
            time_limit_seconds=time_limit_seconds,
            target_half_width=_UNREACHABLE_HALF_WIDTH,
            maximum_samples=_MOST_SAMPLES,
            sample_seconds=effort_rules(Effort.STANDARD, device.kind).settings.sample_seconds,
        ),
    )


def noise_of(
    step: Callable[[], object], watch: Stopwatch, *, device_name: str, workload: str, settings: Settings
) -> MachineNoise:
    """Sample ``step`` against itself until a rule of ``settings`` stops it.

    Args:
        step: One step, launched without waiting.
        watch: Clock and synchronisation of the device.
        device_name: Put into the result.
        workload: Likewise.
        settings: Sampling rules.
    """
    _, steps_per_sample = warm_up(step, watch, settings.sample_seconds)
    pairs = sample_pairs(step, step, watch, settings, arm_steps=steps_per_sample, reference_steps=steps_per_sample)
    mine, theirs = pairs.arm.wall_time_seconds, pairs.reference.wall_time_seconds
    ratio = ratio_interval(mine, theirs)
    return MachineNoise(
        device_name=device_name,
        workload=workload,
        ratio=ratio,
        half_width=half_width(ratio),
        median_deviation=ratio.median - 1,
        pair_deviation=median(abs(one / other - 1) for one, other in zip(mine, theirs, strict=True)),
        samples=len(mine),
        steps_per_sample=steps_per_sample,
        verdict=verdict(ratio),
    )
