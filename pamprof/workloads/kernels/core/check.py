"""No configuration is used unchecked: each is compared with the float64 oracle before its first use in a process.

Triton has miscompiled some tile shapes on Hopper GPUs, silently. The comparison runs the very kernels that the call
would, on the smallest sequence that takes the same branches, forward and backward, with decays of exactly 0 and 1.

Axes: B batch, T time, H heads, K states, d head_dim.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import triton
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pamprof.errors import UnsupportedError
from pamprof.workloads.kernels.core.configuration import WHOLE, Configuration
from pamprof.workloads.kernels.core.inputs import CoreInputs
from pamprof.workloads.kernels.core.launch import launch_backward, launch_forward
from pamprof.workloads.layers.pam.recurrence import chunked_pam

if TYPE_CHECKING:
    from collections.abc import Iterator

_ORACLE_CHUNK = 128
_OF_GATES = ("log_decay gradient", "phase gradient")
_SHORTER_BY = 5  # tokens that the last chunk lacks

# Relative rms error allowed: of outputs, states and gradients of q, k and v; and of the gradients of decay and phases.
# In 16 bits an output is rounded once and rests on two rounded operands.
TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    torch.float32: (1e-5, 1e-5),
    torch.float16: (1e-3, 2e-3),
    torch.bfloat16: (3e-3, 1e-2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one comparison.

    Attributes:
        configuration: The one compared.
        errors: Name and relative rms error of every result; empty where the kernels could not be built or launched.
        fault: Why the configuration must not be used; None where it is exact.
    """

    configuration: Configuration
    errors: tuple[tuple[str, float], ...]
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What decides which compiled kernels a call runs."""

    configuration: Configuration
    chunks: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device
    has_initial: bool
    wants_final: bool
    keeps: bool
    states: int


_exact: dict[_Case, Configuration] = {}
_results: list[CheckResult] = []


def check_results() -> tuple[CheckResult, ...]:
    """Every comparison made in this process, in order."""
    return tuple(_results)


def ensure_exact(inputs: CoreInputs, configuration: Configuration, *, wants_final: bool, keeps: bool) -> Configuration:
    """The configuration, or another that makes the same products, known to be exact on the inputs' device.

    The first call of a kind compares, which waits for the device; later ones look up. On a CPU, where Triton's
    interpreter computes what the source says, nothing is compared.

    Args:
        inputs: Of the call.
        configuration: That it would use.
        wants_final: Whether a final state, or its gradient, takes part.
        keeps: Whether there is a backward.

    Raises:
        UnsupportedError: None is exact, or a CUDA graph is being captured and nothing was compared before.
    """
    device = inputs.queries.device
    if device.type != "cuda":
        return configuration
    case = _case(inputs, configuration, wants_final=wants_final, keeps=keeps)
    known = _exact.get(case)
    if known is not None:
        return known
    if torch.cuda.is_current_stream_capturing():
        raise UnsupportedError(
            f"the core's kernels at length {inputs.sizes[1]} were not yet compared with the oracle and a CUDA graph is "
            "being captured; run the step once before the capture"
        )
    faults = []
    for candidate in substitutes(configuration):
        result = _check_apart(replace(case, configuration=candidate))
        if result.fault is None:
            _exact[case] = candidate
            return candidate
        faults.append(result.fault)
    raise UnsupportedError(
        f"no configuration of the core's kernels is exact on {torch.cuda.get_device_name(device)} for head_dim "
        f"{case.head_dim} in {case.dtype}: {'; '.join(faults)}; measure the planar implementation"
    )


def substitutes(configuration: Configuration) -> Iterator[Configuration]:
    """The configuration, then others that make the same products with other warps and pipelines."""
    yield configuration
    for warps in (4, 8):
        for stages in (2, 3):
            other = replace(
                configuration,
                output_warps=warps,
                output_stages=stages,
                state_warps=warps,
                state_stages=stages,
                gradient_warps=warps,
                gradient_stages=stages,
                output_hopper=0,
            )
            if other != configuration:
                yield other


def check_for(inputs: CoreInputs, configuration: Configuration, *, wants_final: bool, keeps: bool) -> CheckResult:
    """Compare one configuration as a call on ``inputs`` would use it; arguments as ``ensure_exact``."""
    case = _case(inputs, configuration, wants_final=wants_final, keeps=keeps)
    result = _check(case)
    if result.fault is None:
        _exact[case] = configuration
    return result


def _case(inputs: CoreInputs, configuration: Configuration, *, wants_final: bool, keeps: bool) -> _Case:
    """The smallest length of the same kind: one chunk, one segment or several, in both directions."""
    _, length, heads, head_dim = inputs.sizes
    chunks = -(-length // configuration.chunk)
    needed = 3
    for segment in (configuration.segment_chunks, configuration.gradient_segment_chunks):
        if segment != WHOLE and chunks > segment:
            needed = max(needed, 2 * segment + 1)
    return _Case(
        configuration=configuration,
        chunks=min(chunks, needed),
        heads=heads,
        head_dim=head_dim,
        dtype=inputs.queries.dtype,
        device=inputs.queries.device,
        has_initial=inputs.initial_state is not None,
        wants_final=wants_final,
        keeps=keeps,
        states=inputs.states,
    )


def _check_apart(case: _Case) -> CheckResult:
    """Compare in another thread: inside an operator, autograd and dispatch are in a state the oracle cannot use.

    A counter that follows the threads of a step does not follow this one: the comparison is no part of the step.
    """

    def compare() -> CheckResult:
        index = case.device.index
        with _disable_current_modes(), torch.cuda.device(-1 if index is None else index):  # -1 leaves it as it is
            return _check(case)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(compare).result()


def _check(case: _Case) -> CheckResult:
    # Inputs differ from one comparison to the next. Otherwise a kernel that writes nothing could pass with the result
    # that an earlier one left in the same place.
    generator = torch.Generator().manual_seed(len(_results))
    try:
        errors = _errors(case, generator)
        fault = _fault(case, errors)
    except (triton.TritonError, RuntimeError) as exc:
        # Too many registers or too much shared memory, or a pass of the compiler that fails: not usable here.
        errors, fault = (), f"{type(exc).__name__}: {str(exc).strip().splitlines()[0] if str(exc).strip() else ''}"
    result = CheckResult(configuration=case.configuration, errors=errors, fault=fault)
    _results.append(result)
    return result


def _fault(case: _Case, errors: tuple[tuple[str, float], ...]) -> str | None:
    allowed, decay_allowed = TOLERANCES[case.dtype]
    wrong = [
        f"{name} is off by {error:.1e}"
        for name, error in errors
        if not error <= (decay_allowed if name in _OF_GATES else allowed)  # true for NaN as well
    ]
    return ", ".join(wrong) or None


def _errors(case: _Case, generator: torch.Generator) -> tuple[tuple[str, float], ...]:
    length = case.chunks * case.configuration.chunk - _SHORTER_BY
    heads, dim = case.heads, case.head_dim

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def given(tensor: Tensor) -> Tensor:
        return tensor.to(case.device, case.dtype)

    axes = (1, heads) if case.states == 1 else (1, heads, case.states)
    qkv = given(random(1, length, 2, 3, heads, dim))
    log_decay = -0.1 * torch.rand((*axes, length), generator=generator) ** 2
    log_decay[..., length // 2] = -torch.inf
    log_decay[:, 0, ..., 0] = -torch.inf
    log_decay[..., length // 3] = 0.0
    log_decay = log_decay.to(case.device)
    phases = (3 * random(*axes, length)).to(case.device) if case.states > 1 else None
    state = random(*axes, dim, 2 * dim).to(case.device) if case.has_initial else None
    output_gradient = given(random(1, length, 2, heads, dim))
    final_gradient = random(*axes, dim, 2 * dim).to(case.device) if case.wants_final else None

    inputs = CoreInputs(
        queries=qkv[:, :, :, 0],
        keys=qkv[:, :, :, 1],
        values=qkv[:, :, :, 2],
        log_decay=log_decay,
        initial_state=state,
        scale=dim**-0.5,
        coefficients=None if phases is None else torch.stack((phases.cos(), phases.sin())),
    )
    output, final, kept = launch_forward(inputs, case.configuration, wants_final=case.wants_final, keeps=case.keeps)
    exact = _oracle(qkv, log_decay, state, phases, (output_gradient, final_gradient), differentiates=case.keeps)
    found = {"output": output, "final state": final}
    if case.keeps:
        gradient, decay_gradient, initial_gradient = launch_backward(
            inputs, case.configuration, kept, output_gradient, final_gradient, wants_initial=case.has_initial
        )
        found |= dict(zip(("q gradient", "k gradient", "v gradient"), gradient.unbind(3), strict=True))
        found |= {"initial state gradient": initial_gradient}
        names = ("log_decay gradient",) if phases is None else ("log_decay gradient", "phase gradient")
        found |= dict(zip(names, decay_gradient.view(len(names), *axes, length), strict=True))
    return tuple(
        (name, float((tensor.cpu().double() - exact[name]).norm() / exact[name].norm()))
        for name, tensor in found.items()
        if tensor is not None
    )


def _oracle(
    qkv: Tensor,
    log_decay: Tensor,
    state: Tensor | None,
    phases: Tensor | None,
    seeds: tuple[Tensor, Tensor | None],
    *,
    differentiates: bool,
) -> dict[str, Tensor]:
    """The exact results by name, in float64.

    On the CPU: the derivative of a graph on the GPU would wait for the very backward pass this may be called from.
    """
    qkv, log_decay = (tensor.cpu().double().requires_grad_(True) for tensor in (qkv, log_decay))
    output_gradient, final_gradient = seeds
    initial = coefficients = None
    with torch.enable_grad():
        q, k, v = (torch.complex(*part.unbind(2)).transpose(1, 2) for part in qkv.unbind(3))
        if state is not None:
            state = state.cpu().double().requires_grad_(True)
            initial = torch.complex(*state.chunk(2, -1)).mT
        if phases is not None:
            phases = phases.cpu().double().requires_grad_(True)
            coefficients = torch.polar(torch.ones_like(phases), phases)
        complex_output, complex_final = chunked_pam(
            q, k, v, log_decay.exp(), initial, chunk_size=_ORACLE_CHUNK, coefficients=coefficients
        )
        output = torch.view_as_real(complex_output).permute(0, 2, 4, 1, 3)
        final = torch.cat((complex_final.mT.real, complex_final.mT.imag), -1)
    exact = {"output": output.detach(), "final state": final.detach()}
    if differentiates:
        objective = (output * output_gradient.cpu().double()).sum()
        if final_gradient is not None:
            objective = objective + (final * final_gradient.cpu().double()).sum()
        leaves = {"log_decay gradient": log_decay, "initial state gradient": state, "phase gradient": phases}
        given = {name: leaf for name, leaf in leaves.items() if leaf is not None}
        gradient, *rest = torch.autograd.grad(objective, [qkv, *given.values()])
        exact |= dict(zip(("q gradient", "k gradient", "v gradient"), gradient.unbind(3), strict=True))
        exact |= dict(zip(given, rest, strict=True))
    return exact
