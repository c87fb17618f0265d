"""pamprof measures what complex arithmetic costs: PAM against transformers, down to dollars per token.

Public names are imported when they are first used, so that ``import pamprof`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.version import __version__ as __version__

if TYPE_CHECKING:
    from pamprof.measure.flops.model_count import count_flops
    from pamprof.measure.flops.registration import flops_of
    from pamprof.workloads.kernel_flops import OperatorWork

__all__ = ["OperatorWork", "count_flops", "flops_of"]

# Where each public name is defined.
_HOMES = {
    "OperatorWork": "pamprof.workloads.kernel_flops",
    "count_flops": "pamprof.measure.flops.model_count",
    "flops_of": "pamprof.measure.flops.registration",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of the module's

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'pamprof' has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
