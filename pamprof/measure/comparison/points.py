"""Which points a comparison visits: phases crossed with batch sizes and lengths, by default those that decide.

An option is a comma-separated list for every phase (``1,64``), or for one phase (``train=3,18``); a list for one phase
wins over a list for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.records import Dtype, Effort, Phase, Point, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# Batch sizes (sequences) and lengths (tokens) of each phase. On a GPU: the published training batch (3) and one that
# fills the device (18), a short and a long prompt, one user and a full batch at a short and a long context.
_CUDA_POINTS = {
    Phase.TRAIN: ((3, 2048), (18, 2048)),
    Phase.PREFILL: ((1, 2048), (1, 16384)),
    Phase.DECODE: ((1, 2048), (1, 16384), (64, 2048), (64, 16384)),
}
# For numbers to publish: training at three lengths with about the same number of tokens.
_CUDA_REFERENCE_POINTS = {**_CUDA_POINTS, Phase.TRAIN: ((18, 2048), (4, 8192), (1, 32768))}
# On a CPU: small enough that a whole comparison takes less than a minute on two cores; two decode contexts far enough
# apart to bracket the crossover of the small models.
_CPU_POINTS = {
    Phase.TRAIN: ((2, 256),),
    Phase.PREFILL: ((1, 512),),
    Phase.DECODE: ((1, 256), (1, 32768)),
}

_MOST_DIGITS = 9  # no device holds more; larger numbers would overflow what counts them


def default_points(device_kind: str, effort: Effort) -> Mapping[Phase, tuple[tuple[int, int], ...]]:
    """Batch sizes and lengths of each phase when nothing is asked for; ``device_kind`` is ``cpu`` or ``cuda``."""
    if device_kind == "cpu":
        return _CPU_POINTS
    return _CUDA_REFERENCE_POINTS if effort is Effort.REFERENCE else _CUDA_POINTS


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
    defaults: Mapping[Phase, tuple[tuple[int, int], ...]],
    phases: Sequence[Phase],
    scope: Scope,
    dtype: Dtype,
    batch_sizes: Mapping[Phase | None, tuple[int, ...]],
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]],
) -> tuple[Point, ...]:
    """The points to visit, phase by phase; ``defaults`` are batch sizes and lengths where none are given.

    Raises:
        UsageError: A list for a phase that is not measured.
    """
    for option, lists in (("--batch-size", batch_sizes), ("--sequence-length", sequence_lengths)):
        for phase in lists:
            if phase is not None and phase not in phases:
                raise UsageError(f"{option} {phase}=… is for a phase that --phase leaves out; add {phase} to --phase")
    return tuple(
        Point(phase=phase, scope=scope, batch_size=batch_size, sequence_length=sequence_length, dtype=dtype)
        for phase in dict.fromkeys(phases)
        for batch_size, sequence_length in _sizes(defaults[phase], phase, batch_sizes, sequence_lengths)
    )


def _sizes(
    defaults: tuple[tuple[int, int], ...],
    phase: Phase,
    batch_sizes: Mapping[Phase | None, tuple[int, ...]],
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]],
) -> tuple[tuple[int, int], ...]:
    """The defaults, or the product of what was given for either side and of what the defaults have for the other."""
    batches = batch_sizes.get(phase, batch_sizes.get(None))
    lengths = sequence_lengths.get(phase, sequence_lengths.get(None))
    if batches is None and lengths is None:
        return defaults
    batches = batches or tuple(dict.fromkeys(batch for batch, _ in defaults))
    lengths = lengths or tuple(dict.fromkeys(length for _, length in defaults))
    return tuple((batch, length) for batch in batches for length in lengths)
