"""What several ranks measured together: the slowest one's times beside one device's, and what was sent between them."""

from __future__ import annotations

from dataclasses import dataclass

from pamprof.records.environment import Environment
from pamprof.records.monitor import Monitor
from pamprof.records.run import StopReason, Unknown
from pamprof.records.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """One kind of message in one step, as one rank saw it.

    Attributes:
        operation: ``all-reduce``, ``all-gather``, ``reduce-scatter``, ``broadcast`` or torch's own name.
        count: Calls in a step.
        bytes: Sum over the calls of the larger of what the rank gives and what it gets.
        seconds: Time in which one of them was under way.
    """

    operation: str
    count: int
    bytes: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Communication:
    """The messages of one profiled step of rank 0, outside every sample.

    Attributes:
        collectives: By kind, the one with the most bytes first.
        seconds: Time in which any was under way; 0 of a step that sends none, None where no time line shows it.
        exposed_seconds: Of it, the time in which the device did nothing else; None likewise.
    """

    collectives: tuple[Collective, ...]
    seconds: float | None
    exposed_seconds: float | None

    @property
    def bytes(self) -> int:
        """Of all kinds."""
        return sum(collective.bytes for collective in self.collectives)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLink:
    """How two of the devices are joined.

    Attributes:
        first, second: Ranks.
        nvlink_count: Active NVLinks of the first that lead to the second, or to a switch where both have only such; 0
            for none, None where it cannot be read.
        common_ancestor: Nearest place where their PCIe ways meet, in NVML's words: ``internal``, ``one switch``,
            ``several switches``, ``host bridge``, ``NUMA node`` or ``system``; None likewise.
    """

    first: int
    second: int
    nvlink_count: int | None
    common_ancestor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Where the devices sit.

    Attributes:
        links: A pair each.
        pcie_generations: By rank, as trained at present; None where it cannot be read.
        pcie_widths: Lanes by rank; None likewise.
        numa_nodes: By rank; None likewise.
    """

    links: tuple[DeviceLink, ...]
    pcie_generations: tuple[int | None, ...]
    pcie_widths: tuple[int | None, ...]
    numa_nodes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFacts:
    """What one rank measured.

    Attributes:
        rank: Number from 0.
        wall_time_seconds: Its own samples, in the order of the run's.
        weight_bytes: Of the parameters that it keeps between steps.
        optimizer_bytes: Of the optimizer's state that it keeps.
        state_bytes: Of recurrent state or KV cache; 0 in training.
        peak_bytes: Most that its allocator gave out in one step, what was there before the model left out; None on a
            CPU.
        monitor: The window in which all ranks ran the step; None where it was switched off, and on a CPU, which ranks
            share.
    """

    rank: int
    wall_time_seconds: tuple[float, ...]
    weight_bytes: int
    optimizer_bytes: int
    state_bytes: int
    peak_bytes: int | None
    monitor: Monitor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAgreement:
    """How far the shared step is from the one of a single device, checked before anything is timed.

    Attributes:
        output_difference: Relative difference of the losses, or relative rms difference of logits.
        gradient_norm_difference: Relative difference of the norms of all gradients in the first step; None outside
            training, and where the ranks see more tokens than the single device.
        tolerance: Largest difference that is let through.
    """

    output_difference: float
    gradient_norm_difference: float | None
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRun:
    """One workload shared by several ranks, in turn with the same arm on one of their devices.

    Sample i of all ranks was taken next to sample i of one device, which rank 0 ran while the others waited. A sample
    of all ranks is the slowest one's; all begin it together.

    Attributes:
        session_id: The session it belongs to.
        group_id: The worker whose ranks measured it.
        started_at: UTC, ISO 8601.
        workload: What all ranks did; ``layout`` says how they shared it.
        alone: What one device did: the same batch (strong scaling), or the part of one rank (weak scaling).
        environment: Of rank 0.
        parameter_count: Real scalars of the whole model.
        wall_time_seconds: Samples of all ranks, seconds per step.
        alone_wall_time_seconds: Samples of one device, paired by index.
        steps_per_sample: Steps in one sample of all ranks.
        alone_steps_per_sample: Likewise of one device.
        stop_reason: The rule that ended the sampling.
        half_width: Relative half width of the ratio's interval at the stop.
        ranks: What each rank measured, in order.
        alone_peak_bytes: As ``RankFacts.peak_bytes``, of one device.
        alone_weight_bytes, alone_state_bytes: As of ``RankFacts``, of one device.
        alone_monitor: The window of one device.
        communication: Messages of one step; None where the profiled step failed on any rank.
        topology: None on a CPU, and where NVML cannot say it.
        agreement: The check that precedes the timing.
        backend: ``nccl`` or ``gloo``, with its version where it has one.
        unknowns: The reason for every None above.
        notes: Facts that explain the number.
        elapsed_seconds: Spent on the point in all.
    """

    session_id: str
    group_id: str
    started_at: str
    workload: Workload
    alone: Workload
    environment: Environment
    parameter_count: int
    wall_time_seconds: tuple[float, ...]
    alone_wall_time_seconds: tuple[float, ...]
    steps_per_sample: int
    alone_steps_per_sample: int
    stop_reason: StopReason
    half_width: float | None
    ranks: tuple[RankFacts, ...]
    alone_peak_bytes: int | None
    alone_weight_bytes: int
    alone_state_bytes: int
    alone_monitor: Monitor | None
    communication: Communication | None
    topology: Topology | None
    agreement: RankAgreement
    backend: str
    unknowns: tuple[Unknown, ...]
    notes: tuple[str, ...]
    elapsed_seconds: float

    @property
    def scales_weakly(self) -> bool:
        """Whether each rank did what the one device did, so that all did more; else they shared the same step."""
        return self.workload.batch_size != self.alone.batch_size
