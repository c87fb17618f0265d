"""Language models and single blocks over any arithmetic of phase-associative memory, complex or real.

One composition: embed, norm, blocks, norm, projection, norm, logits tied to the embedding. Positions enter through
rotations that are tabulated once and handed to the blocks, so that a compiled block never sees a position as a number
it would have to be compiled for.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pamprof.errors import SpecError, UnsupportedError
from pamprof.records import Dtype
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.recurrent.language_head import ProjectedLanguageHead, joint_table
from pamprof.workloads.layers.recurrent.parameters import NormParameters
from pamprof.workloads.layers.recurrent.precision import compute_dtype
from pamprof.workloads.layers.recurrent.rotation import rotation_angles

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.base import State
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


# Small vectors that set the decay, the norms and the residual scales stay in float32 at inference.
_KEPT_PRECISE = ("scale", "dt_bias", "dt_proj.bias", "protect_gate.bias", "state_dt_offset", "phase_proj.bias")


@runtime_checkable
class FusesWeights(Protocol):
    """A block whose weights are joined once for inference."""

    def fuse_weights(self) -> None:
        """Join them; the parameters become views of the joint weights."""
        ...


class RecurrentState:
    """The states of all blocks for a batch of sequences: one tensor per block, of fixed size."""

    kind = "state"

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors

    def byte_count(self) -> int:
        """Bytes of all states."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)

    def randomise(self, generator: torch.Generator) -> None:
        """Fill the states with standard normal numbers; ``generator`` must live on their device."""
        for tensor in self.tensors:
            tensor.normal_(generator=generator)


class RecurrentModel(nn.Module):
    """What models and single blocks share: rotations, states, precision, and the walk through the blocks."""

    blocks: nn.ModuleList

    def __init__(self, spec: LayerSpec, own: Arithmetic, depth: int) -> None:
        super().__init__()
        self.spec = spec
        self.arithmetic = own
        self.blocks = nn.ModuleList([own.block(spec) for _ in range(depth)])
        self._rotation: Tensor | None = None
        self._rotation_kind: tuple[torch.dtype, torch.dtype, torch.device] | None = None
        self._rotation_length = 0

    def new_state(self, batch_size: int, maximum_length: int) -> RecurrentState:
        """Empty states; ``maximum_length`` does not matter, because a state has a fixed size.

        They are in float32 whatever the weights, unless the spec's ``state_dtype`` says otherwise.

        Raises:
            UnsupportedError: A bfloat16 state for the complex implementation.
        """
        weight = next(self.blocks.parameters())
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        if self.spec.state_dtype is not None:
            self._refuse(self.spec.state_dtype is Dtype.BFLOAT16)
            dtype = TORCH_DTYPES[self.spec.state_dtype]
        several = (self.spec.state_count,) if self.spec.state_count > 1 else ()
        axes = batch_size, self.spec.heads, *several
        states = (self.arithmetic.new_state(axes, self.spec.head_dim, dtype, weight.device) for _ in self.blocks)
        return RecurrentState(tuple(states))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the matrices to ``dtype`` and fuse them once; norms, decay and state stay in float32.

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
            if isinstance(block, FusesWeights):
                block.fuse_weights()

    def _refuse(self, bfloat16: bool) -> None:
        if bfloat16 and self.arithmetic.name == "complex":
            raise UnsupportedError(
                "torch has no bfloat16 complex numbers; measure the complex implementation in float32"
            )

    def _run_blocks(self, hidden: Tensor, state: State | None, position: int | Tensor) -> Tensor:
        self._refuse(torch.is_autocast_enabled(hidden.device.type))
        rotation = self._rotations(hidden, position)
        if state is None:
            for block in self.blocks:
                hidden = block(hidden, rotation)
            return hidden
        if not isinstance(state, RecurrentState):
            raise TypeError(f"this model needs the state of its own new_state, not a {type(state).__name__}")
        for block, of_block in zip(self.blocks, state.tensors, strict=True):
            hidden = block(hidden, rotation, of_block, isinstance(position, int) and position == 0)
        return hidden

    def _rotations(self, hidden: Tensor, position: int | Tensor) -> Tensor:
        """Rotations of the positions of ``hidden`` [B, T, ...] that starts at ``position``, from a table that grows.

        Of single tokens at positions of their own [B], planes of rotations [2, B, 1, ...].
        """
        if isinstance(position, Tensor):
            self._rotations(hidden, 0)
            assert self._rotation is not None
            return self._rotation[:, position].unsqueeze(2)
        end = position + hidden.shape[1]
        kind = hidden.dtype, compute_dtype(hidden), hidden.device
        if self._rotation is None or self._rotation_kind != kind or self._rotation_length < end:
            self._rotation_length = max(self.spec.maximum_sequence_length, end)
            channels = self.arithmetic.rotation_channels(self.spec.head_dim)
            angles = rotation_angles(0, self._rotation_length, channels, hidden.device)
            self._rotation = self.arithmetic.rotation(angles, hidden)
            self._rotation_kind = kind
        return self.arithmetic.positions(self._rotation, position, hidden.shape[1])


class RecurrentLayer(RecurrentModel):
    """One block as a measurable model: planes [B, T, 2, D] in and out for PAM, [B, T, D] for the twin.

    An implementation that keeps sequences otherwise converts once on entry and once on exit.
    """

    def __init__(self, spec: LayerSpec, own: Arithmetic) -> None:
        super().__init__(spec, own, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output from an empty state."""
        return self._through(inputs, None, 0)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of the output weighted by ``targets``, a fixed random projection of the output's shape."""
        output: Tensor = self(inputs)
        return (output.float() * targets).mean()

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a piece that starts at ``position``; position 0 starts from an empty state."""
        return self._through(inputs, state, position)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output for one more position."""
        return self._through(inputs, state, position)

    def _through(self, inputs: Tensor, state: State | None, position: int) -> Tensor:
        hidden = self._run_blocks(self.arithmetic.own(inputs), state, position)
        return self.arithmetic.planes(hidden)


class RecurrentLanguageModel(RecurrentModel):
    """Token ids [B, T] to logits [B, T, V]; a subclass names its parameters."""

    def __init__(self, spec: LayerSpec, own: Arithmetic) -> None:
        super().__init__(spec, own, spec.depth)
        self.embed_norm = NormParameters(spec.model_dim)
        self.output_norm = NormParameters(spec.model_dim)
        self.lm_head_norm = NormParameters(spec.model_dim)
        self.head = ProjectedLanguageHead(spec, own)
        self._joint: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self._finish(self._hidden(inputs, None, 0))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, in float32 or wider, of ids [B, T] against the next ids [B, T]."""
        return self._finish(self._hidden(inputs, None, 0), targets)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] of the last position of a piece [B, T] that starts at ``position``; updates ``state``.

        Position 0 starts from an empty state, whatever ``state`` held.
        """
        hidden = self._hidden(inputs, state, position)
        # For one token an implementation may return a pair, which the head's norm adds up.
        return self._finish(hidden if inputs.shape[1] == 1 else hidden[:, -1:]).squeeze(1)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B] at ``position``; updates ``state``."""
        return self._finish(self._hidden(inputs.unsqueeze(1), state, position)).squeeze(1)

    def decode_each(self, inputs: Tensor, state: State, positions: Tensor) -> Tensor:
        """Logits [B, V] for one id per sequence [B], each at a position of its own [B] below the longest of the spec.

        Raises:
            UnsupportedError: An implementation that does not keep rotations in planes.
        """
        if self.arithmetic.name in ("complex", "published"):
            raise UnsupportedError(
                f"{self.spec.layer} {self.arithmetic.name} decodes all its sequences at one position; serve planar or "
                "fused"
            )
        return self._finish(self._hidden(inputs.unsqueeze(1), state, positions)).squeeze(1)

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the head with its loss."""
        return (self.head,)

    def _tables(self) -> tuple[nn.Parameter, ...]:
        raise NotImplementedError

    def _projection(self) -> nn.Module:
        raise NotImplementedError

    def _hidden(self, ids: Tensor, state: State | None, position: int | Tensor) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] < 1:
            raise SpecError(f"token ids have shape {tuple(ids.shape)}; give at least one token as [batch, time]")
        hidden = self.arithmetic.embed(ids, self._tables())
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
            self._joint = joint_table(tables, tables[0].dtype)
            parts = self._joint[: self.spec.vocabulary_size].chunk(len(tables), 1)
        for table, part in zip(tables, parts, strict=True):
            table.data = part
        self.head.fused = self.arithmetic.fuse(self._projection())
