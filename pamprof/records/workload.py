"""What is measured: a layer's sizes and the point (phase, scope, batch, length, dtype) it is measured at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What one step does: forward + backward + optimizer, a whole prompt, or one new token per sequence."""

    TRAIN = "train"
    PREFILL = "prefill"
    DECODE = "decode"


class Scope(StrEnum):
    """One block of the model, or the full language model with embedding and head."""

    LAYER = "layer"
    MODEL = "model"


class Execution(StrEnum):
    """How the step reaches the device.

    ``EAGER`` dispatches operator by operator, ``COMPILED`` runs ``torch.compile`` per block, ``GRAPH`` replays a CUDA
    graph of the eager step, ``COMPILED_GRAPH`` replays a CUDA graph of the compiled step.
    """

    EAGER = "eager"
    COMPILED = "compiled"
    GRAPH = "graph"
    COMPILED_GRAPH = "compiled-graph"


class Dtype(StrEnum):
    """The precision policy of a point; ``BFLOAT16`` is mixed precision as stated by ``PRECISION_POLICY``."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


PRECISION_POLICY = (
    "float32: everything in float32, TF32 off. bfloat16: matrix products in bfloat16; norms, softmax and the decay of "
    "a recurrent state in float32; training keeps float32 weights, residual stream, gradients and optimizer state "
    "(torch.autocast); prefill and decode keep weights, residual stream and KV cache in bfloat16, a recurrent state in "
    "float32, or in bfloat16 where the arm says so."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """Sizes of one architecture, enough to build its block and its language model.

    Attributes:
        layer: Registry name, such as ``pam``, ``real_pam``, ``transformer`` or ``llama``.
        model_dim: Width of the residual stream; complex channels for a complex layer, real ones otherwise.
        heads: Number of heads.
        head_dim: Width of one head (complex channels for a complex layer).
        depth: Number of blocks.
        hidden_dim: Width inside the feed-forward or gate unit (complex channels for a complex layer).
        vocabulary_size: Rows of the embedding as the model defines it, before any padding an implementation adds.
        maximum_sequence_length: Longest sequence the position encoding is built for, in tokens.
        activation: ``modswish`` or ``modrelu`` for PAM, ``swish`` or ``relu`` for its real twin, ``gelu``,
            ``swiglu``.
        chunk_size: Chunk length C of a chunked recurrence, in tokens; None where there is none.
        dropout: Dropout probability in training.
        key_value_heads: Heads of keys and values that groups of query heads share; None where each head has its own.
        state_dtype: Dtype of a recurrent state between steps; None for that of ``PRECISION_POLICY``, float32.
        state_count: States of a head, K, each with a decay and a phase of its own; 1 where a layer has no more.
        gate_reads_parts: Whether the protect gate of a complex layer reads [re; im] of its inputs instead of their
            magnitudes.
        source: Of a layer that is not in the registry, the function that makes it with its arguments, such as
            ``my_layers.py:gru(num_layers=2)``.
        checkpoint: File name and the beginning of the SHA-256 of the weights that the arm runs on; None for initial
            values drawn from the seed.
    """

    layer: str
    model_dim: int
    heads: int
    head_dim: int
    depth: int
    hidden_dim: int
    vocabulary_size: int
    maximum_sequence_length: int
    activation: str
    chunk_size: int | None = None
    dropout: float = 0.0
    key_value_heads: int | None = None
    state_dtype: Dtype | None = None
    state_count: int = 1
    gate_reads_parts: bool = False
    source: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """Where arms meet: everything of a workload that all arms of one comparison share."""

    phase: Phase
    scope: Scope
    batch_size: int
    sequence_length: int
    dtype: Dtype


class Parallel(StrEnum):
    """How one step is shared by several ranks."""

    DDP = "ddp"  # every rank has the whole model and a part of the batch; gradients are averaged
    FSDP = "fsdp"  # the same, but weights, gradients and optimizer state lie in parts and are gathered for each block
    TP = "tp"  # every rank has some heads and channels of each block, and the whole batch


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLayout:
    """Which ranks take part in a step, and how.

    Attributes:
        parallel: How they share it.
        ranks: How many, a device each.
        checkpoints_activations: Whether training keeps the input of each block alone and computes the rest again.
    """

    parallel: Parallel
    ranks: int
    checkpoints_activations: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One measurable arm at one point.

    Attributes:
        spec: Sizes of the architecture.
        implementation: Which code computes it, such as ``published``, ``planar``, ``gauss``, ``complex`` or ``sdpa``.
        execution: How the step reaches the device.
        phase: What a step does.
        scope: Block or full model.
        batch_size: Sequences per step.
        sequence_length: Tokens per sequence in a step of ``train`` and ``prefill``; in ``decode``, tokens of context
            already held in the state or cache, to which a step adds one.
        dtype: Precision policy.
        layout: Ranks that share a step, whose ``batch_size`` is that of all; None for one device.
    """

    spec: LayerSpec
    implementation: str
    execution: Execution
    phase: Phase
    scope: Scope
    batch_size: int
    sequence_length: int
    dtype: Dtype
    layout: RankLayout | None = None

    @property
    def point(self) -> Point:
        """The point this workload shares with the arms it is compared to."""
        return Point(
            phase=self.phase,
            scope=self.scope,
            batch_size=self.batch_size,
            sequence_length=self.sequence_length,
            dtype=self.dtype,
        )

    @property
    def tokens_per_step(self) -> int:
        """Tokens one step processes: B·T, or B in decode."""
        return self.batch_size * (1 if self.phase is Phase.DECODE else self.sequence_length)

    @property
    def key(self) -> str:
        """The full identity as one readable line; two workloads are the same measurement when their keys are equal."""
        s = self.spec
        chunk = "-" if s.chunk_size is None else str(s.chunk_size)
        # Written only where there is something to say: keys of earlier records stay what they were.
        groups = "" if s.key_value_heads is None else f" G{s.key_value_heads}"
        state = "" if s.state_dtype is None else f" S{s.state_dtype}"
        states = "" if s.state_count == 1 else f" K{s.state_count}"
        state += states + (" parts-gate" if s.gate_reads_parts else "")
        source = "" if s.source is None else f" {s.source}"
        weights = "" if s.checkpoint is None else f" {s.checkpoint}"
        ranks = "" if self.layout is None else f" {self.layout.parallel}{self.layout.ranks}"
        ranks += " recomputed" if self.layout is not None and self.layout.checkpoints_activations else ""
        return (
            f"{s.layer}/{self.implementation}/{self.execution} {self.phase}/{self.scope} "
            f"B{self.batch_size} T{self.sequence_length} {self.dtype} "
            f"D{s.model_dim} H{s.heads}x{s.head_dim} L{s.depth} h{s.hidden_dim} V{s.vocabulary_size} "
            f"M{s.maximum_sequence_length} {s.activation} C{chunk} p{s.dropout:g}{groups}{state}{source}"
            f"{weights}{ranks}"
        )
