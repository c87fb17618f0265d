"""Wording shared by every format: intervals, points, plurals, and the removal of characters that could act."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar, cast

from pamprof import units

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import RoofPlace
    from pamprof.records import Environment, Interval, Point

Formatter = Callable[[float], str]
_View = TypeVar("_View")

PHASE_NAMES = {"train": "Training", "prefill": "Prefill", "decode": "Decode"}
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (bidirectional overrides), surrogate, separators
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def clean(text: str) -> str:
    """``text`` with every control, bidirectional and line-breaking character replaced by ``�``; numbers stay whole."""
    # Unlike the thin space (U+2009), the narrow no-break space (U+202F) keeps a number on one line.
    text = text.replace(" %", "\u202f%").replace("\u2009", "\u202f")
    return "".join("\ufffd" if acts(c) else c for c in text)


def acts(character: str) -> bool:
    """Whether a terminal or a page would do something at ``character`` instead of showing it."""
    return unicodedata.category(character) in _ACTING


def cleaned(view: _View) -> _View:
    """``view`` with ``clean`` applied to every string, however deep; dataclasses and tuples are rebuilt.

    Members of enumerations stay what they are.
    """
    return cast("_View", _cleaned(view))


def _cleaned(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Enum):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: _cleaned(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    return value


def brackets(interval: Interval | None, formatter: Formatter = units.significant) -> str:
    """``[14.1, 14.5]``; empty for an exact or unknown number. The unit stays with the median."""
    if interval is None or interval.low == interval.high:
        return ""
    return f"[{formatter(interval.low)}, {formatter(interval.high)}]"


def roof_share(place: RoofPlace) -> str:
    """``93.4 %``; marked as doubtful above the roof."""
    return f"{units.percent(place.share_ratio, 3)}{' (doubtful)' if place.is_above else ''}"


def roof_remark(place: RoofPlace) -> str:
    """``of read``, and that it is doubtful above the roof."""
    return f"of {ceiling_words(place)}{', doubtful' if place.is_above else ''}"


def ceiling_words(place: RoofPlace) -> str:
    """``read``, or ``copy in place of read``."""
    missing = "" if place.missing_ceiling is None else f" in place of {place.missing_ceiling}"
    return f"{place.ceiling}{missing}"


def with_brackets(interval: Interval | None, formatter: Formatter = units.significant) -> str:
    """``14.3 [14.1, 14.5]``."""
    if interval is None:
        return units.UNKNOWN
    return f"{formatter(interval.median)} {brackets(interval, formatter)}".rstrip()


def plural(count: int, noun: str) -> str:
    """``1 sample``, ``30 samples``, ``10 000 samples``."""
    return f"{count} {noun}" if count == 1 else f"{units.whole(count)} {noun}s"


def listed(words: tuple[str, ...]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def point_label(point: Point) -> str:
    """``batch 18 × 2k tokens`` or, in decode, ``batch 64 at 16k context``."""
    if point.phase == "decode":
        return f"batch {point.batch_size} at {units.tokens(point.sequence_length)} context"
    return f"batch {point.batch_size} × {units.tokens(point.sequence_length)} tokens"


def day(started_at: str) -> str:
    """``22 Nov 2026`` from an ISO 8601 time; the text itself where it is none."""
    parts = started_at[:10].split("-")
    if len(parts) == 3 and all(p.isdigit() for p in parts) and 1 <= int(parts[1]) <= 12:
        return f"{int(parts[2])} {_MONTHS[int(parts[1]) - 1]} {parts[0]}"
    return started_at


def days(times: Iterable[str]) -> str:
    """The day of ISO 8601 times, of which there is at least one, or the first and the last: ``22 to 24 Nov 2026``."""
    ordered = sorted(times)
    first, last = day(ordered[0]), day(ordered[-1])
    if first == last:
        return first
    words, others = first.split(), last.split()
    while len(words) > 1 and words[-1] == others[len(words) - 1]:  # the year, and the month
        words.pop()
    return f"{' '.join(words)} to {last}"


def device_label(environment: Environment) -> str:
    """The device as a title says it, with the number of threads on a CPU."""
    if environment.device_kind == "cpu":
        return f"{environment.device_name}, {plural(environment.cpu_thread_count, 'thread')}"
    return environment.device_name
