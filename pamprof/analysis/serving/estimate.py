"""What a serving curve answers with: a value, how sure it is, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Basis
    from pamprof.records import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One answer.

    Attributes:
        value: Seconds, bytes or sequences, as asked.
        interval: Around it; of a measurement the interval of its median, of an interpolation that of the affine and of
            the logarithmic one together, of a model its largest error where it could be checked. None for an exact
            count.
        basis: Where it comes from.
        error: Largest relative error of the interpolation or the model at the measured places, a ratio; None for a
            measurement, and where there was nothing to check against.
        affine: What affine interpolation gives, where ``value`` is interpolated in the logarithms; None elsewhere.
    """

    value: float
    interval: Interval | None
    basis: Basis
    error: float | None
    affine: Interval | None = None
