"""Numbers no machine has: beyond these bounds every value of a record is refused on reading, whatever its field.

The bounds lie far outside anything measurable and near enough to 1 that products and quotients of a few values stay
ordinary floats: 1e30 FLOPs keep an exaflop machine busy for 30,000 years, and light needs more than 1e-24 seconds to
cross a proton.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 1e30
SMALLEST = 1e-30


def outsized(record: object, name: str = "") -> str | None:
    """The first number in ``record``, however deep, that is no ordinary one, as ``path is value``; None if all are.

    Ordinary is 0 and every magnitude from ``SMALLEST`` to ``LARGEST``; infinities and not-a-number are not.
    """
    return next(_outsized(record, name), None)


def _outsized(value: object, name: str) -> Iterator[str]:
    if isinstance(value, int | float | Decimal):
        if not _is_ordinary(value):
            yield f"{name} is {_written(value)}"
    elif isinstance(value, tuple):
        for item in value:
            yield from _outsized(item, name)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _outsized(getattr(value, field.name), f"{name}.{field.name}" if name else field.name)


def _is_ordinary(value: float | Decimal) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and (value == 0 or Decimal("1e-30") <= abs(value) <= LARGEST)
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def _written(value: float | Decimal) -> str:
    """The value in few letters; an integer of more digits than Python writes by its length in bits."""
    return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else str(value)
