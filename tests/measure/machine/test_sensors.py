from itertools import cycle
from time import sleep

import pytest

from pamprof.hardware.probe import Reading, unknown
from pamprof.measure.machine.sensors import NvmlSensors


class Nvml:
    """Clocks that a power limit moves between two values, each told for as long as the other."""

    def __init__(self, *, clocks=(1.5e9, 1.8e9), known=True):
        self._clocks = cycle(clocks)
        self._known = known
        self.reads = 0

    def average_power_watts(self):
        return Reading(690.0, None) if self._known else unknown("not told")

    def sm_clock_hertz(self):
        self.reads += 1
        return Reading(next(self._clocks), None) if self._known else unknown("not told")

    def throttle_reasons(self):
        # Seen in one reading of the first only.
        return Reading(("software power cap",) if self._known and self.reads == 1 else (), None)


def test_clocks_are_a_mean_over_the_work_and_the_limit_is_remembered():
    nvml = Nvml()
    seen = NvmlSensors(nvml).during(lambda: sleep(0.5))
    assert nvml.reads >= 5
    assert seen.clock_hertz == pytest.approx(1.65e9, rel=0.03)
    assert seen.power_watts == 690.0
    assert seen.at_power_limit


def test_work_that_is_over_at_once_is_read_once_and_an_unknown_device_tells_nothing():
    nvml = Nvml(known=False)
    seen = NvmlSensors(nvml).during(lambda: None)
    assert nvml.reads == 1
    assert (seen.power_watts, seen.clock_hertz, seen.at_power_limit) == (None, None, False)


def test_a_fault_of_the_work_ends_the_reading():
    nvml = Nvml()
    with pytest.raises(ValueError, match="step"):
        NvmlSensors(nvml).during(lambda: (_ for _ in ()).throw(ValueError("step")))
    reads = nvml.reads
    sleep(0.1)
    assert nvml.reads == reads
