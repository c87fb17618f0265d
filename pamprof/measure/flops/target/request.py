"""What is asked of the process that counts, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pamprof.measure.flops.model_flops import ModelFlops
from pamprof.records import Scope


class CountedPhase(StrEnum):
    """The forward pass alone, or forward and backward."""

    FORWARD = "forward"
    TRAIN = "train"


class InputDtype(StrEnum):
    """Dtype of a layer's input; its real parameters are cast to a real one."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """A layer, or a whole model, and what it is counted on.

    Attributes:
        target: ``module:factory``, ``file.py:factory``, or the name of a registered layer; the path of a configuration
            where ``is_configuration``.
        is_configuration: Whether ``target`` is a Hugging Face configuration.
        batch_size: Sequences.
        sequence_length: Tokens of each; None for 2,048, or the fewer positions that a configuration has.
        phase: What is counted.
        timeout_seconds: After which the layer's code is interrupted.
        width: Of the input [B, T, width] of a factory's layer, and what the factory is given.
        arguments: Further arguments of a factory, by name, as text.
        dtype: Of a factory's input; None for that of its parameters where all are complex, else float32.
        preset: Sizes of a registered layer.
        implementation: Of a registered layer; None for its first.
        scope: Block or language model of a registered layer.
        checkpoint: File of weights that gives a registered layer's sizes; None for the preset's.
    """

    target: str
    is_configuration: bool
    batch_size: int
    sequence_length: int | None
    phase: CountedPhase
    timeout_seconds: float
    width: int = 672
    arguments: tuple[tuple[str, str], ...] = ()
    dtype: InputDtype | None = None
    preset: str = "100m"
    implementation: str | None = None
    scope: Scope = Scope.MODEL
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountAnswer:
    """What was counted, and on what.

    Attributes:
        target: As asked for.
        description: The input and, for a registered layer, its implementation, in words.
        phase: What was counted.
        batch_size: Sequences.
        sequence_length: Tokens of each.
        device: ``meta``, ``fake`` (CPU tensors without data) or ``cpu``; nothing is computed on the first two.
        flops: The count.
        warning: What a reader should know, or None.
    """

    target: str
    description: str
    phase: CountedPhase
    batch_size: int
    sequence_length: int
    device: str
    flops: ModelFlops
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountReply:
    """The answer, or why there is none.

    Attributes:
        answer: What was counted.
        fault: One sentence.
        exit_code: The exit status that the fault deserves.
    """

    answer: CountAnswer | None = None
    fault: str = ""
    exit_code: int = 0
