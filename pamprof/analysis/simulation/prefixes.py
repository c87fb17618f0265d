"""Prompts that begin alike, and what a server saves by keeping what they begin with.

The policy is called pinned: a prefix is kept from the end of the step in which the first prompt with it was read, and
never given up; its bytes are set aside from the start. A cache of a prefix is kept once, and the sequences that begin
with it share its pages: each holds only its own tokens. Of a fixed state one copy a prefix is kept, and each sequence
begins with a copy of it, so that time is saved and no bytes are. Steps read the whole context as before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.units import tokens

if TYPE_CHECKING:
    from pamprof.analysis.serving.memory import StateBytes
    from pamprof.analysis.simulation.requests import Requests

# A stream of random numbers of its own, after arrivals, input and output lengths.
_STREAM = 3
PREFIX_POLICY = "pinned"
MOST_PREFIXES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """What prompts have in common.

    Attributes:
        tokens: Of each prefix.
        share: Of the prompts that begin with one, above 0 to 1.
        count: How many there are, all as frequent.
    """

    tokens: int
    share: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 < self.share <= 1 or not 1 <= self.count <= MOST_PREFIXES:
            raise UsageError(
                f"{self.count} prefixes of {self.tokens} tokens, shared by {self.share:g} of the prompts, are none; "
                f"give 1 token or more, a share above 0 to 1, and 1 to {MOST_PREFIXES:,} of them"
            )


def share_prefix(requests: Requests, prefix: Prefix, *, seed: int) -> Requests:
    """The same requests, of which a share begins alike; a prompt no longer than the prefix shares nothing.

    Raises:
        UsageError: No prompt is longer.
    """
    import numpy as np

    longest = int(requests.input_tokens.max())
    if longest <= prefix.tokens:
        raise UsageError(
            f"no prompt goes on after a prefix of {tokens(prefix.tokens)} tokens, the longest has {tokens(longest)}; "
            "share fewer"
        )
    stream = np.random.default_rng((seed, _STREAM))
    shares = (stream.random(len(requests)) < prefix.share) & (requests.input_tokens > prefix.tokens)
    which = stream.integers(prefix.count, size=len(requests))
    return replace(requests, prefixes=np.where(shares, which, -1), prefix_tokens=prefix.tokens)


def kept_prefix_bytes(requests: Requests, state: StateBytes) -> float:
    """What all prefixes together take on a device: a state or the pages of a cache for each."""
    import numpy as np

    if requests.prefixes is None:
        return 0.0
    count = len(np.unique(requests.prefixes[requests.prefixes >= 0]))
    return count * (state.fixed_bytes + state.bytes_per_token * requests.prefix_tokens)
