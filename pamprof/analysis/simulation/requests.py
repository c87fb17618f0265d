"""Requests: when each arrives, and the tokens of its prompt and of its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests in the order of their arrival, one element each.

    Attributes:
        arrival_seconds: Rising.
        input_tokens: 0 or more.
        output_tokens: 1 or more.
        per_second: Their mean rate.
        measured_from: The first request that metrics count; those before it fill an empty server.
        prefixes: Which of several common prefixes a prompt begins with, -1 for none; None where no prompts share any.
        prefix_tokens: Tokens of each common prefix.
        arrival_words: How they come, such as ``in bursts (cv 3)``; empty where nobody said.
        input_words, output_words: How their lengths vary, such as ``log-normal (sigma 1)``.
    """

    arrival_seconds: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    per_second: float
    measured_from: int = 0
    prefixes: NDArray[np.int64] | None = None
    prefix_tokens: int = 0
    arrival_words: str = ""
    input_words: str = ""
    output_words: str = ""

    def __len__(self) -> int:
        return len(self.arrival_seconds)

    def at_rate(self, per_second: float) -> Requests:
        """The same requests with all gaps changed in proportion: common random numbers for every rate."""
        if not per_second > 0:
            raise UsageError(f"{per_second:g} requests a second never arrive; give a rate above zero")
        return replace(
            self, arrival_seconds=self.arrival_seconds * (self.per_second / per_second), per_second=per_second
        )

    def at_least(self, count: int, *, measured_from: int) -> Requests:
        """``count`` requests or more, repeated from the first where there are fewer, of which later ones count."""
        import numpy as np

        counted = max(self.measured_from, measured_from)
        if len(self) >= count:
            return replace(self, measured_from=counted)
        rounds = -(-count // len(self))
        # The next round begins a mean gap after the last request.
        period = self.arrival_seconds[-1] - self.arrival_seconds[0] + 1 / self.per_second
        starts = np.repeat(np.arange(rounds) * period, len(self))
        return replace(
            self,
            arrival_seconds=(np.tile(self.arrival_seconds, rounds) + starts)[:count],
            input_tokens=np.tile(self.input_tokens, rounds)[:count],
            output_tokens=np.tile(self.output_tokens, rounds)[:count],
            prefixes=None if self.prefixes is None else np.tile(self.prefixes, rounds)[:count],
            measured_from=counted,
        )

    def with_prompts(self, factor: float) -> Requests:
        """The same requests with prompts ``factor`` times as long; one no longer than its prefix shares nothing."""
        import numpy as np

        inputs = np.maximum(np.rint(self.input_tokens * factor), np.minimum(self.input_tokens, 1)).astype(np.int64)
        longer = inputs > self.prefix_tokens
        prefixes = None if self.prefixes is None else np.where(longer, self.prefixes, -1)
        return replace(self, input_tokens=inputs, prefixes=prefixes)

    @property
    def length_words(self) -> str:
        """How lengths vary, such as ``lengths log-normal (sigma 1)``; empty where nobody said."""
        if self.input_words == self.output_words:
            return f"lengths {self.input_words}" if self.input_words else ""
        return f"prompts {self.input_words}, answers {self.output_words}"

    @property
    def mean_input_tokens(self) -> float:
        """Of a prompt."""
        return float(self.input_tokens.mean())

    @property
    def mean_output_tokens(self) -> float:
        """Of an answer."""
        return float(self.output_tokens.mean())

    @property
    def mean_decode_context(self) -> float:
        """Context at which a token is decoded, in the mean of all tokens: long requests have more of them."""
        held = self.output_tokens * self.input_tokens + self.output_tokens * (self.output_tokens - 1) / 2
        return float(held.sum() / self.output_tokens.sum())

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest request, prompt and answer."""
        return int((self.input_tokens + self.output_tokens).max())

    @property
    def shortest_tokens(self) -> int:
        """Tokens of the shortest request, prompt and answer."""
        return int((self.input_tokens + self.output_tokens).min())
