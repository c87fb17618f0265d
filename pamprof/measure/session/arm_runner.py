"""Everything measured about one arm, in order; the worker decides which arms.

The order matters: kernels are chosen while the step is built, the gate checks them before any time is taken, FLOPs on
the plain step before the compiler hides its operators, memory while the arm is the newest thing on the device, and the
monitored window last, alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.errors import PamprofError
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.hardware.probe import unknown
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.machine.ceilings import measure_ceilings
from pamprof.measure.machine.kernels.profile import KernelProfile, profile_kernels
from pamprof.measure.machine.kernels.step import profile_compiled, profile_operators
from pamprof.measure.machine.monitor import monitor, probes_for
from pamprof.measure.machine.sensors import NvmlSensors
from pamprof.measure.machine.step_trace import trace_file, trace_step
from pamprof.measure.memory.breakdown import (
    decompose,
    forget_process_peak,
    memory_unknowns,
    parts_without_peak,
)
from pamprof.measure.session.claims import (
    checked_parameter_count,
    claimed_matrix_flop_count,
    flop_refusal,
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
    Execution,
    FlopCount,
    Gate,
    GraphBreaks,
    Memory,
    Monitor,
    OperatorCount,
    Phase,
    RefusedClaim,
    Run,
    StepKernels,
    StepTrace,
    Timing,
    Unknown,
    Workload,
)
from pamprof.units import binary_bytes, seconds
from pamprof.workloads.base import ChoosesKernels
from pamprof.workloads.checkpoints.weights import know_checkpoints
from pamprof.workloads.execution import compiler_counts, first_graph_break, graph_break_reason_count
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep, check_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.session.wire import GroupRequest
    from pamprof.workloads.base import SequenceModel

# Relative rms error against the float64 oracle; above it an implementation is wrong, not imprecise.
_GATE_TOLERANCE = {Dtype.FLOAT32: 1e-5, Dtype.BFLOAT16: 2e-2}

# Of a point begun before its deadline: its fewest samples are taken, however late it is.
_SHORTEST_SAMPLING_SECONDS = 0.05

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)

# Of a step whose tensors could not be followed.
_FOLLOWED = tuple(f"memory.{name}" for name in ("peak_bytes", "short_lived_bytes", "saved_activation_bytes"))

_NO_WINDOWS = "single steps or short runs of them were sampled, not windows of back-to-back steps"
_NOT_PROFILED = "a quick comparison records the kernels of the best arms and the reference; raise --effort"
_NO_KERNELS_IN_SWEEP = "a sweep records no kernels; pamprof compare does"
_NOT_WATCHED = "a sweep watches the energy of one sequence and of the batch that ends each context alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """An inference model that serves several points, and what the allocator held before it was built."""

    model: SequenceModel
    allocated_before_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyArm:
    """An arm that is warm: the one measured, or the one kept alive as the reference of its group.

    Attributes:
        step: Built, compiled and captured.
        steps_per_sample: That fill a sample.
        step_seconds: About how long one takes.
    """

    step: PreparedStep
    steps_per_sample: int
    step_seconds: float


class ArmRunner:
    """Measures arms on one device, for one group after another."""

    def __init__(self, request: GroupRequest) -> None:
        self.begin(request)
        self.device = open_device(request.device)
        self._nvml = open_nvml(self.device.uuid)
        self._environment, self._environment_unknowns = read_environment(self.device, self._nvml)
        self._gates: dict[tuple[str, ...], Gate] = {}
        self._flops: dict[str, tuple[FlopCount, RefusedClaim | None]] = {}
        self._breaks: dict[tuple[str, str, Phase], GraphBreaks] = {}

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
        gate = self._check(workload)
        flops, flop_claim = self._count(workload, step)
        known_breaks = compiler_counts()
        known_reasons = graph_break_reason_count()
        step.compile()
        memory, unknowns = self._memory(step, before)
        step.capture()
        step.reset()
        warm_up_steps, ready = self._warm(step)
        graph_breaks = self._graph_breaks(workload, known_breaks, known_reasons)
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
            kernels, trace, trace_unknowns = self._profile(ready, watched=watched)
            used = self._step_kernels(ready, in_sweep=watch is not None, is_reference=reference is None)
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
                self._monitor(step) if watched else (None, (Unknown(field="monitor", reason=_NOT_WATCHED),))
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
        self._check(workload)
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

    def _check(self, workload: Workload) -> Gate:
        """The gate of an implementation, once per worker.

        The oracle sees the block with dropout off; dropout is a random mask that no oracle can share.
        """
        dtype = workload.dtype if workload.spec.state_dtype is None else workload.spec.state_dtype
        key: tuple[str, ...] = (workload.spec.layer, workload.implementation, workload.phase, workload.dtype, dtype)
        layer = definition(workload.spec.layer)
        if isinstance(layer, ChoosesKernels) and self.device.kind != "cpu":
            key = (*key, workload.key)
        if key not in self._gates:
            if isinstance(layer, ChoosesKernels):
                error, oracle = layer.chosen_oracle_error(workload, self.device.torch_device, self._settings.seed)
            else:
                error, oracle = layer.oracle_error(
                    workload.spec,
                    implementation=workload.implementation,
                    phase=workload.phase,
                    device=self.device.torch_device,
                    dtype=workload.dtype,
                    seed=self._settings.seed,
                )
            self._gates[key] = Gate(relative_error=error, tolerance=_gate_tolerance(workload), oracle=oracle)
        gate = self._gates[key]
        if not gate.relative_error <= gate.tolerance:
            raise PamprofError(
                f"{workload.spec.layer} {workload.implementation} differs from {gate.oracle} by "
                f"{gate.relative_error:.1e} relative, more than {gate.tolerance:.0e}; a wrong result is not timed"
            )
        return gate

    def _count(self, workload: Workload, step: PreparedStep) -> tuple[FlopCount, RefusedClaim | None]:
        """FLOPs of the plain step, once per worker: how a step is executed does not change what it computes."""
        key = replace(workload, execution=Execution.EAGER).key
        if key not in self._flops:
            claimed = claimed_matrix_flop_count(workload, definition(workload.spec.layer))
            step.reset()
            formula = claimed if isinstance(claimed, int) else None
            try:
                flops = count_flops(step.eager, closed_form_matrix_flop_count=formula)
            except Exception as exc:
                if self.device.is_out_of_memory(exc):
                    raise
                # What the counter cannot follow costs the count, not the times.
                flops = FlopCount(
                    matrix_flop_count=0,
                    matrix_dense_flop_count=0,
                    elementwise_flop_count=0,
                    closed_form_matrix_flop_count=formula,
                    operator_count=0,
                    uncounted_operators=(OperatorCount(operator=fault_sentence(workload.spec.layer, exc), count=1),),
                    complete=False,
                )
            self._flops[key] = flops, flop_refusal(claimed, flops)
        return self._flops[key]

    def _graph_breaks(self, workload: Workload, known: tuple[int, int], known_reasons: int) -> GraphBreaks | None:
        """Those that compiling this arm met; where all its code was compiled before, those that were met then."""
        if workload.execution not in _COMPILED:
            return None
        frames, breaks = (now - before for now, before in zip(compiler_counts(), known, strict=True))
        key = (workload.spec.layer, workload.implementation, workload.phase)
        if frames:
            reason = first_graph_break(known_reasons) if breaks else None
            self._breaks[key] = GraphBreaks(count=breaks, first_reason=reason)
        return self._breaks.get(key)

    def _memory(self, step: PreparedStep, before: int) -> tuple[Memory, tuple[Unknown, ...]]:
        """Memory of the plain or compiled step: a replay allocates nothing, its pool was filled by the same step."""
        step.reset()
        check_output(step)  # optimizer state and workspaces are made by the first step
        used = self._nvml.memory_used_bytes()
        if self._request.companions:
            used = unknown("processes that compiled for arms to come held memory on the device")
        device = self.device.torch_device
        try:
            memory = decompose(
                step.eager,
                device=device,
                module=step.module,
                optimizer=step.optimizer,
                state=step.state,
                inputs=step.kept_tensors,
                allocated_before_bytes=before,
                device_used_bytes=used.value,
                compiled=step.workload.execution in _COMPILED,
            )
        except Exception as exc:  # a tracker that a layer's own code does not go with costs the memory alone
            if self.device.is_out_of_memory(exc):
                raise
            reason = f"could not be followed: {fault_sentence(step.workload.spec.layer, exc)}"
            memory = parts_without_peak(
                module=step.module,
                optimizer=step.optimizer,
                state=step.state,
                inputs=step.kept_tensors,
                device_used_bytes=used.value,
            )
            unknowns = memory_unknowns(memory, device, device_used_reason=used.reason or "")
            return memory, tuple(replace(each, reason=reason) if each.field in _FOLLOWED else each for each in unknowns)
        return memory, memory_unknowns(memory, device, device_used_reason=used.reason or "")

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

    def _profile(
        self, arm: ReadyArm, *, watched: bool
    ) -> tuple[KernelProfile | str, StepTrace | None, tuple[Unknown, ...]]:
        """The kernels of one step and its trace, of the same step where both are wanted; a trace costs itself alone."""
        folder, file = Path(self._request.folder), trace_file(arm.step.workload)
        unknowns: tuple[Unknown, ...] = ()
        if self._settings.trace and not (folder / file).exists():
            try:
                kernels, trace = trace_step(arm.step.run, folder, file, on_cuda=self.device.kind == "cuda")
            except Exception as exc:  # noqa: BLE001 - the times are taken
                reason = f"it could not be written: {fault_sentence(arm.step.workload.spec.layer, exc)}"
                unknowns = (Unknown(field="trace", reason=reason),)
            else:
                return self._kernels(arm) if kernels is None else kernels, trace, ()
        return self._kernels(arm) if watched else _NOT_WATCHED, None, unknowns

    def _kernels(self, arm: ReadyArm) -> KernelProfile | str:
        if self.device.kind != "cuda":
            return "a CPU runs its operators itself and has no kernels"
        if too_long := self._too_long(arm):
            return too_long
        try:
            return profile_kernels(arm.step.run)
        except Exception as exc:  # noqa: BLE001 - the times are taken
            return f"the profiled step failed: {fault_sentence(arm.step.workload.spec.layer, exc)}"

    def _too_long(self, arm: ReadyArm) -> str | None:
        longest = self._settings.longest_profiled_step_seconds
        if longest is None or arm.step_seconds <= longest:
            return None
        return f"with this effort no step of more than {seconds(longest)} is profiled; raise --effort"

    def _step_kernels(self, arm: ReadyArm, *, in_sweep: bool, is_reference: bool) -> StepKernels | str:
        """The kernels of one step as data; the reason where there are none."""
        step, deadline = arm.step, self._request.deadline_seconds
        compiled, cuda = step.workload.execution in _COMPILED, self.device.kind == "cuda"
        reasons = {
            _NO_KERNELS_IN_SWEEP: in_sweep,
            _NOT_PROFILED: not (self._settings.kernels or is_reference),
            self._too_long(arm): self._too_long(arm) is not None,
            "the time budget had ended": deadline is not None and perf_counter() > deadline,
            "the profiler does not see the kernels that torch.compile makes for a CPU": compiled and not cuda,
        }
        reason = next((reason for reason, holds in reasons.items() if holds), None)
        if reason is not None:
            return reason
        step.reset()
        try:
            if compiled:
                return profile_compiled(step.eager)
            return profile_operators(step.eager, on_cuda=cuda)
        except Exception as exc:  # noqa: BLE001 - the times are taken
            return f"the profiled step failed: {fault_sentence(step.workload.spec.layer, exc)}"
        finally:
            if step.optimizer is not None and step.run is not step.eager:
                step.optimizer.zero_grad(set_to_none=True)  # a replay has gradients of its own

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


def _gate_tolerance(workload: Workload) -> float:
    """That of the coarser of the two: the precision policy, or the dtype the state is kept in between steps."""
    kept = workload.spec.state_dtype
    return max(_GATE_TOLERANCE[workload.dtype], 0.0 if kept is None else _GATE_TOLERANCE[kept])
