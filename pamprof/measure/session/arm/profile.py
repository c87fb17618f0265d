"""The profiled steps of one arm, outside every sample: kernels by name, kernels as data, and the trace."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.measure.machine.kernels.profile import profile_kernels
from pamprof.measure.machine.kernels.step import profile_compiled, profile_operators
from pamprof.measure.machine.step_trace import trace_file, trace_step
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import Execution, Unknown
from pamprof.units import seconds

if TYPE_CHECKING:
    from pamprof.hardware.device import Device
    from pamprof.measure.machine.kernels.profile import KernelProfile
    from pamprof.measure.session.arm.ready import ReadyArm
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import StepKernels, StepTrace

NOT_WATCHED = "a sweep watches the energy of one sequence and of the batch that ends each context alone"
_NOT_PROFILED = "a quick comparison records the kernels of the best arms and the reference; raise --effort"
_NO_KERNELS_IN_SWEEP = "a sweep records no kernels; pamprof compare does"
_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)


class ArmProfile:
    """Profiles arms of one group.

    Args:
        device: Where they run.
        request: Of the group.
    """

    def __init__(self, device: Device, request: GroupRequest) -> None:
        self._device = device
        self._request = request
        self._settings = request.settings

    def profile(
        self, arm: ReadyArm, *, watched: bool
    ) -> tuple[KernelProfile | str, StepTrace | None, tuple[Unknown, ...]]:
        """The kernels of one step and its trace, of the same step where both are wanted; a trace costs itself alone."""
        folder, file = Path(self._request.folder), trace_file(arm.step.workload)
        unknowns: tuple[Unknown, ...] = ()
        if self._settings.trace and not (folder / file).exists():
            try:
                kernels, trace = trace_step(arm.step.run, folder, file, on_cuda=self._device.kind == "cuda")
            except Exception as exc:  # noqa: BLE001 - the times are taken
                reason = f"it could not be written: {fault_sentence(arm.step.workload.spec.layer, exc)}"
                unknowns = (Unknown(field="trace", reason=reason),)
            else:
                return self._launched(arm) if kernels is None else kernels, trace, ()
        return self._launched(arm) if watched else NOT_WATCHED, None, unknowns

    def _launched(self, arm: ReadyArm) -> KernelProfile | str:
        if self._device.kind != "cuda":
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

    def kernels(self, arm: ReadyArm, *, in_sweep: bool, is_reference: bool) -> StepKernels | str:
        """The kernels of one step as data; the reason where there are none."""
        step, deadline = arm.step, self._request.deadline_seconds
        compiled, cuda = step.workload.execution in _COMPILED, self._device.kind == "cuda"
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
