"""What the options of ``pamprof simulate`` say: arrivals, lengths, a day's profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.units import plain_number

if TYPE_CHECKING:
    from pamprof.analysis.simulation.metrics import Level
    from pamprof.analysis.simulation.prefixes import Prefix
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.workload import Arrivals, Lengths
    from pamprof.api.serve_request import AskedLoad
    from pamprof.pricing.serving.fleet import DayProfile

FROM_TRACE = "trace"
_PERIOD_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86_400.0}
_STREAM = re.compile(r"(poisson|bursty|even):\s*([0-9.eE+-]+)\s*/\s*(s|min|h|day)(?::cv=([0-9.eE+-]+))?")
_LENGTHS = re.compile(r"(?:(lognormal):)?([0-9.eE+-]+)(?::sigma=([0-9.eE+-]+))?")
_PREFIX = re.compile(r"([0-9.eE+-]+)(?::share=([0-9.eE+-]+))?(?::count=([0-9.eE+-]+))?")
_BURSTY_VARIATION = 3.0
MOST_RATE = 1e9


def arrivals_of(text: str) -> Arrivals | Path:
    """``poisson:12/s``, ``bursty:700/min``, ``bursty:12/s:cv=5``, ``even:1e6/day``, or the path of a trace.

    Raises:
        UsageError: None of these.
    """
    from pamprof.analysis.simulation.workload import Arrivals

    if _is_trace(text):
        return Path(text)
    found = _STREAM.fullmatch(text.strip())
    rate = plain_number(found[2]) if found else None
    given = None if found is None or found[4] is None else plain_number(found[4])
    if found is None or rate is None or (found[4] is not None and (given is None or found[1] != "bursty")):
        raise UsageError(
            f"--arrivals {text!r} is no stream of requests; write poisson:12/s, bursty:12/s, bursty:12/s:cv=5, "
            "even:12/s (or /min, /h, /day), or the name of a trace.csv"
        )
    usual = {"poisson": 1.0, "bursty": _BURSTY_VARIATION, "even": 0.0}[found[1]]
    return Arrivals(
        per_second=float(rate) / _PERIOD_SECONDS[found[3]], variation=usual if given is None else float(given)
    )


def lengths_of(text: str, option: str) -> Lengths:
    """``1500``, ``lognormal:1500`` or ``lognormal:1500:sigma=0.8``; the number is the mean.

    Raises:
        UsageError: None of these.
    """
    from pamprof.analysis.simulation.workload import DEFAULT_SIGMA, Lengths

    found = _LENGTHS.fullmatch(text.strip())
    mean = plain_number(found[2]) if found else None
    sigma = None if found is None or found[3] is None else plain_number(found[3])
    varies = found is not None and found[1] is not None
    if found is None or mean is None or (found[3] is not None and (sigma is None or not varies)):
        raise UsageError(
            f"{option} {text!r} is no length; write 1500, lognormal:1500 or lognormal:1500:sigma=0.8 (a mean, in "
            "tokens), or trace with --arrivals trace.csv"
        )
    spread = DEFAULT_SIGMA if sigma is None else float(sigma)
    return Lengths(mean=float(mean), sigma=spread if varies else 0.0)


def requests_of(
    arrivals: str,
    inputs: str | None,
    outputs: str | None,
    *,
    default: tuple[int, int],
    count: int,
    seed: int,
    prefix: Prefix | None = None,
) -> Requests:
    """The requests that the options describe; a trace has its own number, times and, unless given, lengths.

    Raises:
        UsageError: Options that describe none.
        RecordError: A trace that cannot be read.
    """
    from pamprof.analysis.simulation.prefixes import share_prefix
    from pamprof.analysis.simulation.trace import read_trace
    from pamprof.analysis.simulation.workload import draw_requests, with_lengths

    stream = arrivals_of(arrivals)
    given = {"--input-tokens": inputs, "--output-tokens": outputs}
    lengths = [None if text in (None, FROM_TRACE) else lengths_of(text, option) for option, text in given.items()]
    if isinstance(stream, Path):
        found = with_lengths(read_trace(stream), *lengths, seed=seed)
        return found if prefix is None else share_prefix(found, prefix, seed=seed)
    for option, text in given.items():
        if text == FROM_TRACE:
            raise UsageError(f"{option} trace needs a trace; give --arrivals trace.csv, or a number of tokens")
    from pamprof.analysis.simulation.workload import Lengths

    drawn = [found or Lengths(mean=float(mean)) for found, mean in zip(lengths, default, strict=True)]
    found = draw_requests(count, stream, *drawn, seed=seed)
    return found if prefix is None else share_prefix(found, prefix, seed=seed)


def prefix_of(text: str | None) -> Prefix | None:
    """``1000``, ``1000:share=0.5`` or ``1000:share=0.5:count=8``; None without.

    Raises:
        UsageError: None of these.
    """
    from pamprof.analysis.simulation.prefixes import Prefix

    if text is None:
        return None
    found = _PREFIX.fullmatch(text.strip())
    given = [] if found is None else [plain_number(part or "1") for part in found.groups()]
    numbers = [float(number) for number in given if number is not None]
    if len(numbers) < 3 or not (numbers[0].is_integer() and numbers[2].is_integer()):
        raise UsageError(
            f"--shared-prefix {text!r} is none; write 1000, 1000:share=0.5 or 1000:share=0.5:count=8 (whole tokens, "
            "the share of the prompts that begin with one, and how many there are)"
        )
    tokens, share, count = numbers
    return Prefix(tokens=int(tokens), share=share, count=int(count))


def asked_loads(text: str, arrivals: str) -> tuple[AskedLoad, ...]:
    """Loads of ``half,80%,12/s,bursty:80%``; those that do not say how requests come have ``arrivals``.

    Raises:
        UsageError: None of these, or arrivals that say their own rate.
    """
    from pamprof.api.serve_request import HALF, OWN_RATE, AskedLoad

    found = []
    for part in text.split(","):
        kind, colon, name = part.strip().rpartition(":")
        stream = kind if colon else arrivals.strip()
        share = 0.5 if name == HALF else _number(name.removesuffix("%"), 0.01) if name.endswith("%") else None
        rate = _number(name.removesuffix("/s"), 1.0) if name.endswith("/s") else None
        own = name == OWN_RATE and _is_trace(stream)
        if not (share or rate or own):
            raise UsageError(
                f"--load {part.strip()!r} is no load; write half, 80%, 12/s, bursty:80%, or trace with --arrivals "
                "trace.csv"
            )
        found.append(AskedLoad(name=name, arrivals=stream, share=share, per_second=rate))
    return tuple(dict.fromkeys(found))


def _number(text: str, unit: float) -> float | None:
    value = plain_number(text)
    return None if value is None or not 0 < value < MOST_RATE else float(value) * unit


def _is_trace(text: str) -> bool:
    return text.lower().endswith((".csv", ".csv.gz"))


def load_requests(
    arrivals: str, inputs: str | None, outputs: str | None, *, default: tuple[int, int], count: int, seed: int
) -> Requests:
    """The requests of arrivals that leave the rate to the load: at one a second, or as a trace has them.

    Raises:
        UsageError: Arrivals with a rate, or options that describe none.
        RecordError: A trace that cannot be read.
    """
    kind, colon, rest = arrivals.partition(":")
    if not _is_trace(arrivals) and "/" in rest:
        raise UsageError(f"--arrivals {arrivals!r} says a rate, which --load says here; write {kind}")
    stream = arrivals if _is_trace(arrivals) else f"{kind}:1/s{colon}{rest}"
    found = requests_of(stream, inputs, outputs, default=default, count=count, seed=seed)
    if int(found.input_tokens.min()) < 1:
        raise UsageError("a model continues a prompt; give every request 1 or more input tokens")
    return found


def level_of(seconds_per_output_token: float, seconds_to_first_token: float, percentile: float) -> Level:
    """The service level.

    Raises:
        UsageError: Not a percentile above 0 and at most 100.
    """
    from pamprof.analysis.serving.terms import Limits
    from pamprof.analysis.simulation.metrics import Level

    if not 0 < percentile <= 100:
        raise UsageError(f"--percentile {percentile:g} is none; give a number above 0, at most 100, such as 95")
    limits = Limits(seconds_per_output_token=seconds_per_output_token, seconds_to_first_token=seconds_to_first_token)
    return Level(limits=limits, percentile=percentile)


def profile_of(text: str | None, start_up_seconds: float) -> DayProfile:
    """A day's profile from 24 numbers separated by commas; the same rate at every hour without.

    Raises:
        UsageError: Something else.
    """
    from pamprof.pricing.serving.fleet import CONSTANT_DEMAND, DayProfile

    if text is None:
        return CONSTANT_DEMAND
    numbers = [plain_number(part) for part in text.split(",")]
    if None in numbers:
        raise UsageError(f"--day-profile {text!r} has something else than numbers; give 24, separated by commas")
    return DayProfile.of(tuple(float(number) for number in numbers if number is not None), start_up_seconds)
