"""One point that ranks share, in turn with one device: built, checked, timed, watched; every rank runs this alike.

What only rank 0 can do, the step of one device, is a step of nothing on the others, who wait for it where all line up.
A rank decides nothing by its own clock (see ``team``), so that all take the same number of steps.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch.distributed.device_mesh import init_device_mesh

from pamprof.errors import PamprofError
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.hardware.nvml.topology import read_topology
from pamprof.measure.machine.monitor import monitor, probes_for
from pamprof.measure.ranks.communication import profile_communication
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.sampling import sample_pairs, warm_up
from pamprof.measure.session.team import ALONE
from pamprof.records import (
    Communication,
    Monitor,
    Parallel,
    Phase,
    RankAgreement,
    RankedRun,
    RankFacts,
    Topology,
    Unknown,
)
from pamprof.units import binary_bytes
from pamprof.workloads.parallel.step import RankStep, optimizer_byte_count, recompute_blocks
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import EXECUTION_TOLERANCE, PreparedStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.ranks.rank_team import RankTeam
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import Workload

_SHORTEST_SAMPLING_SECONDS = 0.05  # of a point begun before its deadline
_SHARED_PROCESSOR = "the ranks share a processor, whose energy and load are not one rank's"
_SWITCHED_OFF = "the monitored window was switched off"
_NO_PEAK = "a CPU has no allocator that counts one rank's bytes"
_UNSEEN_MESSAGES = "the profiler saw the calls of the messages, and none of them on the time line"
_NO_EXPOSURE = "a CPU has no time line on which to see what gloo's threads hid behind"


class DisagreementError(PamprofError):
    """The ranks compute something else than one device does; raised by all of them alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A step that is warm, with what its first one gave.

    Attributes:
        run: One step; of nothing where this rank has none.
        output: Loss or logits of the first step; None likewise.
        gradient_norm: Of the first step of training.
        peak_bytes: Most that one step holds beyond what was there before; None on a CPU.
        steps_per_sample: That fill a sample.
        watched: Its monitored window, once it was taken.
    """

    step: PreparedStep | None
    run: Callable[[], object]
    output: torch.Tensor | None
    gradient_norm: float | None
    peak_bytes: int | None
    steps_per_sample: int
    watched: list[Monitor | None] = field(default_factory=list)


class RankedRunner:
    """Measures points that all ranks share, one group after another, on this rank's device."""

    def __init__(self, request: GroupRequest, team: RankTeam, *, backend: str) -> None:
        self._team = team
        self._backend = backend
        self.device = open_device(request.device if request.device == "cpu" else f"cuda:{team.rank}")
        self._nvml = open_nvml(self.device.uuid)
        self._environment, self._environment_unknowns = read_environment(self.device, self._nvml)
        self._mesh = init_device_mesh(self.device.kind, (team.size,))
        self._topology, self._topology_reason = self._read_topology()

    def _read_topology(self) -> tuple[Topology | None, str | None]:
        uuids = self._team.gathered(self.device.uuid)
        found = [uuid for uuid in uuids if uuid is not None]
        if len(found) < len(uuids):
            return None, "the ranks are processes of one CPU"
        return read_topology(found)

    def alone(self, request: GroupRequest, workload: Workload) -> _Ready:
        """The step of one device, ready to run on rank 0."""
        step: PreparedStep | None = None
        if self._team.rank == 0:
            before = self.device.memory().allocated_bytes or 0
            step = PreparedStep(
                replace(workload, layout=None),
                definition(workload.spec.layer),
                device=self.device.torch_device,
                seed=request.settings.seed,
            )
            if workload.layout is not None and workload.layout.checkpoints_activations:
                recompute_blocks(step.model)
        return self._ready(request, step, before if step is not None else 0)

    def measure(self, request: GroupRequest, workload: Workload, alone_workload: Workload, alone: _Ready) -> RankedRun:
        """One point of all ranks.

        Raises:
            DisagreementError: The ranks do not compute what one device does; all ranks raise it.
        """
        started_at, begun = utc_now(), perf_counter()
        weakly = workload.batch_size != alone_workload.batch_size
        before = self.device.memory().allocated_bytes or 0
        step = RankStep(
            workload,
            definition(workload.spec.layer),
            device=self.device.torch_device,
            seed=request.settings.seed,
            mesh=self._mesh,
            own_inputs=weakly and workload.layout is not None and workload.layout.parallel is not Parallel.TP,
        )
        shared = self._ready(request, step, before)
        agreement = self._agreement(workload, shared, alone, weakly=weakly)
        settings = request.settings
        if request.deadline_seconds is not None:
            left = self._team.told(max(_SHORTEST_SAMPLING_SECONDS, request.deadline_seconds - perf_counter()))
            settings = replace(settings, time_limit_seconds=min(settings.time_limit_seconds, left))
        pairs = sample_pairs(
            shared.run,
            alone.run,
            self.device,
            settings,
            arm_steps=shared.steps_per_sample,
            reference_steps=alone.steps_per_sample,
            team=self._team,
        )
        messages = profile_communication(step, self._team, on_cuda=self.device.kind == "cuda")
        own_monitor, reasons = self._watched(request, shared, all_of_them=True)
        if not alone.watched:
            alone.watched.append(self._watched(request, alone, all_of_them=False)[0])
        facts = self._team.gathered(
            RankFacts(
                rank=self._team.rank,
                wall_time_seconds=tuple(pairs.arm.own_wall_time_seconds),
                weight_bytes=step.kept_parameter_bytes,
                optimizer_bytes=optimizer_byte_count(step.optimizer),
                state_bytes=0 if step.state is None else step.state.byte_count(),
                peak_bytes=shared.peak_bytes,
                monitor=own_monitor,
            )
        )
        single = alone.step
        return RankedRun(
            session_id=request.session_id,
            group_id=request.group_id,
            started_at=started_at,
            workload=workload,
            alone=alone_workload,
            environment=self._environment,
            parameter_count=definition(workload.spec.layer).parameter_count(workload.spec, workload.scope),
            wall_time_seconds=tuple(pairs.arm.wall_time_seconds),
            alone_wall_time_seconds=tuple(pairs.reference.wall_time_seconds),
            steps_per_sample=pairs.arm.steps_per_sample,
            alone_steps_per_sample=pairs.reference.steps_per_sample,
            stop_reason=pairs.stop_reason,
            half_width=pairs.half_width,
            ranks=tuple(facts),
            alone_peak_bytes=alone.peak_bytes,
            alone_weight_bytes=0 if single is None else _parameter_bytes(single),
            alone_state_bytes=0 if single is None or single.state is None else single.state.byte_count(),
            alone_monitor=alone.watched[0],
            communication=None if isinstance(messages, str) else messages,
            topology=self._topology,
            agreement=agreement,
            backend=self._backend,
            unknowns=(*self._environment_unknowns, *self._unknowns(messages, reasons)),
            notes=step.notes,
            elapsed_seconds=perf_counter() - begun,
        )

    def out_of_memory(self, workload: Workload) -> str:
        """The sentence of a point that did not fit."""
        total = binary_bytes(self.device.memory().total_bytes)
        return f"{workload.phase} at batch {workload.batch_size} does not fit into {total}; choose a smaller batch"

    def forget(self) -> None:
        """Give back what the last point held."""
        gc.collect()
        self.device.empty_cache()

    def _ready(self, request: GroupRequest, step: PreparedStep | None, before: int) -> _Ready:
        """Run the first step, compile and capture, look at the memory of one more, warm up."""
        output = norm = peak = None
        run: Callable[[], object] = _nothing
        if step is not None:
            step.reset()
            output = step.eager().detach().clone()
            norm = None if step.gradient_norm is None else float(step.gradient_norm)
            step.compile()
            if self.device.kind == "cuda":
                self.device.reset_peak_memory()
                step.run()
                self.device.synchronise()
                peak = torch.cuda.max_memory_allocated(self.device.torch_device) - before
            step.capture()
            step.reset()
            run = step.run
        _, steps_per_sample = warm_up(
            run,
            self.device,
            request.settings.sample_seconds,
            longest_seconds=request.settings.longest_warm_up_seconds,
            team=self._team,
        )
        return _Ready(
            step=step,
            run=run,
            output=output,
            gradient_norm=norm,
            peak_bytes=peak,
            steps_per_sample=steps_per_sample,
        )

    def _agreement(self, workload: Workload, shared: _Ready, alone: _Ready, *, weakly: bool) -> RankAgreement:
        """Compare the first steps; the same verdict on all ranks."""
        tolerance = EXECUTION_TOLERANCE[workload.dtype]
        assert shared.output is not None
        output = shared.output
        layout = workload.layout
        if workload.phase is Phase.TRAIN and not weakly and layout is not None and layout.parallel is not Parallel.TP:
            output = torch.tensor(self._team.mean(float(output)), dtype=torch.float64)
        found: RankAgreement | None = None
        if alone.output is not None:
            expected, got = alone.output.double().cpu(), output.double().cpu()
            norms = (None, None) if weakly else (shared.gradient_norm, alone.gradient_norm)
            found = RankAgreement(
                output_difference=float((got - expected).norm() / expected.norm().clamp_min(1e-30)),
                gradient_norm_difference=None
                if norms[0] is None or norms[1] is None
                else abs(norms[0] - norms[1]) / max(norms[1], 1e-30),
                tolerance=tolerance,
            )
        agreed = self._team.told(found)
        worst = max(agreed.output_difference, agreed.gradient_norm_difference or 0.0)
        if not worst <= tolerance:
            raise DisagreementError(
                f"{workload.spec.layer} {workload.implementation} on {self._team.size} ranks is off one device by "
                f"{worst:.1e} relative, more than {tolerance:.0e}; a wrong result is not timed"
            )
        return agreed

    def _watched(
        self, request: GroupRequest, ready: _Ready, *, all_of_them: bool
    ) -> tuple[Monitor | None, tuple[Unknown, ...]]:
        """The monitored window of this rank's GPU; of one device's step only on rank 0, while the others wait."""
        seconds = request.settings.monitor_seconds
        if seconds == 0 or self.device.kind == "cpu":
            return None, ()
        if not all_of_them and self._team.rank > 0:
            self._team.line_up()
            return None, ()
        if ready.step is not None:
            ready.step.reset()
        window, unknowns = monitor(
            ready.run,
            synchronise=self.device.synchronise,
            probes=probes_for(self.device, self._nvml),
            minimum_seconds=seconds,
            origin=request.origin_seconds,
            team=self._team if all_of_them else ALONE,
        )
        if not all_of_them:
            self._team.line_up()
        return window, unknowns

    def _unknowns(self, messages: Communication | str, reasons: tuple[Unknown, ...]) -> list[Unknown]:
        """The reason for every None of the record, as rank 0 knows it."""
        cpu = self.device.kind == "cpu"
        found = [replace(each, field=f"ranks.{each.field}") for each in reasons]
        if self._topology is None:
            found.append(Unknown(field="topology", reason=self._topology_reason or "NVML did not say"))
        if cpu:
            found += [Unknown(field=name, reason=_NO_PEAK) for name in ("ranks.peak_bytes", "alone_peak_bytes")]
        if cpu or not reasons:
            reason = _SHARED_PROCESSOR if cpu else _SWITCHED_OFF
            found += [Unknown(field=name, reason=reason) for name in ("ranks.monitor", "alone_monitor")]
        if isinstance(messages, str):
            found.append(Unknown(field="communication", reason=messages))
        elif messages.seconds is None:
            unseen = ("communication.seconds", "communication.exposed_seconds")
            found += [Unknown(field=name, reason=_UNSEEN_MESSAGES) for name in unseen]
        elif messages.exposed_seconds is None:
            found.append(Unknown(field="communication.exposed_seconds", reason=_NO_EXPOSURE))
        return found


def _nothing() -> None:
    """A rank that waits."""


def _parameter_bytes(step: PreparedStep) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in step.module.parameters())
