"""pamprof measures what complex arithmetic costs: PAM against transformers, down to dollars per token.

Every name below is loaded when it is first used: ``import pamprof`` alone loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pamprof.version import __version__

if TYPE_CHECKING:
    from pamprof.measure.flops.model_count import count_flops
    from pamprof.measure.flops.registration import flops_of
    from pamprof.workloads.kernel_flops import OperatorWork

# Where each public name is defined.
_HOMES = {
    "OperatorWork": "pamprof.workloads.kernel_flops",
    "count_flops": "pamprof.measure.flops.model_count",
    "flops_of": "pamprof.measure.flops.registration",
}

__all__ = [
    "OperatorWork",
    "__version__",
    "count_flops",
    "flops_of",
]

if not TYPE_CHECKING:  # to a type checker a name that is not there stays an error

    def __getattr__(name: str) -> object:
        """A public name, imported now."""
        if name not in _HOMES:
            raise AttributeError(f"module 'pamprof' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Public names, those not loaded yet included."""
    return sorted({*globals(), *__all__})
