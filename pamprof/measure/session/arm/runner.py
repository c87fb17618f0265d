"""Everything measured about one arm, in order; the worker decides which arms.

The order matters: kernels are chosen while the step is built, the gate checks them before any time is taken, FLOPs on
the plain step before the compiler hides its operators, memory while the arm is the newest thing on the device, and the
monitored window last, alone.
"""

from __future__ import annotations

import os
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.machine.ceilings import measure_ceilings
from pamprof.measure.machine.monitor import monitor, probes_for
from pamprof.measure.machine.sensors import NvmlSensors
from pamprof.measure.memory.breakdown import (
    forget_process_peak,
)
from pamprof.measure.session.arm.checks import ArmChecks
from pamprof.measure.session.arm.memory import memory_of
from pamprof.measure.session.arm.profile import NOT_WATCHED, ArmProfile
from pamprof.measure.session.arm.ready import KeptModel, ReadyArm
from pamprof.measure.session.claims import (
    checked_parameter_count,
    state_refusal,
)
from pamprof.measure.session.compile_ahead import standing_still
from pamprof.measure.session.growth import HeldBytes
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.measure.session.runner import utc_now
from pamprof.measure.session.sampling import PairedSamples, sample_pairs, warm_up
from pamprof.measure.session.treatment import (
    kernel_notes,
    kernel_shares,
    logits_width,
    position_parameter_count,
)
from pamprof.measure.session.windows import WindowSamples, sample_windows
from pamprof.records import (
    Ceilings,
    Dtype,
    Monitor,
    Run,
    Timing,
    Unknown,
    Workload,
)
from pamprof.units import binary_bytes
from pamprof.workloads.checkpoints.weights import know_checkpoints
from pamprof.workloads.execution import compiler_counts, graph_break_reason_count
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.machine.kernels.profile import KernelProfile
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.workloads.base import SequenceModel

# Of a point begun before its deadline: its fewest samples are taken, however late it is.
_SHORTEST_SAMPLING_SECONDS = 0.05

_NO_WINDOWS = "single steps or short runs of them were sampled, not windows of back-to-back steps"


class ArmRunner:
    """Measures arms on one device, for one group after another."""

    def __init__(self, request: GroupRequest) -> None:
        self.begin(request)
        self.device = open_device(request.device)
        self._nvml = open_nvml(self.device.uuid)
        self._environment, self._environment_unknowns = read_environment(self.device, self._nvml)
        self._checks = ArmChecks(self.device, seed=self._settings.seed)

    def begin(self, request: GroupRequest) -> None:
        """Go on with another group of the same device."""
        self._request = request
        self._settings = request.settings
        know_checkpoints(request.checkpoints)

    def ceilings(self, dtype: Dtype) -> Ceilings:
        """What the device does at best."""
        with standing_still(self._request.companions):
            found = measure_ceilings(
                self.device,
                self._environment,
                session_id=self._request.session_id,
                dtype=dtype,
                seed=self._settings.seed,
            )
        self.device.empty_cache()
        return found

    def measure(
        self,
        workload: Workload,
        reference: ReadyArm | None,
        *,
        kept: KeptModel | None = None,
        watch: Callable[[PairedSamples], bool] | None = None,
    ) -> tuple[Run, ReadyArm]:
        """One run, paired with ``reference``, or with itself where there is none yet.

        Args:
            workload: What to measure.
            reference: What to pair it with.
            kept: The model of the same arm to use again; one is built where there is none.
            watch: Decides, once the times are known, whether the step is profiled and the monitored window taken.

        Raises:
            UnsupportedError: The point cannot exist on this machine.
            PamprofError: The implementation does not compute what it should.
        """
        started_at, begun = utc_now(), perf_counter()
        forget_process_peak()
        self.device.empty_cache()
        before = (self.device.memory().allocated_bytes or 0) if kept is None else kept.allocated_before_bytes
        step = self._build(workload, None if kept is None else kept.model)
        gate = self._checks.gate(workload)
        flops, flop_claim = self._checks.flops(workload, step)
        known_breaks = compiler_counts()
        known_reasons = graph_break_reason_count()
        step.compile()
        memory, unknowns = memory_of(
            step, before, device=self.device, nvml=self._nvml, has_companions=bool(self._request.companions)
        )
        step.capture()
        step.reset()
        warm_up_steps, ready = self._warm(step)
        graph_breaks = self._checks.graph_breaks(workload, known_breaks, known_reasons)
        with standing_still(self._request.companions):
            compiled = compiler_counts()
            paired_with = reference or ready
            if self._settings.cold_cache:
                self.device.flush_cache()  # its first call allocates
            held = HeldBytes.now(step, paired_with.step, self.device)
            pairs, windows = self._sample(ready, paired_with)
            grown = HeldBytes.now(step, paired_with.step, self.device).growth_of_arm(held)
            recompilations, breaks = (now - before for now, before in zip(compiler_counts(), compiled, strict=True))
            watched = watch is None or watch(pairs)
            profile = ArmProfile(self.device, self._request)
            kernels, trace, trace_unknowns = profile.profile(ready, watched=watched)
            used = profile.kernels(ready, in_sweep=watch is not None, is_reference=reference is None)
            timing, timing_unknowns = self._timing(step, pairs, kernels, warm_up_steps)
            timing = replace(
                timing,
                recompilation_count=recompilations,
                graph_break_count=breaks,
                recompiled_samples=tuple(pairs.arm.recompiled),
                reference_recompiled_samples=tuple(pairs.reference.recompiled),
                grown_bytes=grown,
            )
            if windows is not None and self._settings.windows is not None:
                timing = replace(
                    timing,
                    window_seconds=self._settings.windows.window_seconds,
                    alone_wall_time_seconds=windows.alone_seconds,
                    settled=windows.settled,
                )
            window, window_unknowns = (
                self._monitor(step) if watched else (None, (Unknown(field="monitor", reason=NOT_WATCHED),))
            )
        layer = definition(workload.spec.layer)
        launched = kernel_notes(workload, self.device.torch_device)
        parameter_count, parameter_claim = checked_parameter_count(workload, layer, step)
        claims = (parameter_claim, flop_claim, state_refusal(workload, layer, step))
        run = Run(
            session_id=self._request.session_id,
            group_id=self._request.group_id,
            started_at=started_at,
            workload=workload,
            reference=workload if reference is None else reference.step.workload,
            environment=self._environment,
            parameter_count=parameter_count,
            gate=gate,
            timing=timing,
            flops=flops,
            memory=memory,
            monitor=window,
            unknowns=(
                *self._environment_unknowns,
                *unknowns,
                *timing_unknowns,
                *window_unknowns,
                *trace_unknowns,
                *([Unknown(field="kernels", reason=used)] if isinstance(used, str) else []),
            ),
            notes=(*_notes(self.device.kind), *step.notes),
            kernel_shares=kernel_shares(kernels),
            logits_width=logits_width(step.module),
            kernel_configurations=launched.configurations,
            refused_configurations=launched.refused,
            position_parameter_count=position_parameter_count(step.module),
            elapsed_seconds=perf_counter() - begun,
            graph_breaks=graph_breaks,
            refused_claims=tuple(claim for claim in claims if claim is not None),
            trace=trace,
            kernels=None if isinstance(used, str) else used,
        )
        return run, ready

    def prepare(self, workload: Workload) -> ReadyArm:
        """An arm that has its record already, made ready to be paired with.

        Raises:
            UnsupportedError: The point cannot exist on this machine.
            PamprofError: The implementation does not compute what it should.
        """
        step = self._build(workload)
        self._checks.gate(workload)
        step.compile()
        step.capture()
        step.reset()
        return self._warm(step)[1]

    def _build(self, workload: Workload, model: SequenceModel | None = None) -> PreparedStep:
        with standing_still(self._request.companions):  # attention kernels are chosen by timing
            return PreparedStep(
                workload,
                definition(workload.spec.layer),
                device=self.device.torch_device,
                seed=self._settings.seed,
                model=model,
            )

    def _warm(self, step: PreparedStep) -> tuple[int, ReadyArm]:
        """Steps run to warm up, and the arm ready to be sampled."""
        settings = self._settings
        begun = perf_counter()
        steps, steps_per_sample = warm_up(
            step.run, self.device, settings.sample_seconds, longest_seconds=settings.longest_warm_up_seconds
        )
        step_seconds = (perf_counter() - begun) / steps
        return steps, ReadyArm(step=step, steps_per_sample=steps_per_sample, step_seconds=step_seconds)

    def out_of_memory_reason(self, workload: Workload) -> str:
        """The sentence of a point that did not fit."""
        total = self.device.memory().total_bytes
        return (
            f"{workload.phase} at batch {workload.batch_size} and length {workload.sequence_length} does not fit "
            f"into {binary_bytes(total)}; choose a smaller batch or length"
        )

    def _sample(self, arm: ReadyArm, reference: ReadyArm) -> tuple[PairedSamples, WindowSamples | None]:
        """Samples until the interval is narrow, or windows where the settings ask for them."""
        arm.step.reset()
        if self._settings.windows is not None:
            found = sample_windows(
                arm.step.run,
                reference.step.run,
                self.device,
                NvmlSensors(self._nvml),
                self._settings.windows,
                arm_step_seconds=arm.step_seconds,
                reference_step_seconds=reference.step_seconds,
                itself=arm is reference,
                cold_cache=self._settings.cold_cache,
            )
            return found.pairs, found
        settings, deadline = self._settings, self._request.deadline_seconds
        if deadline is not None:
            left = max(_SHORTEST_SAMPLING_SECONDS, deadline - perf_counter())
            settings = replace(settings, time_limit_seconds=min(settings.time_limit_seconds, left))
        pairs = sample_pairs(
            arm.step.run,
            reference.step.run,
            self.device,
            settings,
            arm_steps=arm.steps_per_sample,
            reference_steps=reference.steps_per_sample,
        )
        return pairs, None

    def _timing(
        self, step: PreparedStep, pairs: PairedSamples, kernels: KernelProfile | str, warm_up_steps: int
    ) -> tuple[Timing, tuple[Unknown, ...]]:
        unknowns: list[Unknown] = []
        profiled = None if isinstance(kernels, str) else kernels
        if isinstance(kernels, str):
            unknowns += [
                Unknown(field=f"timing.{name}", reason=kernels) for name in ("kernel_time_seconds", "kernel_count")
            ]
        events = bool(pairs.arm.device_time_seconds)
        if not events:
            reason = "a CPU has no events on a time line of its own; wall time is the time"
            unknowns += [
                Unknown(field=f"timing.{name}", reason=reason)
                for name in ("device_time_seconds", "reference_device_time_seconds")
            ]
        if self._settings.windows is None:
            unknowns += [
                Unknown(field=f"timing.{name}", reason=_NO_WINDOWS)
                for name in ("window_seconds", "alone_wall_time_seconds", "settled")
            ]
        timing = Timing(
            wall_time_seconds=tuple(pairs.arm.wall_time_seconds),
            device_time_seconds=tuple(pairs.arm.device_time_seconds) if events else None,
            host_time_seconds=tuple(pairs.arm.host_time_seconds),
            reference_wall_time_seconds=tuple(pairs.reference.wall_time_seconds),
            reference_device_time_seconds=tuple(pairs.reference.device_time_seconds) if events else None,
            steps_per_sample=pairs.arm.steps_per_sample,
            reference_steps_per_sample=pairs.reference.steps_per_sample,
            warm_up_steps=warm_up_steps,
            stop_reason=pairs.stop_reason,
            half_width=pairs.half_width,
            kernel_time_seconds=profiled.busy_seconds if profiled else None,
            kernel_count=profiled.kernel_count if profiled else None,
            compile_seconds=step.compile_seconds,
            cold_cache=self._settings.cold_cache,
        )
        return timing, tuple(unknowns)

    def _monitor(self, step: PreparedStep) -> tuple[Monitor | None, tuple[Unknown, ...]]:
        if self._settings.monitor_seconds == 0:
            return None, (Unknown(field="monitor", reason="the monitored window was switched off"),)
        step.reset()
        try:
            window, unknowns = monitor(
                step.run,
                synchronise=self.device.synchronise,
                probes=probes_for(self.device, self._nvml),
                minimum_seconds=self._settings.monitor_seconds,
                origin=self._request.origin_seconds,
            )
        except Exception as exc:  # noqa: BLE001 - the times are taken
            reason = f"the monitored window failed: {fault_sentence(step.workload.spec.layer, exc)}"
            return None, (Unknown(field="monitor", reason=reason),)
        if window.other_process_count and self._request.companions:
            window = replace(window, other_process_count=None)
            reason = "processes that compile for this session were on the device, and others cannot be told from them"
            unknowns = (*unknowns, Unknown(field="monitor.other_process_count", reason=reason))
        return window, unknowns


def _notes(device_kind: str) -> tuple[str, ...]:
    """What of the process explains a time."""
    if device_kind == "cpu" and os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        return ("OpenMP threads sleep while they wait for one another (OMP_WAIT_POLICY=passive)",)
    return ()
