"""The demand and the limits that answers hold for where nobody stated others: one place for command and report.

Plain numbers, so that ``pamprof --help`` can print them without loading what computes with them. They are examples, not
findings; every one of them can be changed on the command line and on the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.serving.terms import Limits
    from pamprof.pricing.serving.arithmetic import Demand

INPUT_TOKENS = 1500
OUTPUT_TOKENS = 300
TOKENS_PER_DAY = 1e9
PEAK_FACTOR = 3.0
DUTY = 1.0
MINIMUM_REPLICAS = 1
MILLISECONDS_PER_OUTPUT_TOKEN = 50
SECONDS_TO_FIRST_TOKEN = 2
PERCENTILE = 95.0
REQUESTS = 10_000  # simulated at each rate
SEED = 0


def default_demand() -> Demand:
    """What a report works out: a thousand million tokens a day in requests of a question with its material."""
    from pamprof.pricing.serving.arithmetic import Demand

    return Demand(
        input_tokens=INPUT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        tokens_per_day=TOKENS_PER_DAY,
        peak_factor=PEAK_FACTOR,
        duty=DUTY,
        minimum_replicas=MINIMUM_REPLICAS,
    )


def default_limits() -> Limits:
    """The service level it works that out for."""
    from pamprof.analysis.serving.terms import Limits

    return Limits(
        seconds_per_output_token=MILLISECONDS_PER_OUTPUT_TOKEN / 1000,
        seconds_to_first_token=float(SECONDS_TO_FIRST_TOKEN),
    )
