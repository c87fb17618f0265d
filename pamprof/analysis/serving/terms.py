"""What a deployment is asked in: a request's lengths, the limits of the service, and the curve that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pamprof.errors import UsageError
from pamprof.records import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.results import Basis
    from pamprof.records import Run


class Answer(Protocol):
    """What a curve says about one place: a value, its interval, where it comes from, and what affine says there."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> Interval | None: ...  # noqa: D102
    @property
    def basis(self) -> Basis: ...  # noqa: D102
    @property
    def error(self) -> float | None: ...  # noqa: D102
    @property
    def affine(self) -> Interval | None: ...  # noqa: D102


class Curve(Protocol):
    """One arm's serving times on one device; asking beyond what it can tell raises ``PamprofError``."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def runs(self) -> Sequence[Run]: ...  # noqa: D102
    def decode_seconds(self, batch_size: int, context: int) -> Answer: ...  # noqa: D102
    def prefill_seconds(self, prompt_length: int) -> Answer: ...  # noqa: D102
    def maximum_batch(self, context: int) -> Answer: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One request: tokens of its prompt (0 or more) and tokens generated (1 or more)."""

    input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        if self.input_tokens < 0 or self.output_tokens < 1:
            raise UsageError(
                f"a request of {self.input_tokens} input and {self.output_tokens} output tokens cannot be served; "
                "give 0 or more input tokens and 1 or more output tokens"
            )

    @property
    def token_count(self) -> int:
        """All tokens of the request."""
        return self.input_tokens + self.output_tokens

    @property
    def longest_context(self) -> int:
        """Context held by the last step: all tokens but the one it generates."""
        return max(1, self.token_count - 1)

    @property
    def mean_context(self) -> int:
        """Context held by a step, averaged over the tokens generated: I + (O - 1) / 2, a half rounded up."""
        return max(1, self.input_tokens + self.output_tokens // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The service level: seconds a user waits at most for the first token, and on average for each one after it."""

    seconds_per_output_token: float
    seconds_to_first_token: float


def summed(first: Interval, second: Interval) -> Interval:
    """The sum of two estimates that may err together: ends added to ends."""
    return Interval(
        low=first.low + second.low,
        median=first.median + second.median,
        high=first.high + second.high,
        confidence=min(first.confidence, second.confidence),
    )


def quotient(first: Interval, second: Interval) -> Interval:
    """``first`` over ``second``, both above zero, that may err against each other: low over high, high over low."""
    return Interval(
        low=first.low / second.high,
        median=first.median / second.median,
        high=first.high / second.low,
        confidence=min(first.confidence, second.confidence),
    )
