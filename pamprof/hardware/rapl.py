"""Energy of the CPU packages from the kernel's RAPL counters, where they may be read (usually by root only).

Source: https://docs.kernel.org/power/powercap/powercap.html (read November 2026): microjoules, wrapping at
``max_energy_range_uj``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.hardware.probe import Observation, Reading, known, unknown
from pamprof.records import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path("/sys/class/powercap")


class RaplCounter:
    """The summed energy of all packages, unwrapped.

    Args:
        root: The powercap directory.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._last: dict[Path, int] = {}
        self._joules = 0.0

    def packages(self) -> Reading[tuple[Path, ...]]:
        """Folders of the package domains."""
        try:
            folders = tuple(
                folder
                for folder in sorted(self._root.glob("intel-rapl:*"))
                if (folder / "name").read_text().startswith("package")
            )
        except OSError as exc:
            return unknown(f"RAPL counters cannot be read: {exc.strerror}")
        return known(folders) if folders else unknown(f"no RAPL energy counter of a CPU package in {self._root}")

    def joules(self) -> Reading[float]:
        """Energy of all packages since the first call, joules."""
        folders = self.packages()
        if folders.value is None:
            return unknown(folders.reason or "")
        try:
            for folder in folders.value:
                now = int((folder / "energy_uj").read_text())
                before = self._last.get(folder, now)
                wrap = int((folder / "max_energy_range_uj").read_text()) if now < before else 0
                self._joules += (now - before + wrap) / 1e6
                self._last[folder] = now
        except (OSError, ValueError) as exc:
            detail = exc.strerror if isinstance(exc, OSError) else str(exc)
            return unknown(f"RAPL counters cannot be read: {detail}; they need root, or read permission on energy_uj")
        return known(self._joules)


class RaplProbe:
    """Samples the packages' energy; whatever else runs on the host is in it too."""

    interval_seconds = 0.05

    def __init__(self, counter: RaplCounter | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._counter = counter or RaplCounter()
        self._clock = clock

    def start(self) -> Observation:
        """First reading."""
        return self.poll()

    def poll(self) -> Observation:
        """One reading of all packages."""
        reading = self._counter.joules()
        if reading.value is None:
            return Observation()
        return Observation(energy_readings=((self._clock(), reading.value),))

    def finish(self) -> Observation:
        """Last reading, or the reason there is none."""
        reading = self._counter.joules()
        if reading.value is None:
            return Observation(unknowns=(Unknown(field="monitor.energy.counter_joules", reason=reading.reason or ""),))
        return Observation(energy_readings=((self._clock(), reading.value),))
