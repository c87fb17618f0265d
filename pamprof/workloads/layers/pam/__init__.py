"""Phase-Associative Memory: its recurrence as functions of tensors, and its language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.layers.pam.recurrence import chunked_pam, dual_pam, recurrent_pam

if TYPE_CHECKING:
    from pamprof.workloads.layers.pam.model import PamLanguageModel

__all__ = ["PamLanguageModel", "chunked_pam", "dual_pam", "recurrent_pam"]


def __getattr__(name: str) -> object:
    """Import the model where it is asked for: it needs every implementation, and their kernels need the recurrence."""
    if name == "PamLanguageModel":
        from pamprof.workloads.layers.pam.model import PamLanguageModel

        return PamLanguageModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
