"""Numbers no machine has: beyond these bounds every value of a record is refused on reading, whatever its field.

The bounds lie far outside anything measurable and near enough to 1 that products and quotients of a few values stay
ordinary floats: 1e30 FLOPs keep an exaflop machine busy for 30,000 years, and light needs more than 1e-24 seconds to
cross a proton.
"""

from __future__ import annotations

from decimal import Decimal

LARGEST = 1e30
SMALLEST = 1e-30


def outsized(record: object, name: str = "") -> str | None:
    """The first number in ``record``, however deep, that is no ordinary one, as ``path is value``; None if all are.

    Ordinary is 0 and every magnitude from ``SMALLEST`` to ``LARGEST``; infinities and not-a-number are not.
    """
    if type(record) is float:  # most values of a file: samples and series
        return None if _is_ordinary(record) else f"{name} is {record}"
    if isinstance(record, int | float | Decimal):
        return None if _is_ordinary(record) else f"{name} is {_written(record)}"
    if isinstance(record, tuple):
        for item in record:
            if type(item) is float and _is_ordinary(item):
                continue
            if found := outsized(item, name):
                return found
        return None
    # The path is put together on the way back, for the one number that needs it.
    for field in getattr(record, "__dataclass_fields__", ()):  # fields() builds a tuple of them at every call
        if found := outsized(getattr(record, field), field):
            return f"{name}.{found}" if name else found
    return None


def _is_ordinary(value: float | Decimal) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and (value == 0 or Decimal("1e-30") <= abs(value) <= LARGEST)
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def _written(value: float | Decimal) -> str:
    """The value in few letters; an integer of more digits than Python writes by its length in bits."""
    return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else str(value)
