"""Makes layers of others known to the registry: by what the command names while planning, by their sizes in workers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.registry import adopt_factories, register

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pamprof.measure.any_layer.probe import ProbeInspector
    from pamprof.records import Workload
    from pamprof.workloads.layers.foreign.definition import Inspector


def register_named(sources: Mapping[str, str]) -> None:
    """Layers by the name that the command gave them; their code runs in a process of its own."""
    for name, source in sources.items():
        register(_asked(name, source))


def _asked(name: str, source: str) -> ForeignDefinition:
    return ForeignDefinition(name, source, _probe())


@cache
def _probe() -> ProbeInspector:
    from pamprof.measure.any_layer.probe import ProbeInspector

    return ProbeInspector()


def end_probe() -> None:
    """End the process that runs layers' code, which the next question starts again.

    Libraries that ask a device for its properties when they are imported hold memory on it from then on.
    """
    _probe().close()


def know_factories() -> None:
    """Let entry points of the group ``pamprof.layers`` be functions that make a module, too."""
    adopt_factories(_asked)


def register_workloads(workloads: Iterable[Workload]) -> None:
    """The layers of ``workloads``; their code runs in this process."""
    for workload in workloads:
        if workload.spec.source is not None:
            _register_once(workload.spec.layer, workload.spec.source)


@cache
def _local_inspector() -> Inspector:
    from pamprof.measure.any_layer.inspection import LocalInspector

    return LocalInspector()


@cache
def _register_once(name: str, source: str) -> None:
    register(ForeignDefinition(name, source, _local_inspector()))
