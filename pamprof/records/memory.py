"""What a step keeps in memory at its peak, and what the peak is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak tensor storage of one step and what it is made of, in bytes. ``peak`` is measured, the parts are summed.

    Attributes:
        peak_bytes: Highest live tensor storage during a step, this arm alone; None where it could not be followed.
        parameter_bytes: Parameters and buffers, casts kept for inference included.
        gradient_bytes: Gradients alive at the peak (train), or after a step where the peak is not known; 0 where the
            peak is before the backward pass.
        optimizer_bytes: Optimizer state (train).
        saved_activation_bytes: Storage autograd holds for the backward pass at the peak (train).
        state_bytes: Recurrent state or KV cache (prefill, decode), and tensors that steps leave in a list, dictionary
            or deque of the model.
        state_kind: ``state`` or ``kv-cache``; None in training.
        input_bytes: Inputs and outputs the step keeps.
        reserved_bytes: What the caching allocator holds (CUDA).
        device_used_bytes: Device memory in use by NVML, context and workspaces included.
        process_peak_bytes: Highest resident set of the worker process (VmHWM) since the point began.
        short_lived_bytes: Tensors alive at the peak that are none of the above, such as intermediate results; None
            where no operator returns them, and in records made before they were counted separately.
        workspace_bytes: What libraries keep from torch's allocator between steps (CUDA).
    """

    peak_bytes: int | None
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved_activation_bytes: int | None
    state_bytes: int
    state_kind: str | None
    input_bytes: int
    reserved_bytes: int | None
    device_used_bytes: int | None
    process_peak_bytes: int | None
    short_lived_bytes: int | None = None
    workspace_bytes: int | None = None

    @property
    def accounted_bytes(self) -> int:
        """Sum of the known parts."""
        return (
            self.parameter_bytes
            + self.gradient_bytes
            + self.optimizer_bytes
            + (self.saved_activation_bytes or 0)
            + self.state_bytes
            + self.input_bytes
        )

    @property
    def transient_bytes(self) -> int | None:
        """The rest of the peak: short-lived tensors, workspaces, and what is unaccounted for."""
        return None if self.peak_bytes is None else self.peak_bytes - self.accounted_bytes

    @property
    def unaccounted_bytes(self) -> int | None:
        """Bytes allocated beyond every part; None where short-lived tensors were not counted separately."""
        if self.transient_bytes is None or self.short_lived_bytes is None:
            return None
        return self.transient_bytes - self.short_lived_bytes - (self.workspace_bytes or 0)
