"""The host's own signals: how busy its cores are, what this process holds in memory, and what the CPU is.

Sources: psutil, ``/proc``, ``/sys`` and the cgroup files; where a file is missing (macOS, a sandbox) the
reading says so.
"""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pamprof.hardware import cgroup
from pamprof.hardware.probe import Observation, Reading, Sample, known, unknown
from pamprof.records import ProcessorUse, Unknown, occupied_vcpus

if TYPE_CHECKING:
    from collections.abc import Callable

_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def cpu_name() -> str:
    """The CPU's model name, or its architecture where the system does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown CPU"


def allowed_cores() -> tuple[int, ...]:
    """Numbers of the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpu_core_count() -> int:
    """Logical CPUs this process may use: its affinity, cut to the container's CPU quota (rounded up)."""
    cores, quota = len(allowed_cores()), cgroup.cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def threads_per_core() -> Reading[int]:
    """Hardware threads of a core; 1 where there is no simultaneous multithreading or the hypervisor hides it."""
    logical, physical = psutil.cpu_count(), psutil.cpu_count(logical=False)
    if not logical or not physical:
        return unknown("the system does not say how many cores its logical CPUs belong to")
    return known(math.ceil(logical / physical))


def processor_use() -> ProcessorUse:
    """What torch occupies of this host's processor, in a process set up like this one."""
    import torch

    return ProcessorUse(
        architecture=platform.machine(),
        vcpu_count=occupied_vcpus(
            logical_cpu_count=cpu_core_count(),
            thread_count=torch.get_num_threads(),
            threads_per_core=threads_per_core().value,
        ),
    )


def host_memory_bytes() -> int:
    """Memory of the host, bytes."""
    return int(psutil.virtual_memory().total)


def memory_limit_bytes() -> int:
    """Memory this process could use at most: the host's, cut to the container's limit."""
    limit = cgroup.memory_limit_bytes()
    return host_memory_bytes() if limit is None else min(host_memory_bytes(), limit)


def _cache_bytes(index: int) -> int | None:
    try:
        text = (_CPU_CACHES / f"index{index}" / "size").read_text().strip()
        return int(text.removesuffix("K").removesuffix("M")) * (2**20 if text.endswith("M") else 2**10)
    except (OSError, ValueError):
        return None


def last_level_cache_bytes() -> Reading[int]:
    """Size of the largest cache of core 0, bytes."""
    sizes = [size for size in map(_cache_bytes, range(5)) if size]
    return known(max(sizes)) if sizes else unknown(f"{_CPU_CACHES} does not list the caches")


def last_level_caches_bytes() -> Reading[int]:
    """Last-level caches of all cores this process may use, together, bytes: some CPUs have one for every few cores."""
    one = last_level_cache_bytes()
    if one.value is None:
        return one
    index = max(range(5), key=lambda index: _cache_bytes(index) or 0)
    shared = set()
    for core in allowed_cores():
        try:
            shared.add(
                (_CPU_CACHES.parents[1] / f"cpu{core}" / "cache" / f"index{index}" / "shared_cpu_list").read_text()
            )
        except OSError:
            continue
    return known(one.value * max(1, len(shared)))


def l2_cache_bytes() -> Reading[int]:
    """Size of core 0's second-level cache, bytes."""
    for index in range(5):
        try:
            level = (_CPU_CACHES / f"index{index}" / "level").read_text().strip()
        except OSError:
            break
        size = _cache_bytes(index)
        if level == "2" and size:
            return known(size)
    return unknown(f"{_CPU_CACHES} does not list a second-level cache")


def resident_bytes() -> int:
    """Resident set of this process now, bytes."""
    return int(psutil.Process().memory_info().rss)


def process_peak_bytes() -> Reading[int]:
    """Highest resident set of this process since it began (VmHWM), bytes."""
    try:
        for line in Path("/proc/self/status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return known(int(line.split()[1]) * 2**10)
    except OSError as exc:
        return unknown(f"/proc/self/status cannot be read: {exc.strerror}")
    # getrusage would answer too, but on Linux its peak outlives exec and so may be the parent's.
    return unknown("/proc/self/status has no VmHWM line")


def clock_hertz() -> Reading[float]:
    """Mean clock of the cores now, hertz, as the kernel reports it."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError) as exc:
        return unknown(f"the CPU clock cannot be read: {exc}")
    if frequency is None or not frequency.current:
        return unknown("the kernel does not report the CPU clock")
    return known(float(frequency.current) * 1e6)


def load_average() -> Reading[float]:
    """Runnable tasks averaged over the last minute."""
    try:
        return known(os.getloadavg()[0])
    except (OSError, AttributeError) as exc:
        return unknown(f"the load average cannot be read: {exc}")


def governor() -> Reading[str]:
    """The frequency governor of core 0, such as ``performance``."""
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return known(file.read_text().strip())
    except OSError:
        return unknown(f"{file} does not exist: the clock is set by the hypervisor, the firmware or another system")


class HostProbe:
    """Samples the share of core time that is busy, this process's memory, and the CPU clock.

    ``cpu_busy_ratio`` counts every process of the machine on the cores this process may use, between two polls.
    """

    interval_seconds = 0.05

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._cores = allowed_cores()
        self._previous: tuple[float, float] | None = None

    def _core_seconds(self) -> tuple[float, float]:
        """(busy, total) seconds of the allowed cores since boot."""
        every = psutil.cpu_times(percpu=True)
        mine = [every[core] for core in self._cores if core < len(every)] or every
        total = sum(sum(core) - getattr(core, "guest", 0) - getattr(core, "guest_nice", 0) for core in mine)
        idle = sum(core.idle + getattr(core, "iowait", 0) for core in mine)
        return total - idle, total

    def start(self) -> Observation:
        """Begin the first interval."""
        self._previous = self._core_seconds()
        return Observation(samples=self._levels())

    def poll(self) -> Observation:
        """Close an interval; one in which the kernel's coarse counters did not move is left open."""
        busy, total = self._core_seconds()
        samples = self._levels()
        # Ten ticks of 10 ms over all cores: below that the ratio is made of rounding.
        if self._previous is not None and total - self._previous[1] >= 0.1:
            ratio = (busy - self._previous[0]) / (total - self._previous[1])
            self._previous = (busy, total)
            samples += (self._sample("cpu_busy_ratio", "kernel core times", min(1.0, max(0.0, ratio))),)
        return Observation(samples=samples)

    def finish(self) -> Observation:
        """Close the last interval; say what could not be read."""
        last = self.poll()
        frequency = clock_hertz()
        unknowns = (
            ()
            if frequency.reason is None
            else (Unknown(field="monitor.series.cpu_clock_hertz", reason=frequency.reason),)
        )
        return Observation(samples=last.samples, unknowns=unknowns)

    def _levels(self) -> tuple[Sample, ...]:
        samples = [self._sample("process_resident_bytes", "resident set", float(resident_bytes()))]
        frequency = clock_hertz().value
        if frequency is not None:
            samples.append(self._sample("cpu_clock_hertz", "kernel cpufreq or cpuinfo", frequency))
        return tuple(samples)

    def _sample(self, signal: str, source: str, value: float) -> Sample:
        return Sample(signal, source, self._clock(), value)
