"""What an arm was given, in words: attention kernel, width of the logits; and the objection to hand-written kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Execution, ImplementationKind, Phase
from pamprof.render.text import PHASE_NAMES, brackets, listed, point_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Point, Run
    from pamprof.render.comparison.inputs import ReportInputs

NOT_RECORDED = "not recorded"
_EQUAL_WEIGHTS = 0.01
_COMPILED = {Execution.COMPILED, Execution.COMPILED_GRAPH}
# Parts of torch's operator names, the longer ones first.
_KERNELS = (
    ("cudnn", "cuDNN"),
    ("flash_attention_4", "FlashAttention-4"),
    ("flash_attention_3", "FlashAttention-3"),
    ("flash_attention_2", "FlashAttention-2"),
    ("flex", "flex decoding"),
    ("flash_attention_for_cpu", "flash on CPU"),
    ("flash", "flash"),
    ("efficient", "memory-efficient"),
)


def attention(runs: Iterable[Run]) -> str:
    """The kernel by name, or names by phase where they differ: ``cuDNN (training), flash (decode)``."""
    phases: dict[str, list[str]] = {}
    for run in runs:
        operators = run.flops.attention_operators
        if operators is not None:
            for name in dict.fromkeys(_kernel_name(operator) for operator in operators) or ("none",):
                phases.setdefault(name, []).append(PHASE_NAMES[run.workload.phase].lower())
    if len(phases) <= 1:
        return next(iter(phases), NOT_RECORDED)
    return ", ".join(f"{name} ({', '.join(dict.fromkeys(where))})" for name, where in phases.items())


def _kernel_name(operator: str) -> str:
    return next((name for part, name in _KERNELS if part in operator), operator)


def logits_columns(runs: Iterable[Run]) -> str:
    """``50304, 47 of them padding``."""
    widths = dict.fromkeys(
        (run.logits_width, run.logits_width - run.workload.spec.vocabulary_size)
        for run in runs
        if run.logits_width is not None
    )
    words = (f"{width}, {f'{padding} of them padding' if padding else 'not padded'}" for width, padding in widths)
    return "; ".join(words) or NOT_RECORDED


def logits_policy(runs: Iterable[Run]) -> str:
    """Of which positions logits are made, for the phases that were measured."""
    phases = {run.workload.phase for run in runs}
    last = tuple(PHASE_NAMES[phase].lower() for phase in (Phase.PREFILL, Phase.DECODE) if phase in phases)
    parts = ["training of every position"] if Phase.TRAIN in phases else []
    parts += [f"{listed(last)} of the last one alone"] if last else []
    return f"Logits are made, on every arm, in {', in '.join(parts)}." if parts else ""


def learned_positions(inputs: ReportInputs) -> str:
    """The parameters of every arm that learns positions, for each length of its table; empty without such an arm.

    A table grows with the sequences measured, beyond the one that sizes were matched with.
    """
    counts: dict[str, dict[int, int]] = {}
    for run in inputs.records.runs:
        if run.position_parameter_count:
            spec = run.workload.spec
            rows = run.position_parameter_count // spec.model_dim
            more = max(0, rows - spec.maximum_sequence_length) * spec.model_dim
            counts.setdefault(inputs.arm(run.workload).label, {})[rows] = run.parameter_count + more

    def by_length(totals: Mapping[int, int]) -> str:
        return listed(tuple(f"{_whole(total)} with {_whole(rows)} positions" for rows, total in sorted(totals.items())))

    arms = tuple(f"{arm} {by_length(totals)}" for arm, totals in counts.items())
    if not arms:
        return ""
    return f" Arms that learn positions have more parameters where sequences are longer: {'; '.join(arms)}."


def _whole(number: int) -> str:
    return f"{number:,}".replace(",", "\u2009")


def inference_weights(inputs: ReportInputs, runs: Iterable[Run]) -> str:
    """Bytes that prefill and decode keep of the weights, by length where it matters, against the session's reference.

    ``191 MiB; 209 MiB (+9.1 %) at 16k``: what is in memory, casts, padding and fused copies included.
    """
    reference = _reference_weights(inputs)
    found: dict[str, list[int]] = {}
    for run in _inferring(inputs, runs):
        base = reference.get(run.workload.point)
        share = "" if base is None else against(run.memory.parameter_bytes, base)
        length = run.workload.sequence_length
        found.setdefault(f"{units.binary_bytes(run.memory.parameter_bytes)}{share}", []).append(length)
    if len(found) <= 1:
        return next(iter(found), units.UNKNOWN)
    return "; ".join(
        f"{text} at {listed(tuple(dict.fromkeys(units.tokens(length) for length in lengths)))}"
        for text, lengths in found.items()
    )


def unequal_weights(inputs: ReportInputs) -> str | None:
    """The objection that arms of equal size keep unequal weights; None where all are within 1 % of the reference."""
    reference = _reference_weights(inputs)
    differ: dict[str, str] = {}
    for run in _inferring(inputs, inputs.records.runs):
        base = reference.get(run.workload.point)
        if base is not None and abs(run.memory.parameter_bytes / base - 1) > _EQUAL_WEIGHTS:
            differ.setdefault(inputs.arm(run.workload).label, against(run.memory.parameter_bytes, base).strip())
    if not differ:
        return None
    words = listed(tuple(f"{label} {share}" for label, share in differ.items()))
    title = inputs.story.names.title(inputs.story.roles.reference)
    return (
        f"Weights kept for inference, which decode reads at every token, are not those of the {title} though sizes "
        f"were matched: {words}, at the shortest length where they differ."
    )


def _inferring(inputs: ReportInputs, runs: Iterable[Run]) -> list[Run]:
    """Those of prefill and decode in the report's dtype, in order of length."""
    points = {point.point for point in inputs.story.points if point.point.phase is not Phase.TRAIN}
    found = [run for run in runs if run.workload.point in points]
    return sorted(found, key=lambda run: run.workload.sequence_length)


def _reference_weights(inputs: ReportInputs) -> dict[Point, int]:
    """Bytes of the session's own reference at each point."""
    layer = inputs.story.roles.reference
    runs = (run for run in _inferring(inputs, inputs.records.runs) if run.workload.spec.layer == layer)
    return {run.workload.point: run.memory.parameter_bytes for run in runs}


def against(value: float, base: float) -> str:
    """`` (+3.1 %)`` beside a value that differs from its base; empty where it does not, or the base is 0."""
    return (
        "" if value == base or not base else f" ({'+' if value > base else '−'}{units.percent(abs(value / base - 1))})"
    )


def hand_written(inputs: ReportInputs) -> str | None:
    """The objection to hand-written kernels, with what they and plain torch cost; None without such an arm.

    It is quoted where they win most by it: decode at batch 1 and the shortest context, or the first point they have.
    """
    points = [p for p in inputs.story.points if _fastest(inputs, p, ImplementationKind.KERNELS) is not None]
    if not points or any(_kind(inputs, p.baseline) is ImplementationKind.KERNELS for p in points):
        return None
    decode = [p for p in points if p.point.phase is Phase.DECODE]
    point = min(decode, key=lambda p: (p.point.batch_size, p.point.sequence_length)) if decode else points[0]
    kernels, plain = (_fastest(inputs, point, k) for k in (ImplementationKind.KERNELS, ImplementationKind.PLAIN))
    assert kernels is not None
    baseline = point.baseline
    attention_kernel = attention([baseline.run])
    # Kernels are timed on a GPU; records from before that have no such line, nor has a CPU.
    timed = [c for c in baseline.run.kernel_configurations or () if c.startswith("attention: ")]
    whose = "torch's own" if not timed or timed[0].startswith("attention: torch's own") else "chosen by timing"
    given = "" if attention_kernel in {NOT_RECORDED, "none"} else f", its attention {whose} ({attention_kernel})"
    compiled = baseline.workload.execution in _COMPILED
    how = "compiled by torch" if compiled else "run by torch"
    sentence = (
        f"{inputs.arm(kernels.workload).label} runs kernels hand-written for this model; "
        f"{inputs.full_label(baseline.workload)} is {how}{given}. "
    )
    if point.point.phase is Phase.DECODE and point.point.batch_size == 1:
        sentence += "It has no hand-written decode step, and at batch 1 that matters most: "
    else:
        sentence += "It has no hand-written step: "
    costs = [f"at {point_label(point.point)} {inputs.arm(kernels.workload).label} costs {_cost(point, kernels)}"]
    if plain is not None:
        equal = compiled and plain.workload.execution in _COMPILED
        same = "left to the same compiler" if equal else "without such kernels"
        costs.append(f"{inputs.full_label(plain.workload)}, {same}, costs {_cost(point, plain)}")
        return f"{sentence}{', '.join(costs)}. For equal care compare the latter."
    return f"{sentence}{costs[0]}."


def _cost(point: PointAnalysis, summary: Summary) -> str:
    comparison = point.comparison_of(summary.workload)
    return (
        "1×" if comparison is None else f"{units.ratio(comparison.time_ratio.median)} {brackets(comparison.time_ratio)}"
    )


def _fastest(inputs: ReportInputs, point: PointAnalysis, kind: ImplementationKind) -> Summary | None:
    """The subject's fastest arm of one kind."""
    found = [
        summary
        for summary in inputs.story.best_arms(point)
        if summary.workload.spec.layer == inputs.story.roles.subject and _kind(inputs, summary) is kind
    ]
    return min(found, key=lambda summary: summary.step_seconds.median, default=None)


def _kind(inputs: ReportInputs, summary: Summary) -> ImplementationKind:
    return inputs.story.roles.kind(summary.workload)
