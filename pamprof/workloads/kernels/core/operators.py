"""The core's two directions as operators: what a compiler sees and what is counted, with the shapes of their results.

The configuration is an argument, as plain numbers: what a call does follows from its arguments alone.

Axes: B batch, T time, H heads, K states, d head_dim, R = B · H rows, N chunks.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - operators are declared from their annotations
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor  # noqa: TC002 - as the sequences

from pamprof.workloads.kernels.core.check import ensure_exact
from pamprof.workloads.kernels.core.configuration import Configuration, CoreShape
from pamprof.workloads.kernels.core.inputs import CoreInputs, keeps_states
from pamprof.workloads.kernels.core.launch import launch_backward, launch_forward
from pamprof.workloads.kernels.core.work import (
    backward_byte_count,
    backward_work,
    forward_byte_count,
    forward_work,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator

if TYPE_CHECKING:
    from pamprof.workloads.kernel_flops import OperatorWork


def _fake_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    scale: float,
    wants_final: bool,
    keeps: bool,
    configuration: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    length, dim = q.shape[1], q.shape[-1]
    inputs = _inputs((q, k, v), log_decay, initial_state, coefficients, scale)
    chosen = Configuration.of(configuration)
    final = log_decay.new_empty((*log_decay.shape[:-1], dim, 2 * dim) if wants_final else (0,))
    chunks = -(-length // chosen.chunk)
    stored = keeps and keeps_states(inputs, chosen)
    kept = q.new_empty((inputs.state_rows, chunks, dim, 2 * dim) if stored else (0,))
    return q.new_empty(q.shape), final, kept


def _forward_work(
    q: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    wants_final: bool,
    keeps: bool,
    configuration: Sequence[int],
) -> OperatorWork:
    shape, chosen = _shape(q, coefficients), Configuration.of(configuration)
    moved = forward_byte_count(
        shape, chosen, keeps=keeps, has_initial=initial_state is not None, wants_final=wants_final
    )
    return replace(forward_work(shape, chosen), byte_count=moved)


@kernel_operator("fused_core", fake=_fake_forward, work=_forward_work)
def core_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    scale: float,
    wants_final: bool,
    keeps: bool,
    configuration: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, final state and kept states; what is not wanted is an empty tensor."""
    inputs = _inputs((q, k, v), log_decay, initial_state, coefficients, scale)
    usable = ensure_exact(inputs, Configuration.of(configuration), wants_final=wants_final, keeps=keeps)
    output, final, kept = launch_forward(inputs, usable, wants_final=wants_final, keeps=keeps)
    return output, log_decay.new_empty(0) if final is None else final, q.new_empty(0) if kept is None else kept


def _fake_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    kept: Tensor,
    output_gradient: Tensor,
    final_gradient: Tensor | None,
    scale: float,
    wants_initial: bool,
    configuration: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    del k, v, initial_state, kept, output_gradient, final_gradient, scale, configuration
    batch_size, length, _, heads, dim = q.shape
    initial = log_decay.new_empty((*log_decay.shape[:-1], dim, 2 * dim) if wants_initial else (0,))
    decay_shape = log_decay.shape if coefficients is None else (2, *log_decay.shape)
    return q.new_empty((batch_size, length, 2, 3, heads, dim)), log_decay.new_empty(decay_shape), initial


def _backward_work(
    q: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    final_gradient: Tensor | None,
    wants_initial: bool,
    configuration: Sequence[int],
) -> OperatorWork:
    shape, chosen = _shape(q, coefficients), Configuration.of(configuration)
    work = backward_work(
        shape,
        chosen,
        has_initial=initial_state is not None,
        wants_initial=wants_initial,
        has_final=final_gradient is not None,
    )
    return replace(work, byte_count=backward_byte_count(shape, chosen))


@kernel_operator("fused_core_backward", fake=_fake_backward, work=_backward_work)
def core_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    kept: Tensor,
    output_gradient: Tensor,
    final_gradient: Tensor | None,
    scale: float,
    wants_initial: bool,
    configuration: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values together, of log decay and of the initial state (empty if not wanted).

    Of several states the second is [2, B, H, K, T], of log decays and of the phases of the coefficients.
    """
    inputs = _inputs((q, k, v), log_decay, initial_state, coefficients, scale)
    wanted = Configuration.of(configuration)
    usable = ensure_exact(inputs, wanted, wants_final=final_gradient is not None, keeps=True)
    gradient, decay_gradient, initial_gradient = launch_backward(
        inputs,
        usable,
        kept if keeps_states(inputs, usable) else None,
        output_gradient,
        final_gradient,
        wants_initial=wants_initial,
    )
    return gradient, decay_gradient, log_decay.new_empty(0) if initial_gradient is None else initial_gradient


def _inputs(
    parts: tuple[Tensor, Tensor, Tensor],
    log_decay: Tensor,
    initial_state: Tensor | None,
    coefficients: Tensor | None,
    scale: float,
) -> CoreInputs:
    q, k, v = parts
    return CoreInputs(
        queries=q,
        keys=k,
        values=v,
        log_decay=log_decay,
        initial_state=initial_state,
        scale=scale,
        coefficients=coefficients,
    )


def _shape(q: Tensor, coefficients: Tensor | None) -> CoreShape:
    batch_size, length, _, heads, head_dim = q.shape
    return CoreShape(
        batch_size=batch_size,
        length=length,
        heads=heads,
        head_dim=head_dim,
        dtype=q.dtype,
        states=1 if coefficients is None else coefficients.shape[3],
    )
