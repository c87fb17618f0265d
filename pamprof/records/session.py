"""A session's own header: what was asked for, at which matched sizes and at which price."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pamprof.records.layers import LayerFacts
from pamprof.records.price import PriceQuote
from pamprof.records.workload import Dtype, LayerSpec, Phase, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchResidual:
    """Difference of an arm's size to the one it was matched to: ``residual`` is their quotient minus 1, signed.

    ``axis`` is ``parameters``, ``flops``, ``width`` (real scalars of the residual stream) or ``state-bytes``.
    """

    axis: str
    residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFacts:
    """Sizes of one matched arm as planned: what ``pamprof layers`` prints and the fairness block shows.

    Attributes:
        title: Name for people, such as ``PAM``.
        spec: Sizes.
        parameter_count: Real scalars of the full model.
        matrix_flop_count_per_token: Forward, full model, logits at all positions, ``sequence_length`` tokens, causal;
            None where they cannot be counted.
        state_bytes: State or KV cache of one sequence at ``sequence_length`` tokens, in the session's dtype policy.
        matrix_dense_flop_count_per_token: The same forward with causal attention counted as dense.
        train_matrix_flop_count_per_token: Forward and backward at ``sequence_length`` tokens.
        decode_matrix_flop_count_per_token: One new token after ``sequence_length`` tokens of context; None where the
            layer does not decode.
        residuals: Distance to the reference on every axis; empty where nothing was matched.
    """

    title: str
    spec: LayerSpec
    parameter_count: int
    matrix_flop_count_per_token: float | None
    state_bytes: int
    matrix_dense_flop_count_per_token: float | None = None
    train_matrix_flop_count_per_token: float | None = None
    decode_matrix_flop_count_per_token: float | None = None
    residuals: tuple[MatchResidual, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnplannedLayer:
    """A layer that was asked for and could not be planned: why, in one sentence, and the traceback where there is."""

    layer: str
    reason: str
    traceback: str | None = None

    @property
    def words(self) -> str:
        """``mine is left out: …``, its name said once."""
        return f"{self.layer} is left out: {self.reason.removeprefix(f'layer {self.layer}: ')}"


class SessionKind(StrEnum):
    """What a session measured: paired arms at planned points, or curves for serving that find their own points."""

    COMPARISON = "comparison"
    SWEEP = "sweep"


class Effort(StrEnum):
    """How much a comparison measures, and how carefully."""

    QUICK = "quick"  # an answer within minutes: the arms that decide, few samples
    STANDARD = "standard"  # every implementation and execution at every point
    REFERENCE = "reference"  # numbers to publish: steady state, windows, each arm also alone, fresh processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """A quality figure beside the cost: the layer, the value, and its source."""

    layer: str
    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The header of a comparison: what was asked for, so that a report can tell what is missing.

    Attributes:
        session_id: Random identifier.
        started_at: UTC, ISO 8601.
        command: The command line that reproduces it, without paths of the machine.
        preset: Preset name, None for own sizes.
        match_axis: Axis the sizes were matched on: ``parameters``, ``flops``, ``width``, ``state-bytes`` or ``none``.
        arms: The matched arms.
        sequence_length: Tokens the per-token facts of ``arms`` refer to.
        planned: Keys of all planned workloads, in order.
        reference_layer: Layer every arm is paired with.
        phases, scope, dtype: As asked.
        perplexities: Quality figures to show beside the cost.
        quote: Price in force when it was measured; None with ``quote_unknown_reason``.
        quote_unknown_reason: Why there is no price.
        kind: What the session measured; None in records that do not say, until they are read (see ``older``).
        layers: What each layer of ``arms`` declares of itself; empty likewise.
        effort: How much was to be measured and how carefully; None in sweeps, and in records before there was a choice.
        unplanned_count: Points that a standard comparison would have planned besides; None likewise.
        time_budget_seconds: After which no further point was begun; None where there was no end.
        unplanned_layers: Layers without an arm, because planning them failed.
        fleet: Identifier that the sessions of one comparison on several machines share, one for each kind of device;
            None where a session measured on its own machine.
    """

    session_id: str
    started_at: str
    command: str
    preset: str | None
    match_axis: str
    arms: tuple[ArmFacts, ...]
    sequence_length: int
    planned: tuple[str, ...]
    reference_layer: str
    phases: tuple[Phase, ...]
    scope: Scope
    dtype: Dtype
    perplexities: tuple[Perplexity, ...]
    quote: PriceQuote | None
    quote_unknown_reason: str | None
    kind: SessionKind | None = None
    layers: tuple[LayerFacts, ...] = ()
    effort: Effort | None = None
    time_budget_seconds: float | None = None
    unplanned_count: int | None = None
    unplanned_layers: tuple[UnplannedLayer, ...] = ()
    fleet: str | None = None
