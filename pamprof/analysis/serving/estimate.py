"""What a serving curve answers with: a value, how sure it is, and whether it was measured or modelled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Interval


class EstimateBasis(StrEnum):
    """Measured at this very place, interpolated between measured places around it, or modelled beyond them."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One answer.

    Attributes:
        value: Seconds, bytes or sequences, as asked.
        interval: Around it; of a measurement the interval of its median, of a model its largest error where it could be
            checked. None for an exact count.
        basis: Where it comes from.
        error: Largest relative error of the interpolation or the model at the measured places, a ratio; None for a
            measurement, and where there was nothing to check against.
    """

    value: float
    interval: Interval | None
    basis: EstimateBasis
    error: float | None
