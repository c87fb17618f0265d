"""Devices that are part of a board: MIG slices and virtual GPUs. None of them has its board's peaks, price or memory.

**MIG** divides a board into compute slices (seven of an A100, H100, H200 or B200, four of an RTX PRO 6000) and its
memory, with its bandwidth, into eighths (quarters where there are four compute slices). The profile says how many a
slice has: ``3g.40gb`` of an H100 with 80 GB has 3/7 of the compute and 4/8 of the memory. Source: NVIDIA MIG User
Guide, supported MIG profiles, https://docs.nvidia.com/datacenter/tesla/mig-user-guide/ (read November 2026).

**Price.** A slice is charged the greater of its two shares: what it takes away from the board's other tenants. Four
``1g.20gb`` fill the memory of an H100 although they leave three compute slices, so each is a quarter of it.

A virtual GPU shares the compute of its board in turns that its guest cannot see, so no share is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pamprof.devices.names import board_and_profile, canonical_device, find_device
from pamprof.records import BoardShare
from pamprof.units import GIB, binary_bytes

if TYPE_CHECKING:
    from pamprof.devices.catalogue import ListedDevice
    from pamprof.records import Environment

VIRTUAL_GPU = "vgpu"

# Drivers keep up to a tenth of a board's memory for themselves (error correction, firmware): less than this is a part.
_LEAST_OF_WHOLE_BOARD = 0.8
# A profile's memory is rounded down to whole GB: 1g.18gb of 141 is 1.02 eighths.
_MEMORY_SLICE_TOLERANCE = 0.1
_PROFILE = re.compile(r"(?:(\d+)c\.)?(\d+)g\.(\d+)gb")
# GRID A100-10C, NVIDIA A10-12Q, GRID A100-1-5CME: board, instance where MIG backs it, memory in GB, kind of licence.
_VIRTUAL = re.compile(r"(?:GRID|NVIDIA)\s.+-\d+(?:[ABCQ](?:ME)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPart:
    """A device that is part of a board.

    Attributes:
        name: Canonical name where the board is known, such as ``H100-SXM MIG 1g.10gb``; as reported otherwise.
        kind: What it is, such as ``MIG 1g.10gb`` or ``a virtual GPU``.
        board: The board; None where it is not known.
        compute: Share of the board's compute; None where it is not known.
        memory: Share of the board's memory and of its bandwidth; None likewise.
        price: Share of the board's rate; None likewise.
        unknown_reason: Why the shares are not known, one clause; empty where they are.
    """

    name: str
    kind: str
    board: ListedDevice | None = None
    compute: Fraction | None = None
    memory: Fraction | None = None
    price: Fraction | None = None
    unknown_reason: str = ""

    @property
    def priced_share(self) -> BoardShare | None:
        """The share of the board's rate as a price records it."""
        if self.price is None:
            return None
        return BoardShare(part=self.kind, numerator=self.price.numerator, denominator=self.price.denominator)

    @property
    def words(self) -> str:
        """``MIG 1g.10gb: 1/7 of the compute and 1/8 of the memory of the H100-SXM``; or why that is not known."""
        if self.compute is None or self.memory is None or self.board is None:
            return f"{self.kind}: {self.unknown_reason}"
        return f"{self.kind}: {self.compute} of the compute and {self.memory} of the memory of the {self.board.name}"


def part_named(name: str) -> BoardPart | None:
    """The part of a board that goes by this name; None for a whole board and for an unknown name."""
    sliced = board_and_profile(name)
    if sliced is not None:
        return _mig_slice(name, *sliced)
    if _VIRTUAL.fullmatch(name.strip()):
        return _virtual(name, None)
    return None


def part_of(environment: Environment) -> BoardPart | None:
    """The part of a board that was measured on; None for a whole board, an unknown GPU and a CPU."""
    if environment.device_kind != "cuda":
        return None
    return part_told(
        environment.device_name,
        mig_enabled=environment.mig_enabled,
        virtualisation=environment.gpu_virtualisation,
        memory_bytes=environment.device_memory_bytes,
    )


def part_told(
    name: str, *, mig_enabled: bool | None, virtualisation: str | None, memory_bytes: int | None = None
) -> BoardPart | None:
    """The part of a board that a GPU is; its name tells first, then the driver's modes, then how much memory it has.

    Args:
        name: As reported.
        mig_enabled: Whether the board is divided by MIG; None where it is not known.
        virtualisation: As ``Environment.gpu_virtualisation``.
        memory_bytes: All of its memory; None where it is not known.
    """
    named = part_named(name)
    if named is not None:
        return named
    board = find_device(name)
    if virtualisation == VIRTUAL_GPU:
        return _virtual(name, board)
    if mig_enabled:
        why = f"{name} is divided by MIG and its name does not tell the slice's profile"
        return BoardPart(name=f"{name} MIG", kind="a MIG slice", board=board, unknown_reason=why)
    if board is not None and memory_bytes is not None and memory_bytes < _LEAST_OF_WHOLE_BOARD * board.memory_gib * GIB:
        why = f"{name} shows {binary_bytes(memory_bytes)} of memory where the board has {board.memory_gib} GiB"
        return BoardPart(name=f"{name} (part)", kind="part of a board", board=board, unknown_reason=why)
    return None


def _virtual(name: str, board: ListedDevice | None) -> BoardPart:
    why = f"{name} is a virtual GPU, which shares its board's compute with others in turns that it cannot see"
    return BoardPart(name=name, kind="a virtual GPU", board=board, unknown_reason=why)


def _mig_slice(name: str, board_name: str, profile: str) -> BoardPart:
    kind, board = f"MIG {profile}", find_device(board_name)
    canonical = canonical_device(name) or name
    found = _PROFILE.match(profile)
    count = None if board is None else board.mig_slice_count
    if board is None or count is None or found is None:
        why = f"no board that MIG divides is listed as {board_name}"
        return BoardPart(name=canonical, kind=kind, board=board, unknown_reason=why)
    slices, memory_gb = int(found[2]), int(found[3])
    used = int(found[1]) if found[1] else slices
    memory_slices = 8 if count == 7 else count
    of_memory = memory_gb / board.memory_gib * memory_slices
    whole = round(of_memory)
    fits = 1 <= whole <= memory_slices and abs(of_memory - whole) <= _MEMORY_SLICE_TOLERANCE
    if not (fits and 1 <= used <= slices <= count):
        why = f"{board.name} has no MIG profile {profile}"
        return BoardPart(name=canonical, kind=kind, board=board, unknown_reason=why)
    memory = Fraction(whole, memory_slices)
    return BoardPart(
        name=canonical,
        kind=kind,
        board=board,
        compute=Fraction(used, count),
        memory=memory,
        price=max(Fraction(slices, count), memory) * Fraction(used, slices),
    )
