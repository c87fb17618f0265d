"""Split conformal prediction: how far an interval must reach so that errors like those seen stay inside it."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def conformal_quantile(scores: Sequence[float], confidence: float) -> float | None:
    """The score that one more of their kind stays within at ``confidence``, a ratio (Vovk; Lei et al. 2018, theorem 2).

    Args:
        scores: Errors of predictions for what was left out, exchangeable with the one to come.
        confidence: Such as 0.9.

    Returns:
        The score of rank ceil((n + 1) * confidence); None where n is too small for that rank to exist: 0.9 asks for 9.
    """
    # A rank that is whole on paper must not be raised by the last bit of the product.
    rank = ceil((len(scores) + 1) * confidence - 1e-9)
    return None if rank > len(scores) else sorted(scores)[rank - 1]
