"""Which points ranks share once one device has measured them: each arm's fastest code, in weak and strong scaling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import DeviceError, PamprofError, UsageError
from pamprof.records import Execution, LayerRole, Parallel, Phase, RankLayout
from pamprof.statistics import median_interval
from pamprof.workloads.base import layer_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import Run, Workload

# What each way of sharing a step can be run as. Reducers of gradients are called by hooks of the host, which no graph
# replays; FSDP2's hooks stand around a block's call and would be compiled into it.
_EXECUTIONS = {
    Parallel.DDP: (Execution.EAGER, Execution.COMPILED),
    Parallel.FSDP: (Execution.EAGER,),
    Parallel.TP: (Execution.EAGER,),
}
_SERVING_EXECUTIONS = (Execution.EAGER, Execution.GRAPH)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlan:
    """How a comparison is repeated by several ranks.

    Attributes:
        layout: Who shares a step, and how.
        refusals: Why a layer's blocks cannot be shared so, by layer.
    """

    layout: RankLayout
    refusals: dict[str, str]


def layout_of(request: GroupRequest) -> RankLayout:
    """The layout of a group's workloads after its first."""
    layout = request.workloads[-1].layout
    assert layout is not None
    return layout


def one_device_of(request: GroupRequest) -> Workload:
    """The first workload of a group, which one device runs in turn with all ranks.

    Raises:
        PamprofError: It is one of all ranks, which would be taken for what a single device does.
    """
    first = request.workloads[0]
    if first.layout is not None and first.layout.ranks > 1:
        raise PamprofError(
            f"a group of ranks begins with a workload of {first.layout.ranks} ranks; it has to begin with that of one "
            "device"
        )
    return first


def rank_plan(
    arms: Sequence[PlannedArm], layout: RankLayout, phases: Sequence[Phase], *, device: str, device_kind: str
) -> RankPlan:
    """Check that ``layout`` can be measured on this machine.

    Raises:
        UsageError: No arm can be shared so, or no phase.
        DeviceError: The machine has fewer devices, or torch lacks what joins them.
    """
    from torch import distributed

    from pamprof.workloads.parallel.tensor_parallel import split_refusal

    ranks = layout.ranks
    if layout.parallel is not Parallel.TP and Phase.TRAIN not in phases:
        raise UsageError(f"--parallel {layout.parallel} shares training alone; add --phase train or use --parallel tp")
    if not distributed.is_available():
        raise DeviceError("--ranks needs torch.distributed, which this torch is built without; install another build")
    if device_kind == "cuda":
        _check_gpus(ranks, device)
    elif not distributed.is_gloo_available():
        raise DeviceError("--ranks on a CPU needs gloo, which this torch is built without; install another build")
    refusals: dict[str, str] = {}
    if layout.parallel is Parallel.TP:
        found = {arm.spec.layer: split_refusal(arm.definition, arm.spec, ranks) for arm in arms}
        refusals = {layer: reason for layer, reason in found.items() if reason is not None}
        is_subject = {arm.spec.layer: layer_facts(arm.definition).role is LayerRole.SUBJECT for arm in arms}
        if len(refusals) == len(found) or any(is_subject[layer] for layer in refusals):
            raise UsageError("; ".join(refusals.values()))
    return RankPlan(layout=layout, refusals=refusals)


def _check_gpus(ranks: int, device: str) -> None:
    import torch
    from torch import distributed

    if ":" in device:
        raise UsageError(f"--ranks takes the first {ranks} GPUs, not {device}; name others in CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if ranks > count:
        raise DeviceError(
            f"{ranks} ranks need a GPU each and this process sees {count}; take --ranks {count} or fewer"
            if count > 1
            else f"{ranks} ranks need a GPU each and this process sees {count}; take a machine with more"
        )
    if not distributed.is_nccl_available():
        raise DeviceError(
            "--ranks on GPUs needs NCCL, which this torch is built without; install a CUDA build for Linux from "
            "https://pytorch.org"
        )


def ranked_groups(runs: Sequence[Run], plan: RankPlan) -> tuple[tuple[Workload, ...], ...]:
    """For each arm and point that one device measured, its fastest code that ranks can run: alone, then shared.

    Data parallelism scales weakly, every rank with the batch of one device, and strongly where the batch divides;
    tensor parallelism shares the batch as it is.
    """
    layout = plan.layout
    fastest: dict[tuple[object, ...], tuple[float, Workload]] = {}
    for run in runs:
        workload = run.workload
        if workload.spec.layer in plan.refusals or not _shares(workload, layout.parallel):
            continue
        key = (workload.spec, workload.phase, workload.batch_size, workload.sequence_length, workload.dtype)
        seconds = median_interval(run.timing.wall_time_seconds).median
        if key not in fastest or seconds < fastest[key][0]:
            fastest[key] = seconds, workload
    return tuple(_group(workload, layout) for _, workload in fastest.values())


def _shares(workload: Workload, parallel: Parallel) -> bool:
    if workload.phase is Phase.TRAIN:
        return workload.execution in _EXECUTIONS[parallel]
    return parallel is Parallel.TP and workload.execution in _SERVING_EXECUTIONS


def _group(workload: Workload, layout: RankLayout) -> tuple[Workload, ...]:
    recomputes = layout.checkpoints_activations and workload.phase is Phase.TRAIN
    shared = replace(workload, layout=replace(layout, checkpoints_activations=recomputes))
    alone = replace(workload, layout=replace(layout, ranks=1, checkpoints_activations=True)) if recomputes else workload
    if layout.parallel is Parallel.TP:
        return alone, shared
    weak = replace(shared, batch_size=workload.batch_size * layout.ranks)
    return (alone, weak) if workload.batch_size % layout.ranks else (alone, weak, shared)
