"""How long Triton may try configurations for kernels of other libraries, and which it took.

Triton tunes a kernel at its first launch with new sizes. That happens while a step is checked, counted and warmed up,
never in a timed region, but takes minutes where a layer has a dozen kernels: 294 s were seen for one. Past the limit a
kernel gets its first configuration, untimed, and the record says so. What was timed is kept in ``TRITON_CACHE_DIR``
where the library asks for that, and tuning then costs nothing the next time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pamprof.workloads.base import KernelNotes

if TYPE_CHECKING:
    from collections.abc import Callable

# Packages whose kernels are limited, by the name they are imported under.
_PACKAGES = {"fla": "flash-linear-attention", "mlstm_kernels": "mlstm-kernels", "mamba_ssm": "mamba-ssm"}


@dataclass(slots=True)
class _Tuning:
    """What was tuned in this process.

    Attributes:
        layer: That runs now, or whose backward pass does.
        limit_seconds: Of that layer.
        spent_seconds: By layer.
        ran: Kernels launched since they were asked for, each with its configuration.
        untimed: Those of them that were not tuned, because the time was up.
    """

    layer: str = ""
    limit_seconds: float = 0.0
    spent_seconds: dict[str, float] = field(default_factory=dict)
    ran: dict[str, str] = field(default_factory=dict)
    untimed: set[str] = field(default_factory=set)


_TUNING = _Tuning()


def tune_for(layer: str, limit_seconds: float) -> None:
    """Kernels launched from now on belong to ``layer``, which may spend ``limit_seconds`` on tuning in this process."""
    _limit_autotuners()
    _TUNING.layer, _TUNING.limit_seconds = layer, limit_seconds


def kernel_notes() -> KernelNotes:
    """The kernels that ran since this was asked last, with configurations, and those that were not tuned."""
    packages = dict.fromkeys(name.partition(".")[0] for name in _TUNING.ran)
    notes = KernelNotes(
        configurations=(
            *(f"kernels of {_with_version(_PACKAGES[package])}" for package in packages),
            *(f"{name.rpartition('.')[2]}: {chosen}" for name, chosen in sorted(_TUNING.ran.items())),
        ),
        refused=tuple(
            f"{name.rpartition('.')[2]}: other configurations, untried because tuning took its "
            f"{_TUNING.limit_seconds:g} s"
            for name in sorted(_TUNING.untimed & set(_TUNING.ran))
        ),
    )
    _TUNING.ran.clear()
    return notes


def _with_version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


@cache
def _limit_autotuners() -> None:
    from triton.runtime.autotuner import Autotuner

    limit(Autotuner)


def limit(autotuner: Any) -> None:
    """Let the class ``autotuner`` of Triton note what it runs, and stop trying once the time is up."""
    run, bench, prune = autotuner.run, autotuner._bench, autotuner.prune_configs

    def noted_run(self: Any, *args: Any, **keywords: Any) -> object:
        returned: object = run(self, *args, **keywords)
        name = _name(self)
        if name is not None:
            _TUNING.ran[name] = str(self.best_config)
        return returned

    def timed_bench(self: Any, *args: Any, **keywords: Any) -> object:
        begun = perf_counter()
        try:
            found: object = bench(self, *args, **keywords)
        finally:
            if _name(self) is not None:
                spent = _TUNING.spent_seconds.get(_TUNING.layer, 0.0)
                _TUNING.spent_seconds[_TUNING.layer] = spent + perf_counter() - begun
        return found

    def limited_prune(self: Any, *args: Any, **keywords: Any) -> list[Any]:
        configurations: list[Any] = prune(self, *args, **keywords)
        name = _name(self)
        if name is None or _TUNING.spent_seconds.get(_TUNING.layer, 0.0) < _TUNING.limit_seconds:
            return configurations
        _TUNING.untimed.add(name)
        return configurations[:1]

    replaced: dict[str, Callable[..., Any]] = {"run": noted_run, "_bench": timed_bench, "prune_configs": limited_prune}
    for attribute, function in replaced.items():
        setattr(autotuner, attribute, function)


def _name(autotuner: Any) -> str | None:
    """The kernel's module and name; None where it is of no package in ``_PACKAGES``."""
    function = autotuner.base_fn
    return f"{function.__module__}.{function.__name__}" if function.__module__.split(".")[0] in _PACKAGES else None
