"""What ``pamprof serve-check`` is asked for: arms, loads, the requests of each kind of arrivals, and the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.simulation.metrics import Level
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.server import MemoryPolicy
    from pamprof.records import Dtype

HALF = "half"
OWN_RATE = "trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLoad:
    """A load: its name, how requests come, and a share of the highest rate, a rate, or neither for a trace's own."""

    name: str
    arrivals: str
    share: float | None = None
    per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCheckRequest:
    """What is asked for.

    Attributes:
        command: Stored with the records.
        output_dir: Folder of records and predictions.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        preset: Sizes by name; None for the device's default.
        layers, implementations: Arms.
        dtype: Precision policy; None for the device's default.
        loads: In order.
        requests: By arrivals, all of the same lengths, at any rate.
        seed: Of requests and weights.
        level: The limits.
        largest_batch, chunk_tokens, policy: How the server is run.
        room_bytes: What sequences may take together; None for what the seats of the largest batch hold.
        sample_seconds: For which steps are sampled.
        curves: Where step times come from instead; empty for the server's own.
    """

    command: str
    output_dir: Path
    device: str
    preset: str | None
    layers: tuple[str, ...]
    implementations: tuple[str, ...]
    dtype: Dtype | None
    loads: tuple[AskedLoad, ...]
    requests: Mapping[str, Requests]
    seed: int
    level: Level
    largest_batch: int
    chunk_tokens: int
    policy: MemoryPolicy
    room_bytes: float | None
    sample_seconds: float
    curves: tuple[ServingCurve, ...] = ()
