"""PAM on torch's own complex tensors: the definition as it is written, chunk-parallel.

``PamLayer`` is the recurrence between its linear maps, complex sequences in and out, in any of the three forms;
``ComplexBlock`` is the whole block. torch has no bfloat16 complex numbers, so this implementation exists in float32 and
float64 only.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.errors import SpecError
from pamprof.records import LayerSpec
from pamprof.workloads.checkpoints.weights import load_exactly
from pamprof.workloads.layers.pam.checkpoint import tensor_of
from pamprof.workloads.layers.pam.complex.stages import activate, complex_linear, complex_norm, gate, magnitude, rotate
from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters, PamBlockParameters, RecurrentParameters
from pamprof.workloads.layers.pam.recurrence import (
    DEFAULT_CHUNK_SIZE,
    chunked_pam,
    dual_pam,
    log_chunked_pam,
    recurrent_pam,
)
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write, read_phases
from pamprof.workloads.layers.recurrent.parameters import initialise
from pamprof.workloads.layers.recurrent.rotation import rotation_angles
from pamprof.workloads.parallel.sums import entering, summed

if TYPE_CHECKING:
    from collections.abc import Mapping

Form = Literal["recurrent", "dual", "chunked"]


class PamLayer(RecurrentParameters):
    """Phase-associative memory between its linear maps: complex [B, T, D] to complex [B, T, D].

    Sizes are those of a ``LayerSpec``; ``form`` chooses the order of summation, ``chunk_size`` (tokens) that of the
    chunked form. All forms give the same numbers.
    """

    def __init__(
        self, spec: LayerSpec, *, form: Form = "chunked", chunk_size: int = DEFAULT_CHUNK_SIZE, seed: int = 0
    ) -> None:
        super().__init__(spec)
        if form not in ("recurrent", "dual", "chunked"):
            raise SpecError(f"form is {form!r}; it must be recurrent, dual or chunked")
        self.heads, self.head_dim = spec.heads, spec.head_dim
        self.form, self.chunk_size = form, chunk_size
        initialise(self, seed)

    @classmethod
    def from_qllm2_state_dict(cls, state_dict: Mapping[str, Tensor], *, form: Form = "chunked") -> PamLayer:
        """The layer of a published checkpoint (keys ``qkv_proj.weight_real`` ...); all sizes come from the shapes.

        Raises:
            SpecError: A key is missing or odd, or shapes disagree.
        """
        layer = cls(layer_sizes(state_dict, ""), form=form).to(state_dict["qkv_proj.weight_real"].dtype)
        load_exactly(layer, state_dict)
        return layer

    def forward(self, x: Tensor, initial_state: Tensor | None = None, *, position: int = 0) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, D] and final state for complex ``x`` [B, T, D] that starts at ``position``.

        The state is [B, H, d, d], or [B, H, K, d, d] where a head has several.
        """
        q, k, v, log_decay, coefficients = projections(
            self, x, rotation_angles(position, x.shape[1], self.head_dim, x.device), self.heads
        )
        arguments = (q, k, v, log_decay.exp(), initial_state)
        if self.form == "recurrent":
            y, state = recurrent_pam(*arguments, coefficients=coefficients)
        elif self.form == "dual":
            y, state = dual_pam(*arguments, coefficients=coefficients)
        else:
            y, state = chunked_pam(*arguments, chunk_size=self.chunk_size, coefficients=coefficients)
        return linear(y.transpose(1, 2).flatten(2), self.o_proj), state


def layer_sizes(state_dict: Mapping[str, Tensor], prefix: str) -> LayerSpec:
    """Sizes of the ``PamLayer`` stored under ``prefix``; block and model sizes it cannot know are 1."""
    inner, model_dim = tensor_of(state_dict, prefix + "qkv_proj.weight_real", 2).shape
    heads = tensor_of(state_dict, prefix + "dt_bias", 1).shape[0]
    offsets = prefix + "state_dt_offset"
    states = tensor_of(state_dict, offsets, 1).shape[0] if offsets in state_dict else 1
    if inner % (3 * heads):
        raise SpecError(f"{prefix}qkv_proj.weight_real has {inner} rows, not 3 x {heads} heads x head_dim")
    return LayerSpec(
        layer="pam",
        model_dim=model_dim,
        heads=heads,
        head_dim=inner // (3 * heads),
        depth=1,
        hidden_dim=1,
        vocabulary_size=1,
        maximum_sequence_length=2_048,
        activation="modswish",
        chunk_size=256,
        state_count=states,
        gate_reads_parts=tensor_of(state_dict, prefix + "protect_gate.weight", 2).shape[1] == 2 * model_dim,
    )


def linear(x: Tensor, maps: ComplexLinearParameters) -> Tensor:
    """W x + b on complex [..., in]."""
    return complex_linear(x, maps.weight_real, maps.weight_imag, maps.bias_real, maps.bias_imag)


def projections(
    pam: RecurrentParameters, x: Tensor, rotation: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Rotated queries and keys, gated values [B, H, T, d], the decay's logarithm [B, H, T], coefficients of the reads.

    Of several states the logarithm is [B, H, K, T], and so are the coefficients exp(i phi), complex; None for one.
    ``rotation`` holds angles [T, d], or factors where it is complex.
    """
    projected = torch.unflatten(linear(x, pam.qkv_proj), -1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = projected.unbind(0)
    q, k = (z * rotation if rotation.is_complex() else rotate(z, rotation) for z in (q, k))
    size = magnitude(x)
    log_decay, write = log_decay_and_write(pam, torch.cat((x.real, x.imag), -1), size)
    phases = read_phases(pam, size)
    coefficients = None if phases is None else torch.polar(torch.ones_like(phases), phases).movedim(1, -1)
    return q, k, v * write.transpose(1, 2).unsqueeze(-1), log_decay.movedim(1, -1), coefficients


class ComplexBlock(PamBlockParameters):
    """One block over complex tensors."""

    def forward(self, hidden: Tensor, rotation: Tensor, state: Tensor | None = None, begins: bool = True) -> Tensor:
        """The block on complex ``hidden`` [B, T, D], with ``rotation`` complex [T, d].

        ``state`` [B, H, d_v, d_k] or [B, H, K, d_v, d_k] is replaced in place; what it held is ignored where the
        sequence ``begins``.
        """
        normed = entering(complex_norm(hidden, self.norm1.scale), self.group)
        raised = activate(linear(normed, self.cgu.up_proj), self.cgu.act.bias, self.cgu.act.beta)
        gated = linear(gate(linear(normed, self.cgu.gate_proj), raised), self.cgu.down_proj)
        hidden = hidden + self._drop(summed(gated, self.group)) * self.cgu_scale
        normed = entering(complex_norm(hidden, self.norm2.scale), self.group)
        remembered = summed(self._remember(normed, rotation, state, begins), self.group)
        return hidden + self._drop(remembered) * self.pam_scale

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        q, k, v, log_decay, coefficients = projections(self.pam, x, rotation, self.heads)
        if state is not None and x.shape[1] == 1 and not begins:
            y = _step(q, k, v, log_decay, coefficients=coefficients, state=state)
        else:
            y, final = log_chunked_pam(q, k, v, log_decay, None if begins else state, coefficients=coefficients)
            if state is not None:
                state.copy_(final)
        return linear(y.transpose(1, 2).flatten(2), self.pam.o_proj)

    def _drop(self, x: Tensor) -> Tensor:
        if self.dropout == 0:
            return x
        return torch.view_as_complex(functional.dropout(torch.view_as_real(x), self.dropout, self.training))


def _step(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, coefficients: Tensor | None, state: Tensor) -> Tensor:
    """Outputs [B, H, 1, d] of one token [B, H, 1, d]; updates ``state`` in place."""
    written = v[:, :, 0, :, None] * k[:, :, 0, None, :].conj()
    decay = log_decay.exp().unsqueeze(-1)
    if coefficients is None:
        read = state.mul_(decay).add_(written) @ q.mT
    else:
        state.mul_(decay).add_(written.unsqueeze(2))
        read = (state @ (coefficients * q).unsqueeze(-1)).sum(2)
    return read.mT * float(q.shape[-1] ** -0.5)
