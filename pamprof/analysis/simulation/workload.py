"""Requests drawn at random: arrivals as Poisson or bursty, lengths fixed or log-normal; everything from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, log
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.requests import Requests
from pamprof.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of arrivals, input and output lengths: each has a stream of its own, so that a change of one leaves the others.
_ARRIVALS, _INPUTS, _OUTPUTS = range(3)
# Share of the requests that fill the empty server and are not measured.
WARM_UP_RATIO = 0.2
LARGEST_VARIATION = 100.0
MOST_REQUESTS = 10_000_000
MOST_TOKENS = 10**9  # of one request; more would not be held exactly by what adds lengths up
RATES = (1e-6, 1e9)  # requests a second: two weeks between two, and more than any device answers
# Half of log-normal lengths lie within a factor of two of their median.
DEFAULT_SIGMA = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """When requests come.

    Attributes:
        per_second: Mean rate.
        variation: Standard deviation of the gaps over their mean: 1 is Poisson, 0 evenly spaced, more is bursty. Gaps
            have a gamma distribution, as those of vLLM's and others' benchmarks do.
    """

    per_second: float
    variation: float = 1.0

    def __post_init__(self) -> None:
        least, most = RATES
        if not (isfinite(self.per_second) and self.per_second > 0):
            raise UsageError(f"{self.per_second:g} requests a second never arrive; give a rate above zero")
        if not least <= self.per_second <= most:
            raise UsageError(f"{self.per_second:g} requests a second are no load; give {least:g} to {most:g}")
        if not 0 <= self.variation <= LARGEST_VARIATION:
            raise UsageError(
                f"gaps that vary by {self.variation:g} times their mean are no stream of requests; give a variation of "
                f"0 to {LARGEST_VARIATION:g}, 1 for Poisson"
            )

    @property
    def words(self) -> str:
        """``in bursts (cv 3)``."""
        if self.variation in (0, 1):
            return "at random (Poisson)" if self.variation else "evenly spaced"
        return f"{'in bursts' if self.variation > 1 else 'at random gaps'} (cv {self.variation:g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of a prompt or an answer: ``mean`` and, where they vary, ``sigma`` of the logarithm (log-normal).

    The mean is that of the requests drawn, but for rounding to whole tokens.
    """

    mean: float
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= MOST_TOKENS and 0 <= self.sigma <= log(LARGEST_VARIATION)):
            raise UsageError(
                f"lengths of mean {self.mean:g} and sigma {self.sigma:g} are none; give a mean of 0 to {MOST_TOKENS:,} "
                f"tokens and a sigma of 0 to {log(LARGEST_VARIATION):.1f}"
            )

    @property
    def words(self) -> str:
        """``log-normal (sigma 1)``."""
        return f"log-normal (sigma {self.sigma:g})" if self.sigma else "all alike"


def draw_requests(count: int, arrivals: Arrivals, inputs: Lengths, outputs: Lengths, *, seed: int) -> Requests:
    """``count`` requests; the same seed gives the same ones, at every rate with gaps in proportion.

    Raises:
        UsageError: Fewer than 2 requests or more than ``MOST_REQUESTS``, or answers without a token.
    """
    import numpy as np

    if not 2 <= count <= MOST_REQUESTS:
        raise UsageError(f"{count} requests are no simulation; give 2 to {MOST_REQUESTS}")
    if outputs.mean < 1:
        raise UsageError(f"answers of {outputs.mean:g} tokens generate nothing; give 1 or more output tokens")
    if seed < 0:
        raise UsageError(f"seed {seed} lies below 0; give 0 or more")
    streams = [np.random.default_rng((seed, stream)) for stream in (_ARRIVALS, _INPUTS, _OUTPUTS)]
    if arrivals.variation == 0:
        gaps = np.ones(count)
    else:
        shape = arrivals.variation**-2
        gaps = streams[_ARRIVALS].gamma(shape, 1 / shape, count)
    return Requests(
        arrival_seconds=np.cumsum(gaps) / arrivals.per_second,
        input_tokens=_draw(streams[_INPUTS], inputs, count, least=1 if inputs.mean else 0),
        output_tokens=_draw(streams[_OUTPUTS], outputs, count, least=1),
        per_second=arrivals.per_second,
        measured_from=int(count * WARM_UP_RATIO),
        arrival_words=arrivals.words,
        input_words=inputs.words,
        output_words=outputs.words,
    )


def _draw(stream: np.random.Generator, lengths: Lengths, count: int, *, least: int) -> NDArray[np.int64]:
    import numpy as np

    if lengths.sigma == 0:
        return np.full(count, max(least, round(lengths.mean)), dtype=np.int64)
    # A few thousand draws of a long tail miss its mean by percents, and the demand with it: the tokens asked for are
    # served, whatever the seed.
    drawn = np.exp(stream.normal(0.0, lengths.sigma, count))
    drawn *= max(lengths.mean, least) / drawn.mean()
    return np.clip(np.rint(drawn), least, MOST_TOKENS).astype(np.int64)


def with_lengths(requests: Requests, inputs: Lengths | None, outputs: Lengths | None, *, seed: int) -> Requests:
    """The same arrivals with lengths drawn anew where some are given."""
    import numpy as np

    drawn = [
        _draw(np.random.default_rng((seed, stream)), lengths, len(requests), least=1 if lengths.mean else 0)
        if lengths is not None
        else own
        for stream, lengths, own in (
            (_INPUTS, inputs, requests.input_tokens),
            (_OUTPUTS, outputs, requests.output_tokens),
        )
    ]
    if outputs is not None and outputs.mean < 1:
        raise UsageError(f"answers of {outputs.mean:g} tokens generate nothing; give 1 or more output tokens")
    return replace(
        requests,
        input_tokens=drawn[0],
        output_tokens=drawn[1],
        input_words=requests.input_words if inputs is None else inputs.words,
        output_words=requests.output_words if outputs is None else outputs.words,
    )
