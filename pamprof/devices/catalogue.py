"""One GPU a row: what it is called, what it holds, what it could do at most, and which rented machines carry it.

``devices.csv`` is the only file that a new GPU touches. Lists inside a column are separated by ``;``. Peaks are dense
(a vendor's "with sparsity" figure is twice that) and hold at boost clock; a power or clock limit lowers what is
reachable, not what is listed. Figures were read from each row's source in November 2026; machines follow the providers'
public documentation. The columns after ``source`` (architecture, multiprocessors, clock, 8-bit peak, board power)
were read from ``specification_source``; nothing is predicted for a GPU whose row lacks them.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DEVICES_FILE = Path(__file__).with_name("devices.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePeaks:
    """Ceilings of one device.

    Attributes:
        name: Board and form factor, for people.
        reported_names: What NVML or torch calls it.
        bfloat16_flops_per_second: Dense matrix peak; None where the device has no bfloat16 units.
        tf32_flops_per_second: Dense matrix peak of float32 with TF32 allowed; None where unknown or absent.
        float32_flops_per_second: Peak of plain float32.
        bandwidth_bytes_per_second: Of its memory.
        source: Where the figures were read.
    """

    name: str
    reported_names: tuple[str, ...]
    bfloat16_flops_per_second: float | None
    tf32_flops_per_second: float | None
    float32_flops_per_second: float | None
    bandwidth_bytes_per_second: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePattern:
    """Rented machines that carry a device.

    Attributes:
        provider: As in the price catalogue; None for every provider.
        name: Matches the machine's name.
    """

    provider: str | None
    name: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDevice:
    """One GPU.

    Attributes:
        name: Canonical name, as in price lists, such as ``H100-SXM``.
        reported_names: What NVML, torch or rocm-smi calls it, complete.
        other_names: What else it is called.
        memory_gib: Nominal memory, GiB as vendors write it (B200 and B300 as providers list them).
        die_count: Dies in the package; lists that count single dies halve its figures.
        mig_slice_count: Compute slices that MIG divides it into, the most instances it can hold (NVIDIA MIG User Guide,
            supported GPUs, read November 2026); None where it cannot be divided.
        peaks: None where no source with dense figures and bandwidth was read.
        family: What price lists call it where they name the family alone and ``machines`` must tell the board; None
            where its own name is enough.
        machines: Rented machines that carry it under the name of its family.
        compute_capability: Of CUDA, such as ``9.0``, which names the architecture; None where it is not known.
        multiprocessor_count: Streaming multiprocessors that are switched on; None likewise.
        boost_clock_hertz: Listed boost clock; None likewise.
        fp8_flops_per_second: Dense matrix peak of 8-bit floats; None where it has no such units or none is known.
        tdp_watts: Board power; None where it is not known.
    """

    name: str
    reported_names: tuple[str, ...]
    other_names: tuple[str, ...]
    memory_gib: int
    die_count: int
    mig_slice_count: int | None
    peaks: DevicePeaks | None
    family: str | None
    machines: tuple[MachinePattern, ...]
    compute_capability: str | None = None
    multiprocessor_count: int | None = None
    boost_clock_hertz: float | None = None
    fp8_flops_per_second: float | None = None
    tdp_watts: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, the canonical one first."""
        return (self.name, *self.reported_names, *self.other_names)


def devices() -> tuple[ListedDevice, ...]:
    """Every device of the table, in its order."""
    return read_devices(DEVICES_FILE)


@cache
def read_devices(path: Path) -> tuple[ListedDevice, ...]:
    """The devices of a table with the columns of ``devices.csv``."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_device(row) for row in csv.DictReader(file))


def _device(row: dict[str, str]) -> ListedDevice:
    return ListedDevice(
        name=row["name"],
        reported_names=_listed(row["reported_names"]),
        other_names=_listed(row["other_names"]),
        memory_gib=int(row["memory_gib"]),
        die_count=int(row["dies"]),
        mig_slice_count=int(row["mig_slices"]) if row["mig_slices"] else None,
        peaks=_peaks(row),
        family=row["family"] or None,
        machines=tuple(_machine(text) for text in _listed(row["machines"])),
        compute_capability=row.get("compute_capability") or None,
        multiprocessor_count=int(row["multiprocessors"]) if row.get("multiprocessors") else None,
        boost_clock_hertz=float(row["boost_mhz"]) * 1e6 if row.get("boost_mhz") else None,
        fp8_flops_per_second=_tflops(row.get("fp8_tflops")),
        tdp_watts=float(row["tdp_watts"]) if row.get("tdp_watts") else None,
    )


def _peaks(row: dict[str, str]) -> DevicePeaks | None:
    if not row["bandwidth_gb_per_second"]:
        return None
    return DevicePeaks(
        name=row["board"],
        reported_names=_listed(row["reported_names"]),
        bfloat16_flops_per_second=_tflops(row["bfloat16_tflops"]),
        tf32_flops_per_second=_tflops(row["tf32_tflops"]),
        float32_flops_per_second=_tflops(row["float32_tflops"]),
        bandwidth_bytes_per_second=float(row["bandwidth_gb_per_second"]) * 1e9,
        source=row["source"],
    )


def _tflops(text: str | None) -> float | None:
    return float(text) * 1e12 if text else None


def _machine(text: str) -> MachinePattern:
    provider, _, pattern = text.partition(":")
    return MachinePattern(
        provider=None if provider == "*" else provider,
        name=re.compile(pattern, re.IGNORECASE),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())
