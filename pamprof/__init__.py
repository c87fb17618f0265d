"""pamprof measures what complex arithmetic costs: PAM against transformers, down to dollars per token.

    import pamprof

    result = pamprof.compare(["transformer", "pam"], preset="tiny", phases=["decode"])
    result.story.sentence

Every name below is loaded when it is first used: ``import pamprof`` alone loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pamprof.version import __version__

if TYPE_CHECKING:
    from pamprof.api.compare import compare
    from pamprof.api.cost import cost
    from pamprof.api.memory import peak_memory
    from pamprof.api.profile import profile
    from pamprof.api.result import Result
    from pamprof.api.stored import load, report
    from pamprof.errors import PamprofError
    from pamprof.measure.flops.model_count import count_flops
    from pamprof.measure.flops.registration import flops_of
    from pamprof.workloads.kernel_flops import OperatorWork
    from pamprof.workloads.layers.foreign.declared import layer

# Where each public name is defined.
_HOMES = {
    "OperatorWork": "pamprof.workloads.kernel_flops",
    "PamprofError": "pamprof.errors",
    "Result": "pamprof.api.result",
    "compare": "pamprof.api.compare",
    "cost": "pamprof.api.cost",
    "count_flops": "pamprof.measure.flops.model_count",
    "flops_of": "pamprof.measure.flops.registration",
    "layer": "pamprof.workloads.layers.foreign.declared",
    "load": "pamprof.api.stored",
    "peak_memory": "pamprof.api.memory",
    "profile": "pamprof.api.profile",
    "report": "pamprof.api.stored",
}

__all__ = [
    "OperatorWork",
    "PamprofError",
    "Result",
    "__version__",
    "compare",
    "cost",
    "count_flops",
    "flops_of",
    "layer",
    "load",
    "peak_memory",
    "profile",
    "report",
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
