"""Fairness: what is matched, what each arm was given, and what a sceptic would object to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.machines import told_part
from pamprof.records import PRECISION_POLICY, Phase, Scope
from pamprof.render.arms import arm_key, execution_label
from pamprof.render.comparison.model import Fairness
from pamprof.render.comparison.treatment import (
    against,
    attention,
    hand_written,
    inference_weights,
    learned_positions,
    logits_columns,
    logits_policy,
    unequal_weights,
)
from pamprof.render.text import listed, plural

if TYPE_CHECKING:
    from pamprof.records import ArmFacts, Run, Session
    from pamprof.render.comparison.inputs import ReportInputs

# What of a model is somebody else's, by how their module is carried.
_CARRIERS = {
    "mixer": "the given module mixes positions; norms, residual, feed-forward, embedding, head and loss are pamprof's",
    "block": "the given module is a whole block; embedding, final norm, head and loss are pamprof's",
    "model": "the given module is the whole model; the loss is pamprof's",
}
_AXES = {
    "parameters": "the number of real parameters",
    "flops": "forward matrix FLOPs per token",
    "width": "the width of the residual stream",
    "state-bytes": "the bytes of state or KV cache",
}


def fairness(inputs: ReportInputs) -> Fairness:
    """The block, from the session's arms and the runs."""
    session = inputs.session
    return Fairness(
        matched=_matched(inputs, session),
        size_headings=(
            "Arm",
            "Parameters",
            "FLOP/token, forward",
            "State or cache",
            "Width",
            "Heads",
            "Depth",
            "Inner width",
        ),
        sizes=_sizes(session) if session else (),
        given_headings=(
            "Arm",
            "Executions measured",
            "Attention kernel",
            "Logits columns",
            "Dropout",
            "Precision",
            "Weights at inference",
            "Decode keeps",
            "Largest error against the oracle",
            "Notes",
        ),
        given=tuple(_given(inputs, key) for key in inputs.arms),
        policy=_policy(inputs),
        objections=_objections(inputs),
    )


def _matched(inputs: ReportInputs, session: Session | None) -> str:
    if session is None:
        return "The records hold no session header, so what was matched is unknown."
    reference = inputs.story.names.title(session.reference_layer)
    axis = _AXES.get(session.match_axis, session.match_axis)
    return (
        f"Sizes were matched on {axis}. The residuals stand beside each size, relative to the reference "
        f"({reference}); per-token figures are at {units.tokens(session.sequence_length)} tokens."
        f"{learned_positions(inputs)}"
    )


def _sizes(session: Session) -> tuple[tuple[str, ...], ...]:
    base = next((arm for arm in session.arms if arm.spec.layer == session.reference_layer), None)
    layers = {layer.layer: layer for layer in session.layers}
    made = []
    for arm in session.arms:
        spec, other = arm.spec, base or arm
        facts = layers.get(spec.layer)
        carrier = None if facts is None else facts.carrier
        made.append(
            (
                arm.title,
                f"{arm.parameter_count:,}".replace(",", "\u2009") + against(arm.parameter_count, other.parameter_count),
                _flops(arm, other),
                _state(arm, other) if facts is None or facts.no_decode_reason is None else units.UNKNOWN,
                str(spec.model_dim),
                f"{spec.heads} × {spec.head_dim}" if carrier is None else units.UNKNOWN,
                str(spec.depth),
                str(spec.hidden_dim) if carrier in (None, "mixer") else units.UNKNOWN,
            )
        )
    return tuple(made)


def _state(arm: ArmFacts, other: ArmFacts) -> str:
    return units.binary_bytes(arm.state_bytes) + against(arm.state_bytes, other.state_bytes)


def _flops(arm: ArmFacts, other: ArmFacts) -> str:
    ours, theirs = arm.matrix_flop_count_per_token, other.matrix_flop_count_per_token
    if ours is None:
        return units.UNKNOWN
    return units.si(ours) + ("" if theirs is None else against(ours, theirs))


def _given(inputs: ReportInputs, key: str) -> tuple[str, ...]:
    runs = [run for run in inputs.records.runs if arm_key(run.workload) == key]
    executions = tuple(dict.fromkeys(execution_label(run.workload) for run in runs))
    kinds = tuple(
        dict.fromkeys(
            {"state": "fixed state", "kv-cache": "preallocated KV cache"}.get(r.memory.state_kind, r.memory.state_kind)
            for r in runs
            if r.workload.phase is not Phase.TRAIN and r.memory.state_kind and r.memory.state_bytes > 0
        )
    )
    notes = tuple(dict.fromkeys(note for run in runs for note in run.notes))
    layers = {run.workload.spec.layer: inputs.story.roles.layers[run.workload.spec.layer] for run in runs}.values()
    notes += tuple(_CARRIERS[layer.carrier] for layer in layers if layer.carrier in _CARRIERS)
    notes += tuple(f"it does not decode: {layer.no_decode_reason}" for layer in layers if layer.no_decode_reason)
    return (
        inputs.arms[key].label,
        ", ".join(executions) or units.UNKNOWN,
        attention(runs),
        logits_columns(runs),
        ", ".join(dict.fromkeys(f"{run.workload.spec.dropout:g}" for run in runs)) or units.UNKNOWN,
        ", ".join(dict.fromkeys(str(run.workload.dtype) for run in runs)) or units.UNKNOWN,
        inference_weights(inputs, runs),
        listed(kinds) if kinds else units.UNKNOWN,
        _worst(runs),
        "; ".join(notes) or "none",
    )


def _worst(runs: list[Run]) -> str:
    return _gate(max(runs, key=lambda run: run.gate.relative_error / run.gate.tolerance)) if runs else units.UNKNOWN


def _gate(run: Run) -> str:
    return f"{run.gate.relative_error:.1e} of {run.gate.tolerance:.0e} allowed ({run.gate.oracle})"


def _policy(inputs: ReportInputs) -> str:
    backends = tuple(dict.fromkeys(name for run in inputs.records.runs for name in run.environment.sdpa_backends))
    backends_named = f"Attention backends enabled, in order of preference: {', '.join(backends)}." if backends else ""
    models = [run for run in inputs.records.runs if run.workload.scope is Scope.MODEL]
    return " ".join(filter(None, (PRECISION_POLICY, logits_policy(models), backends_named)))


def _objections(inputs: ReportInputs) -> tuple[str, ...]:
    session = inputs.session
    objections = [
        *(found for found in (hand_written(inputs), unequal_weights(inputs)) if found is not None),
        "Equal size is not equal quality: cost is per token, whatever the token is worth. "
        + (
            "Perplexity stands beside the cost."
            if session and session.perplexities
            else "No perplexity was given; add it with --perplexity to see both."
        ),
    ]
    if session is not None and session.match_axis == "parameters" and (named := _complex_layers(inputs, session)):
        objections.append(
            "A complex weight counts as two real parameters and takes part in four real products, so parameter-matched "
            f"{listed(named)} does more arithmetic by construction; --match flops asks the other question."
        )
    executions: dict[str, set[str]] = {}
    for run in inputs.records.runs:
        executions.setdefault(arm_key(run.workload), set()).add(execution_label(run.workload))
    everything = set().union(*executions.values()) if executions else set()
    short = tuple(
        f"{inputs.arms[key].label} ({listed(tuple(sorted(everything - had)))})"
        for key, had in executions.items()
        if had != everything
    )
    if short:
        skipped = {arm_key(skip.workload) for skip in told_part(inputs.records, joined=True).skips}
        why = (
            "; see the skipped points" if any(executions[k] != everything and k in skipped for k in executions) else ""
        )
        objections.append(f"Not every arm has every execution: {listed(short)} missing{why}.")
    if any(run.workload.scope == "layer" for run in inputs.records.runs):
        objections.append(
            "A single block fits the cache and leaves out embedding and head; a full model behaves differently."
        )
    dropouts = {run.workload.spec.dropout for run in inputs.records.runs}
    objections.append(
        f"Dropout differs between arms ({', '.join(f'{d:g}' for d in sorted(dropouts))}), which moves training cost."
        if len(dropouts) > 1
        else f"Dropout is {next(iter(dropouts), 0.0):g} on every arm; training recipes that use it cost more."
    )
    unpaired = sum(not c.paired for p in inputs.analysis.points for c in p.comparisons)
    if unpaired:
        objections.append(f"{plural(unpaired, 'comparison')} (marked *) were not sampled side by side in one process.")
    devices = {run.environment.device_name for run in inputs.records.runs}
    objections.append(
        f"{'One device' if len(devices) == 1 else plural(len(devices), 'device')}, one software stack: another GPU, "
        "driver or torch version moves the ratios."
    )
    return tuple(objections)


def _complex_layers(inputs: ReportInputs, session: Session) -> tuple[str, ...]:
    """Titles of the session's layers that compute with complex numbers."""
    layers = inputs.story.roles.layers
    return tuple(arm.title for arm in session.arms if layers[arm.spec.layer].complex_valued)
