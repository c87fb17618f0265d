"""Full language models over phase-associative memory and its real twin, and single blocks measured alone.

Both models are one composition: embed, norm, blocks, norm, projection, norm, logits tied to the embedding. Positions
enter through rotations that are tabulated once and handed to the blocks, so that a compiled block never sees a position
as a number it would have to be compiled for.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import SpecError, UnsupportedError
from pamprof.records import Dtype, LayerSpec
from pamprof.workloads.layers.complex_ops import rotation_angles
from pamprof.workloads.layers.pam_arithmetic import PamArithmetic, arithmetic
from pamprof.workloads.layers.pam_complex import layer_sizes
from pamprof.workloads.layers.pam_parameters import (
    ComplexLinearParameters,
    NormParameters,
    RealLinearParameters,
    initialise,
    load_exactly,
    tensor_of,
)
from pamprof.workloads.layers.plane_ops import compute_dtype
from pamprof.workloads.layers.real_pam_arithmetic import REAL, RealArithmetic

if TYPE_CHECKING:
    from pamprof.workloads.base import State

# The product over the vocabulary runs several times faster when its width is a multiple of 64.
VOCABULARY_MULTIPLE = 64

TORCH_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16}

# Small vectors that set the decay, the norms and the residual scales stay in float32 at inference.
_KEPT_PRECISE = ("scale", "dt_bias", "dt_proj.bias", "protect_gate.bias")


def padded_vocabulary_size(vocabulary_size: int) -> int:
    """Columns of the logits product: the vocabulary rounded up to a multiple of 64."""
    return -(-vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


class MemoryState:
    """The memories of all blocks for a batch of sequences: one tensor per block, of fixed size, in float32."""

    kind = "state"

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors

    def byte_count(self) -> int:
        """Bytes of all memories."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)

    def randomise(self, generator: torch.Generator) -> None:
        """Standard normal memories; ``generator`` must live on their device."""
        for tensor in self.tensors:
            tensor.normal_(generator=generator)


class _MemoryModel(nn.Module):
    """What models and single blocks share: rotations, states, precision, and the walk through the blocks."""

    blocks: nn.ModuleList

    def __init__(self, spec: LayerSpec, own: PamArithmetic | RealArithmetic, depth: int) -> None:
        super().__init__()
        self.spec = spec
        self.arithmetic = own
        self.blocks = nn.ModuleList([own.block(spec) for _ in range(depth)])
        self._rotation: Tensor | None = None
        self._rotation_kind: tuple[torch.dtype, torch.dtype, torch.device] | None = None
        self._rotation_length = 0

    def new_state(self, batch_size: int, maximum_length: int) -> MemoryState:
        """Empty memories; ``maximum_length`` does not matter to a memory of fixed size."""
        weight = next(self.blocks.parameters())
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        sizes = batch_size, self.spec.heads, self.spec.head_dim
        return MemoryState(tuple(self.arithmetic.new_state(*sizes, dtype, weight.device) for _ in self.blocks))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the matrices to ``dtype`` and fuse them once; norms, decay and memory stay in float32.

        Raises:
            UnsupportedError: bfloat16 for the complex implementation.
        """
        self._refuse(dtype is Dtype.BFLOAT16)
        self.requires_grad_(False)
        for name, parameter in self.named_parameters():
            if not name.endswith(_KEPT_PRECISE):
                parameter.data = parameter.data.to(TORCH_DTYPES[dtype])
        self._fuse()
        self._rotation = None

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: none."""
        return ()

    def _fuse(self) -> None:
        for block in self.blocks:
            if hasattr(block, "fuse_weights"):
                block.fuse_weights()

    def _refuse(self, bfloat16: bool) -> None:
        if bfloat16 and self.arithmetic.name == "complex":
            raise UnsupportedError(
                "torch has no bfloat16 complex numbers; measure the complex implementation in float32"
            )

    def _run_blocks(self, hidden: Tensor, state: State | None, position: int) -> Tensor:
        self._refuse(torch.is_autocast_enabled(hidden.device.type))
        rotation = self._rotations(hidden, position)
        if state is None:
            for block in self.blocks:
                hidden = block(hidden, rotation)
            return hidden
        if not isinstance(state, MemoryState):
            raise TypeError(f"this model needs the state of its own new_state, not a {type(state).__name__}")
        for block, memory in zip(self.blocks, state.tensors, strict=True):
            hidden = block(hidden, rotation, memory, position == 0)
        return hidden

    def _rotations(self, hidden: Tensor, position: int) -> Tensor:
        """Rotations of the positions of ``hidden`` [B, T, ...] that starts at ``position``, from a table that grows."""
        end = position + hidden.shape[1]
        kind = hidden.dtype, compute_dtype(hidden), hidden.device
        if self._rotation is None or self._rotation_kind != kind or self._rotation_length < end:
            self._rotation_length = max(self.spec.maximum_sequence_length, end)
            channels = self.arithmetic.rotation_channels(self.spec.head_dim)
            angles = rotation_angles(0, self._rotation_length, channels, hidden.device)
            self._rotation = self.arithmetic.rotation(angles, hidden)
            self._rotation_kind = kind
        return self.arithmetic.positions(self._rotation, position, hidden.shape[1])


class MemoryLayer(_MemoryModel):
    """One block as a measurable model. Hidden sequences in and out: planes [B, T, 2, D] for PAM, [B, T, D] for the twin.

    An implementation that keeps sequences otherwise converts once on entry and once on exit.
    """

    def __init__(self, spec: LayerSpec, own: PamArithmetic | RealArithmetic) -> None:
        super().__init__(spec, own, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output from an empty memory."""
        return self._through(inputs, None, 0)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of the output weighted by ``targets``, a fixed random projection of the output's shape."""
        return (self(inputs).float() * targets).mean()

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a piece that starts at ``position``; position 0 starts from an empty memory."""
        return self._through(inputs, state, position)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output for one more position."""
        return self._through(inputs, state, position)

    def _through(self, inputs: Tensor, state: State | None, position: int) -> Tensor:
        return self.arithmetic.planes(self._run_blocks(self.arithmetic.own(inputs), state, position))


class _Head(nn.Module):
    """Norm, projection, norm, logits and their loss as one region to compile; its parameters belong to the model.

    The product is computed at a padded width. The bias of the padding is minus infinity, which makes it vanish from
    the softmax without a slice or a mask over the whole logits tensor.
    """

    padding_bias: Tensor | None
    fused: Tensor | None

    def __init__(self, spec: LayerSpec, own: PamArithmetic | RealArithmetic) -> None:
        super().__init__()
        self.arithmetic = own
        self.vocabulary_size = spec.vocabulary_size
        self.padding = padded_vocabulary_size(spec.vocabulary_size) - spec.vocabulary_size
        bias = torch.zeros(spec.vocabulary_size + self.padding)
        bias[spec.vocabulary_size :] = float("-inf")
        self.register_buffer("padding_bias", bias if self.padding else None, persistent=False)
        self.register_buffer("fused", None, persistent=False)

    def forward(
        self,
        hidden: Tensor,
        norms: tuple[Tensor, Tensor],
        projection: nn.Module,
        tables: tuple[Tensor, ...],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V], or with ``targets`` [B, T] their mean cross-entropy; one table where it is padded already."""
        hidden = self.arithmetic.norm(hidden, norms[0])
        hidden = self.arithmetic.norm(self.arithmetic.project(hidden, projection, self.fused), norms[1])
        dtype = compute_dtype(tables[0])
        bias = None if self.padding_bias is None else self.padding_bias.to(dtype)
        logits = self.arithmetic.logits(hidden, joint_table(tables, self.padding, dtype), bias)
        if targets is None:
            return logits[..., : self.vocabulary_size]
        return functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def joint_table(tables: tuple[Tensor, ...], padding: int, dtype: torch.dtype) -> Tensor:
    """The tied table [V + padding, width] in ``dtype``, from its parts [V, ...] or from itself."""
    cast = [table.to(dtype) for table in tables]
    joint = cast[0] if len(cast) == 1 else torch.cat(cast, 1)
    missing = -joint.shape[0] % VOCABULARY_MULTIPLE
    return functional.pad(joint, (0, 0, 0, missing)) if missing else joint


class _LanguageModel(_MemoryModel):
    """Token ids [B, T] to logits [B, T, V]; a subclass names its parameters."""

    def __init__(self, spec: LayerSpec, own: PamArithmetic | RealArithmetic) -> None:
        super().__init__(spec, own, spec.depth)
        self.embed_norm = NormParameters(spec.model_dim)
        self.output_norm = NormParameters(spec.model_dim)
        self.lm_head_norm = NormParameters(spec.model_dim)
        self.head = _Head(spec, own)
        self._joint: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self._finish(self._hidden(inputs, None, 0))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in float32 of ids [B, T] against the next ids [B, T]."""
        return self._finish(self._hidden(inputs, None, 0), targets)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] of the last position of a piece [B, T] that starts at ``position``; updates ``state``.

        Position 0 starts from an empty memory, whatever ``state`` held.
        """
        return self._finish(self._hidden(inputs, state, position)[:, -1:]).squeeze(1)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B] at ``position``; updates ``state``."""
        return self._finish(self._hidden(inputs.unsqueeze(1), state, position)).squeeze(1)

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the head with its loss."""
        return (self.head,)

    def _tables(self) -> tuple[nn.Parameter, ...]:
        raise NotImplementedError

    def _projection(self) -> ComplexLinearParameters | RealLinearParameters:
        raise NotImplementedError

    def _hidden(self, ids: Tensor, state: State | None, position: int) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] < 1:
            raise SpecError(f"token ids have shape {tuple(ids.shape)}; give at least one token as [batch, time]")
        hidden = self.arithmetic.embed(ids, *self._tables())
        return self._run_blocks(self._as_residual(self.arithmetic.norm(hidden, self.embed_norm.scale)), state, position)

    def _as_residual(self, hidden: Tensor) -> Tensor:
        """The residual stream is as precise as the embedding: float32 in training, also under autocast."""
        table = self._tables()[0]
        return hidden if hidden.is_complex() else hidden.to(table.dtype)

    def _finish(self, hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        tables = self._tables() if self._joint is None else (self._joint,)
        norms = self.output_norm.scale, self.lm_head_norm.scale
        result: Tensor = self.head(hidden, norms, self._projection(), tables, targets)
        return result

    def _fuse(self) -> None:
        super()._fuse()
        tables = self._tables()
        with torch.no_grad():
            self._joint = joint_table(tables, self.head.padding, tables[0].dtype)
            parts = self._joint[: self.spec.vocabulary_size].chunk(len(tables), 1)
        for table, part in zip(tables, parts, strict=True):
            table.data = part
        self.head.fused = self.arithmetic.fuse(self._projection())


class _Table(nn.Module):
    """weight [V, D]."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))


class _ComplexTable(nn.Module):
    """embed_real and embed_imag."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.embed_real = _Table(spec)
        self.embed_imag = _Table(spec)


class PamLanguageModel(_LanguageModel):
    """The language model of the paper: ids [B, T] to logits [B, T, V].

    ``implementation`` is ``planar``, ``gauss``, ``published`` or ``complex``; all compute the same function of the same
    parameters, float32 as built, initialised from ``seed``. Parameter names are those of the published checkpoints.
    """

    def __init__(self, spec: LayerSpec, *, implementation: str = "planar", seed: int = 0) -> None:
        super().__init__(spec, arithmetic(implementation))
        self.embed = _ComplexTable(spec)
        self.lm_head_proj = ComplexLinearParameters(spec.model_dim, spec.model_dim, bias=True)
        initialise(self, seed)

    @classmethod
    def from_qllm2_state_dict(
        cls, state_dict: Mapping[str, Tensor], *, implementation: str = "planar"
    ) -> PamLanguageModel:
        """The model of a published checkpoint (qllm2, v7 layout); all sizes are read from the shapes.

        Raises:
            SpecError: A key is missing or odd, or shapes disagree.
        """
        model = cls(_model_sizes(state_dict), implementation=implementation)
        model.to(tensor_of(state_dict, "embed.embed_real.weight", 2).dtype)
        load_exactly(model, state_dict)
        return model

    def _tables(self) -> tuple[nn.Parameter, ...]:
        return self.embed.embed_real.weight, self.embed.embed_imag.weight

    def _projection(self) -> ComplexLinearParameters:
        return self.lm_head_proj


class RealPamLanguageModel(_LanguageModel):
    """The same model over real tensors, to tell what complex arithmetic costs from what the architecture costs."""

    def __init__(self, spec: LayerSpec, *, seed: int = 0) -> None:
        super().__init__(spec, REAL)
        self.embed = _Table(spec)
        self.lm_head_proj = RealLinearParameters(spec.model_dim, spec.model_dim)
        initialise(self, seed)

    def _tables(self) -> tuple[nn.Parameter, ...]:
        return (self.embed.weight,)

    def _projection(self) -> RealLinearParameters:
        return self.lm_head_proj


def _model_sizes(state_dict: Mapping[str, Tensor]) -> LayerSpec:
    """Sizes of a published checkpoint from its shapes."""
    vocabulary_size = tensor_of(state_dict, "embed.embed_real.weight", 2).shape[0]
    numbers = {key.split(".")[1] for key in state_dict if key.startswith("blocks.")}
    if numbers != {str(number) for number in range(len(numbers))} or not numbers:
        raise SpecError(
            f"blocks are numbered {', '.join(sorted(numbers)) or 'nowhere'}; they must count from 0 without gaps"
        )
    return replace(
        layer_sizes(state_dict, "blocks.0.pam."),
        depth=len(numbers),
        hidden_dim=tensor_of(state_dict, "blocks.0.cgu.up_proj.weight_real", 2).shape[0],
        vocabulary_size=vocabulary_size,
        activation="modswish" if "blocks.0.cgu.act.beta" in state_dict else "modrelu",
    )
