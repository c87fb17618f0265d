"""What two runs must share for their times to be compared: device, driver, software, threads, precision, cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingCondition:
    """A condition with its values in BASE and HEAD, from the first pair of runs in which it differs."""

    name: str
    base: str
    head: str


def conditions(run: Run) -> dict[str, str]:
    """Every condition by name, as text; ``unknown`` where it could not be read."""
    environment = run.environment
    limit = environment.power_limit_watts
    return {
        "device": environment.device_name,
        "device kind": environment.device_kind,
        "MIG": _words(environment.mig_enabled),
        "power limit": "unknown" if limit is None else f"{limit:g} W",
        "driver": _words(environment.driver_version),
        "CUDA": _words(environment.cuda_version),
        "torch": environment.torch_version,
        "threads": str(environment.cpu_thread_count),
        "TF32": _words(environment.tf32_allowed),
        "float32 matmul precision": environment.float32_matmul_precision,
        "SDPA backends": ", ".join(environment.sdpa_backends) or "none",
        "cold cache": _words(run.timing.cold_cache),
    }


def differing_conditions(pairs: Iterable[tuple[Run, Run]]) -> tuple[DifferingCondition, ...]:
    """The conditions in which any (base, head) pair differs, each once."""
    found: dict[str, DifferingCondition] = {}
    for base, head in pairs:
        theirs = conditions(head)
        for name, value in conditions(base).items():
            if value != theirs[name] and name not in found:
                found[name] = DifferingCondition(name=name, base=value, head=theirs[name])
    return tuple(found.values())


def _words(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unknown" if value is None else value
