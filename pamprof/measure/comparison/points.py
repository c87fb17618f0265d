"""Which points a comparison visits: phases crossed with batch sizes and lengths, by default those that decide.

An option is a comma-separated list for every phase (``1,64``), or for one phase (``train=3,18``); a list for one phase
wins over a list for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.records import Dtype, Phase, Point, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Batch sizes (sequences) and lengths (tokens) of one phase; the points are their product."""

    batch_sizes: tuple[int, ...]
    sequence_lengths: tuple[int, ...]


# On a GPU: the published training batch (3) and one that fills the device (18), a short and a long prompt, one user
# and a full batch at a short and a long context.
_CUDA_AXES = {
    Phase.TRAIN: Axes(batch_sizes=(3, 18), sequence_lengths=(2048,)),
    Phase.PREFILL: Axes(batch_sizes=(1,), sequence_lengths=(2048, 16384)),
    Phase.DECODE: Axes(batch_sizes=(1, 64), sequence_lengths=(2048, 16384)),
}
# On a CPU: small enough that a whole comparison takes less than a minute on two cores; two decode contexts far enough
# apart to bracket the crossover of the small models.
_CPU_AXES = {
    Phase.TRAIN: Axes(batch_sizes=(2,), sequence_lengths=(256,)),
    Phase.PREFILL: Axes(batch_sizes=(1,), sequence_lengths=(512,)),
    Phase.DECODE: Axes(batch_sizes=(1,), sequence_lengths=(256, 32768)),
}

_MOST_DIGITS = 9  # no device holds more; larger numbers would overflow what counts them


def default_axes(device_kind: str) -> dict[Phase, Axes]:
    """The points a comparison visits when nothing is asked for; ``device_kind`` is ``cpu`` or ``cuda``."""
    return dict(_CPU_AXES if device_kind == "cpu" else _CUDA_AXES)


def parse_sizes(values: Sequence[str], *, option: str) -> dict[Phase | None, tuple[int, ...]]:
    """The lists given for all phases (key None) and for single ones.

    Raises:
        UsageError: Not a positive whole number, or an unknown phase.
    """
    lists: dict[Phase | None, list[int]] = {}
    for value in values:
        name, equals, numbers = value.rpartition("=")
        if equals and name not in set(Phase):
            raise UsageError(f"{option} {value!r}: {name!r} is no phase; use one of {', '.join(Phase)}")
        phase = Phase(name) if equals else None
        for text in numbers.split(","):
            lists.setdefault(phase, []).append(parse_positive(text, option=option))
    return {phase: tuple(dict.fromkeys(sizes)) for phase, sizes in lists.items()}


def parse_positive(text: str, *, option: str) -> int:
    """A positive whole number; ``2k`` means 2,048.

    Raises:
        UsageError: Anything else.
    """
    stripped = text.strip().lower()
    digits, factor = (stripped[:-1], 1024) if stripped.endswith("k") else (stripped, 1)
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS or int(digits) == 0:
        raise UsageError(
            f"{option} takes positive whole numbers such as 2048 or 2k, of at most {_MOST_DIGITS} digits, "
            f"not {text.strip()!r}"
        )
    return int(digits) * factor


def points(
    *,
    device_kind: str,
    phases: Sequence[Phase],
    scope: Scope,
    dtype: Dtype,
    batch_sizes: Mapping[Phase | None, tuple[int, ...]],
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]],
) -> tuple[Point, ...]:
    """The points to visit, phase by phase.

    Raises:
        UsageError: A list for a phase that is not measured.
    """
    for option, lists in (("--batch-size", batch_sizes), ("--sequence-length", sequence_lengths)):
        for phase in lists:
            if phase is not None and phase not in phases:
                raise UsageError(f"{option} {phase}=… is for a phase that --phase leaves out; add {phase} to --phase")
    defaults = default_axes(device_kind)
    return tuple(
        Point(phase=phase, scope=scope, batch_size=batch_size, sequence_length=sequence_length, dtype=dtype)
        for phase in dict.fromkeys(phases)
        for batch_size in batch_sizes.get(phase, batch_sizes.get(None, defaults[phase].batch_sizes))
        for sequence_length in sequence_lengths.get(phase, sequence_lengths.get(None, defaults[phase].sequence_lengths))
    )
