"""The fastest attention kernel for a workload's shape on one GPU, found by timing outside of every sample.

Every kernel that can take the shape computes it once; its output, and in training its gradients, are compared with a
float64 oracle on a short sequence and with torch's own choice at the full shape, and one that is wrong is refused with
its fault. Then it is timed as the step will run it: replayed from a CUDA graph, or called from Python. What was found
holds for the process and is written into the record of every run.

Axes: B batch, T queries, M keys, H heads, K heads of keys and values, d head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.records import Dtype, Execution, Phase, Workload
from pamprof.units import seconds
from pamprof.workloads.attention.backends import BACKENDS, by_torch
from pamprof.workloads.base import KernelNotes
from pamprof.workloads.execution import capture_graph, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pamprof.workloads.attention.backends import Attend, Backend

_SHORT_LENGTH = 37  # odd, so that no tile of a kernel is full
_SHORT_BATCH = 2

# Relative rms error of output and gradients against float64. In bfloat16 an output is rounded once and rests on rounded
# weights: FlashAttention-4 is off by 2e-3 on an H100. A kernel that reads a wrong key is off by far more.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}

_SAMPLE_SECONDS = 0.01
_MOST_CALLS = 50
_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """What decides which kernel is the fastest.

    Attributes:
        batch_size, heads, key_value_heads, head_dim: Sizes.
        queries: Positions that attend; as many as ``keys``, or one.
        keys: Positions attended to.
        dtype: Of queries, keys and values.
        differentiates: Whether the backward pass runs too.
        dropout: Of the attention weights.
        replayed: Whether the step is replayed from a CUDA graph, so that the host's share of a call does not count.
            False in training, where that share is small, and where a backward pass by itself cannot be captured.
    """

    batch_size: int
    heads: int
    key_value_heads: int
    head_dim: int
    queries: int
    keys: int
    dtype: torch.dtype
    differentiates: bool
    dropout: float
    replayed: bool

    @classmethod
    def of(cls, workload: Workload) -> AttentionShape:
        """The shape of one layer's attention in ``workload``."""
        spec, decodes, trains = workload.spec, workload.phase is Phase.DECODE, workload.phase is Phase.TRAIN
        return cls(
            batch_size=workload.batch_size,
            heads=spec.heads,
            key_value_heads=spec.heads if spec.key_value_heads is None else spec.key_value_heads,
            head_dim=spec.head_dim,
            queries=1 if decodes else workload.sequence_length,
            keys=workload.sequence_length + decodes,
            dtype=torch.bfloat16 if workload.dtype is Dtype.BFLOAT16 else torch.float32,
            differentiates=trains,
            dropout=spec.dropout if trains else 0.0,
            replayed=not trains and workload.execution in (Execution.GRAPH, Execution.COMPILED_GRAPH),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTrial:
    """One kernel: the seconds of a call, forward and in training backward, or the fault that rules it out."""

    name: str
    seconds: float | None
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionChoice:
    """What was found for a shape; ``name`` is None where no kernel could be told from torch's own choice."""

    shape: AttentionShape
    name: str | None
    trials: tuple[AttentionTrial, ...]

    @property
    def attend(self) -> Attend:
        """The chosen kernel."""
        return by_torch if self.name is None else BACKENDS[self.name].attend

    def notes(self) -> KernelNotes:
        """Candidates with their times, the fastest first, and those refused with their faults."""
        timed = sorted((t for t in self.trials if t.seconds is not None), key=lambda t: t.seconds or 0.0)
        refused: dict[str, list[str]] = {}
        for trial in self.trials:
            if trial.fault is not None:
                refused.setdefault(trial.fault, []).append(BACKENDS[trial.name].title)
        listed = [f"{BACKENDS[trial.name].title} {seconds(trial.seconds or 0.0)}" for trial in timed]
        what = "forward and backward" if self.shape.differentiates else "forward"
        how = "replayed" if self.shape.replayed else "called from Python"
        others = f", before {', '.join(listed[1:])}" if len(listed) > 1 else ", the only one that can"
        chosen = f"attention: {listed[0]} for one layer, {what}, {how}{others}" if listed else ""
        return KernelNotes(
            configurations=(chosen,) if chosen else ("attention: torch's own choice, no kernel could be timed",),
            refused=tuple(f"attention: {', '.join(names)}: {fault}" for fault, names in refused.items()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """Random tensors of a shape, as strided as a block's own, and what an attention kernel makes of them."""

    query: Tensor
    key: Tensor
    value: Tensor
    gradient: Tensor
    shape: AttentionShape

    def run(self, attend: Attend, *, dropout: float | None = None) -> tuple[Tensor, ...]:
        """The output, and in training the gradients of queries, keys and values."""
        causal = self.shape.queries > 1
        used = self.shape.dropout if dropout is None else dropout
        # New leaves: autograd would wait for the stream on which it first saw one.
        query, key, value = parts = tuple(
            part.detach().requires_grad_(self.shape.differentiates) for part in (self.query, self.key, self.value)
        )
        with torch.set_grad_enabled(self.shape.differentiates):
            output = attend(query, key, value, causal, used)
        if not self.shape.differentiates:
            return (output,)
        return (output, *torch.autograd.grad(output, parts, self.gradient))


_choices: dict[tuple[AttentionShape, str], AttentionChoice] = {}


def attention_choice(workload: Workload, device: torch.device, cache: Tensor | None = None) -> AttentionChoice | None:
    """The fastest kernel for ``workload`` on ``device``, timed on first use; None where there is no choice, on a CPU.

    Args:
        workload: Of a layer with attention.
        device: Where it runs.
        cache: A block's keys and values [2, B, K, M, d], to be attended to while decode is timed, instead of others.
    """
    if device.type != "cuda":
        return None
    shape = AttentionShape.of(workload)
    place = (shape, str(device))
    if place not in _choices:
        _choices[place] = choose(shape, device, cache=cache)
        torch.cuda.empty_cache()
    return _choices[place]


def choose(
    shape: AttentionShape,
    device: torch.device,
    *,
    backends: Mapping[str, Backend] = BACKENDS,
    seconds_of: Callable[[Callable[[], Tensor], bool], float] | None = None,
    cache: Tensor | None = None,
) -> AttentionChoice:
    """Try every one of ``backends`` and take the fastest.

    Args:
        shape: Of the calls.
        device: Where they run.
        backends: Candidates by name.
        seconds_of: Times one call, given whether it is replayed; by default the device and the clock do.
        cache: As in ``attention_choice``.
    """
    timer = call_seconds if seconds_of is None else seconds_of
    full = _random_call(shape, device, cache)
    short = _random_call(_short(shape), device, None)
    expected_short = tuple(part.float() for part in _exact(short))
    expected_full = _default(full)
    trials = []
    for name, backend in backends.items():
        fault = _fault(backend, full, short, expected_short, expected_full)
        taken = None
        if fault is None:
            try:
                taken = timer(lambda backend=backend: full.run(backend.attend)[-1], shape.replayed)  # type: ignore[misc]
            except Exception as exc:  # noqa: BLE001 - a kernel may raise anything; the others must still be tried
                fault = first_line(exc)
        trials.append(AttentionTrial(name=name, seconds=taken, fault=fault))
    timed = [trial for trial in trials if trial.seconds is not None]
    fastest = min(timed, key=lambda trial: trial.seconds or 0.0, default=None)
    return AttentionChoice(shape=shape, name=None if fastest is None else fastest.name, trials=tuple(trials))


def _fault(
    backend: Backend,
    full: _Call,
    short: _Call,
    expected_short: tuple[Tensor, ...],
    expected_full: tuple[Tensor, ...] | None,
) -> str | None:
    """Why ``backend`` must not be used; None where it computes what it should."""
    try:
        causal = full.shape.queries > 1
        reason = backend.unusable_reason(full.query, full.key, full.value, causal, full.shape.dropout)
        if reason is not None:
            return reason
        tolerance = _TOLERANCE[full.shape.dtype]
        cases = [("a float64 oracle", short, expected_short, tolerance)]
        if expected_full is not None:  # both sides of this one are rounded
            cases.append(("torch's own choice", full, expected_full, 2 * tolerance))
        for what, call, expected, allowed in cases:
            found = _results(call, backend)
            error = max(_error(result, wanted) for result, wanted in zip(found, expected, strict=True))
            if not error <= allowed:
                how = ", replayed from a graph," if _is_replayed(call) else ""
                return f"differs{how} from {what} by {error:.1e} relative"
    except Exception as exc:  # noqa: BLE001 - a kernel may raise anything; the others must still be tried
        return first_line(exc)
    return None


def _results(call: _Call, backend: Backend) -> tuple[Tensor, ...]:
    """What ``backend`` makes of ``call``, run as the step will run it: from a graph where that is replayed."""

    def run() -> tuple[Tensor, ...]:
        return call.run(backend.attend, dropout=0.0)

    return capture_graph(run)() if _is_replayed(call) else run()


def _is_replayed(call: _Call) -> bool:
    return call.shape.replayed and call.query.is_cuda


def _default(call: _Call) -> tuple[Tensor, ...] | None:
    """What torch's own choice makes of ``call``; None where it cannot, such as where memory ends."""
    try:
        return call.run(by_torch, dropout=0.0)
    except RuntimeError:  # out of memory included
        return None


def _short(shape: AttentionShape) -> AttentionShape:
    queries = 1 if shape.queries == 1 else _SHORT_LENGTH
    return replace(shape, batch_size=_SHORT_BATCH, queries=queries, keys=_SHORT_LENGTH, dropout=0.0)


def _random_call(shape: AttentionShape, device: torch.device, cache: Tensor | None) -> _Call:
    generator = torch.Generator(device=device).manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device, dtype=shape.dtype)

    batch, heads, groups, head_dim = shape.batch_size, shape.heads, shape.key_value_heads, shape.head_dim
    if shape.queries == shape.keys and shape.keys > 1:
        joint = random(batch, shape.keys, heads + 2 * groups, head_dim)
        parts = torch.split(joint, [heads, groups, groups], 2)
        query, key, value = (part.transpose(1, 2).detach() for part in parts)
    else:
        query = random(batch, shape.queries, heads, head_dim).transpose(1, 2)
        held = random(2, batch, groups, shape.keys, head_dim) if cache is None else cache
        key, value = held[:, :, :, : shape.keys]
    gradient = random(batch, shape.queries, heads, head_dim).transpose(1, 2)
    return _Call(query=query, key=key, value=value, gradient=gradient, shape=shape)


def _exact(call: _Call) -> tuple[Tensor, ...]:
    """Attention by its definition in float64, one product over all pairs."""
    query, key, value = (
        part.detach().double().requires_grad_(call.shape.differentiates) for part in (call.query, call.key, call.value)
    )
    shared = call.shape.heads // call.shape.key_value_heads
    wide_key, wide_value = (part.repeat_interleave(shared, 1) for part in (key, value))
    scores = torch.einsum("bhtd,bhsd->bhts", query, wide_key) / sqrt(call.shape.head_dim)
    if call.shape.queries > 1:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    output = torch.einsum("bhts,bhsd->bhtd", scores.softmax(-1), wide_value)
    if not call.shape.differentiates:
        return (output,)
    return (output, *torch.autograd.grad(output, (query, key, value), call.gradient.double()))


def _error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of ``expected``."""
    difference = found.detach().float() - expected.detach().float()
    return float(difference.norm() / expected.detach().float().norm())


def call_seconds(call: Callable[[], Tensor], replayed: bool) -> float:
    """Least seconds of one call out of a few samples, each of as many calls as fill one; inputs as warm as they are.

    Args:
        call: Runs on the current CUDA device.
        replayed: Whether from a CUDA graph of the calls, or from Python.
    """
    call()
    rough = _elapsed(call, 1)
    calls = max(1, min(_MOST_CALLS, int(_SAMPLE_SECONDS / max(rough, 1e-9))))
    if not replayed:
        return min(_elapsed(call, calls) for _ in range(_SAMPLES))

    def several() -> Tensor:
        for _ in range(calls - 1):
            call()
        return call()

    replay = capture_graph(several)
    replay()
    return min(_elapsed(replay, 1) for _ in range(_SAMPLES)) / calls


def _elapsed(call: Callable[[], object], calls: int) -> float:
    """Seconds of one of ``calls``, from the first launch until the device is done."""
    torch.cuda.synchronize()
    begin = perf_counter()
    for _ in range(calls):
        call()
    torch.cuda.synchronize()
    return (perf_counter() - begin) / calls
