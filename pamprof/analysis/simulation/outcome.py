"""What a simulation found: the times of every request, and what the device did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamprof.analysis.simulation.requests import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What the device did from one moment to the next.

    Attributes:
        start_seconds, seconds: When, and for how long.
        running: Sequences that decoded.
        reading: Sequences whose prompts were being read.
        waiting: Requests without a place as it began.
        prompt_tokens: Prompt tokens read; 0 in steps that only decoded.
        prompt_seconds: The part of the time that they took.
    """

    start_seconds: float
    seconds: float
    running: int
    reading: int
    waiting: int
    prompt_tokens: int
    prompt_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One simulation; arrays have an element a request, infinite where it was refused.

    Attributes:
        requests: What arrived.
        admitted_seconds: When each was given a place for the first time.
        first_seconds: When its first token was there.
        finish_seconds: When its last one was.
        busy_seconds: Time in which the device worked.
        prompt_seconds: The part of it in which prompts were read.
        decoded_tokens: Tokens given out by decode steps; a prompt's first token comes with the prompt.
        decode_steps: Decode steps.
        preemptions: How often a sequence lost its cache.
        refused: Requests that do not fit the memory alone.
        timeline: What the device did, where it was asked for.
        reused_tokens: Prompt tokens that were not read, because a prefix was kept.
    """

    requests: Requests
    admitted_seconds: NDArray[np.float64]
    first_seconds: NDArray[np.float64]
    finish_seconds: NDArray[np.float64]
    busy_seconds: float
    prompt_seconds: float
    decoded_tokens: int
    decode_steps: int
    preemptions: int
    refused: int
    timeline: tuple[Stretch, ...]
    reused_tokens: int = 0

    @property
    def seconds_to_first_token(self) -> NDArray[np.float64]:
        """TTFT of each measured request; infinite where it was refused."""
        found: NDArray[np.float64] = self.first_seconds - self.requests.arrival_seconds
        return found[self.requests.measured_from :]

    @property
    def seconds_per_output_token(self) -> NDArray[np.float64]:
        """TPOT of each measured request, the mean gap between its tokens; not a number where it has but one."""
        import numpy as np

        gaps = self.requests.output_tokens - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = (self.finish_seconds - self.first_seconds) / gaps
        found[gaps == 0] = np.nan
        found[np.isinf(self.finish_seconds)] = np.inf
        return found[self.requests.measured_from :]

    @property
    def end_to_end_seconds(self) -> NDArray[np.float64]:
        """From arrival to the last token of each measured request; infinite where it was refused."""
        found: NDArray[np.float64] = self.finish_seconds - self.requests.arrival_seconds
        return found[self.requests.measured_from :]

    @property
    def span_seconds(self) -> float:
        """From the first arrival to the last token."""
        import numpy as np

        done = self.finish_seconds[np.isfinite(self.finish_seconds)]
        return float(done.max() - self.requests.arrival_seconds[0]) if len(done) else 0.0
