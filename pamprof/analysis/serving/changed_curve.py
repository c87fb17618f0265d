"""A curve whose times are changed, all of them in one way; its memory stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.serving.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.analysis.serving.terms import Answer, Curve
    from pamprof.records import Interval, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCurve:
    """``curve`` with ``change`` made to every time it answers."""

    curve: Curve
    change: Callable[[Answer], Answer]

    @property
    def title(self) -> str:
        """The arm."""
        return self.curve.title

    @property
    def runs(self) -> Sequence[Run]:
        """What it was measured with."""
        return self.curve.runs

    def decode_seconds(self, batch_size: int, context: int) -> Answer:
        """Seconds of a step."""
        return self.change(self.curve.decode_seconds(batch_size, context))

    def prefill_seconds(self, prompt_length: int) -> Answer:
        """Seconds of a prompt."""
        return self.change(self.curve.prefill_seconds(prompt_length))

    def maximum_batch(self, context: int) -> Answer:
        """Sequences that fit."""
        return self.curve.maximum_batch(context)


def affine_curve(curve: Curve) -> ChangedCurve:
    """The curve with its affine answer wherever it interpolates."""

    def affine(answer: Answer) -> Answer:
        found = answer.affine
        if found is None:
            return answer
        return Estimate(value=found.median, interval=found, basis=answer.basis, error=answer.error)

    return ChangedCurve(curve=curve, change=affine)


def faster_curve(curve: Curve, speed: float) -> ChangedCurve:
    """The curve with every time divided by ``speed``: what a change of throughput would do, all else equal."""

    def scaled(interval: Interval | None) -> Interval | None:
        return None if interval is None else interval.scaled(1 / speed)

    def faster(answer: Answer) -> Answer:
        return Estimate(
            value=answer.value / speed,
            interval=scaled(answer.interval),
            basis=answer.basis,
            error=answer.error,
            affine=scaled(answer.affine),
        )

    return ChangedCurve(curve=curve, change=faster)
