"""Series of known ratio, of every kind that a machine was seen to produce.

Times are the true time, times what the machine does to both arms, times what happens to one arm alone, times noise.
Every series has a wandering common to both arms (first-order autoregressive, correlation 0.97, 3 %). What is noise of
an arm and how fast the machine changes is given for one sample of a quick comparison or one window of a reference one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from pamprof.statistics import ProcessWindows

RATIO = 1.54
TRANSIENT = 0.024  # fall of the subject's time over a series, which moves its halves 1.2 % apart
_WANDERING = 0.03
_TWO_STATES = 0.08  # the slower clocks, relative
_BOUND_SHARE = 0.75  # the subject feels this share of a change of clocks

Array = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of series.

    Attributes:
        name: For the table.
        correlation: First-order, of each arm's own noise.
        heavy: Noise by Student's t with 3 degrees of freedom instead of normal.
        rise: Growth of both arms' times from the first to the last, relative.
        state_length: Mean samples or windows in one of two states of the clocks, to which the subject reacts less than
            the reference; None for clocks that stay.
        transient: Excess of the subject's time at the start, relative; it has gone linearly at the end.
        settled: Whether the ratio is the same throughout, so that an interval has to cover it.
        demanded_quick: Whether its coverage is a target at quick length.
        demanded: Whether it is one at reference length.
    """

    name: str
    correlation: float = 0.0
    heavy: bool = False
    rise: float = 0.0
    state_length: int | None = None
    transient: float = 0.0
    settled: bool = True
    demanded_quick: bool = True
    demanded: bool = True


KINDS = (
    Kind(name="independent"),
    Kind(name="heavy tails", heavy=True),
    Kind(name="correlated 0.5", correlation=0.5),
    Kind(name="drift of 10 %", rise=0.1),
    Kind(name="clocks of two states, 2 long", state_length=2),
    Kind(name="clocks of two states, 8 long", state_length=8, demanded_quick=False),
    Kind(name="transient 1.2 %", transient=TRANSIENT, settled=False, demanded_quick=False),
    Kind(name="transient 6 %", transient=5 * TRANSIENT, settled=False),
    Kind(name="correlated 0.8", correlation=0.8, demanded_quick=False, demanded=False),
)


def autoregressive(generator: np.random.Generator, count: int, correlation: float, *, heavy: bool = False) -> Array:
    """A stationary series [count] of variance 1."""
    run_up = 100 if correlation else 0
    size = run_up + count
    shocks = generator.standard_t(3, size) / sqrt(3) if heavy else generator.standard_normal(size)
    if not correlation:
        return shocks
    shocks[1:] *= sqrt(1 - correlation**2)
    for index in range(1, size):
        shocks[index] += correlation * shocks[index - 1]
    return shocks[run_up:]


def two_states(generator: np.random.Generator, count: int, length: int) -> Array:
    """0 or 1 [count]: states of mean ``length``, each as likely at the start."""
    changes = generator.random(count) < 1 / length
    return np.asarray((np.cumsum(changes) + generator.integers(2)) % 2, dtype=np.float64)


def pair(
    generator: np.random.Generator, kind: Kind, count: int, *, noise: float, ratio: float = RATIO
) -> tuple[list[float], list[float]]:
    """Times of subject and reference, ``count`` each, sampled in turn."""
    machine = _WANDERING * autoregressive(generator, count, 0.97) + np.linspace(0.0, kind.rise, count)
    clocks = _TWO_STATES * two_states(generator, count, kind.state_length) if kind.state_length else np.zeros(count)
    own, theirs = (noise * autoregressive(generator, count, kind.correlation, heavy=kind.heavy) for _ in range(2))
    subject = machine + own + _BOUND_SHARE * clocks + np.linspace(kind.transient, 0.0, count)
    return (0.01 * ratio * np.exp(subject)).tolist(), (0.01 * np.exp(machine + clocks + theirs)).tolist()


def true_ratio(kind: Kind, *, ratio: float = RATIO, of_means: bool) -> float:
    """What the estimator converges to: the ratio of mean times, or the median of paired ratios."""
    if kind.state_length is None:
        return ratio
    if of_means:
        return ratio * (1 + exp(_BOUND_SHARE * _TWO_STATES)) / (1 + exp(_TWO_STATES))
    return ratio * exp(-(1 - _BOUND_SHARE) * _TWO_STATES / 2)


def processes(
    generator: np.random.Generator,
    kind: Kind,
    *,
    count: int,
    windows: int,
    noise: float,
    spread: float,
    ratio: float = RATIO,
) -> list[ProcessWindows]:
    """``count`` fresh processes, whose ratios scatter by ``spread``, relative; without windows of an arm alone."""
    found = []
    for _ in range(count):
        moved = ratio * exp(spread * generator.standard_normal())
        subject, reference = pair(generator, kind, windows, noise=noise, ratio=moved)
        found.append(ProcessWindows(subject_seconds=tuple(subject), reference_seconds=tuple(reference)))
    return found


def power_capped(
    generator: np.random.Generator,
    *,
    count: int,
    windows: int,
    noise: float,
    spread: float,
    subject_draw: float,
    ratio: float = RATIO,
) -> list[ProcessWindows]:
    """Processes under a power cap: both arms slow down as the draw of what ran lately rises.

    The draw that counts is an average over about four windows. In turn, each arm therefore pays for the other one;
    alone it pays for itself. One per cent more draw costs half a per cent of time.

    Args:
        generator: Of the noise.
        count: Processes.
        windows: Of an arm, in turn and again alone.
        noise: Of one window, relative.
        spread: Between processes, relative.
        subject_draw: Draw of the subject over that of the reference.
        ratio: Of the arms alone, true.
    """
    cost, memory = 0.5, 0.75
    # Alone, the subject is slower by its own draw; its time without a cap is chosen so that ``ratio`` is true alone.
    uncapped = ratio / subject_draw**cost
    found = []
    for _ in range(count):
        moved = exp(spread * generator.standard_normal())
        level = sqrt(subject_draw)
        slower: tuple[list[float], list[float]] = ([], [])
        for index in range(2 * windows):
            arm = (index + index // 2) % 2  # reference, subject, subject, reference, ...
            level = level**memory * (1.0, subject_draw)[arm] ** (1 - memory)
            slower[arm].append(level**cost)
        subject, reference = pair(generator, KINDS[0], windows, noise=noise, ratio=uncapped * moved)
        mine, theirs = (0.01 * np.exp(noise * generator.standard_normal(windows)) for _ in range(2))
        found.append(
            ProcessWindows(
                subject_seconds=tuple(np.multiply(subject, slower[1]).tolist()),
                reference_seconds=tuple(np.multiply(reference, slower[0]).tolist()),
                subject_alone_seconds=tuple((ratio * moved * mine).tolist()),
                reference_alone_seconds=tuple(theirs.tolist()),
            )
        )
    return found
