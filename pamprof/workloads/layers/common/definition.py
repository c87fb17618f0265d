"""What the layer definitions of this package share: refusals of impossible sizes and names, and random inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pamprof.errors import SpecError, UsageError
from pamprof.records import Scope
from pamprof.workloads.checkpoints.weights import load_exactly, weights_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.records import LayerSpec
    from pamprof.workloads.checkpoints.files import StoredModel

_POSITIVE_FIELDS = (
    "model_dim",
    "heads",
    "head_dim",
    "depth",
    "hidden_dim",
    "vocabulary_size",
    "maximum_sequence_length",
)


class BaseDefinition:
    """The part of a ``LayerDefinition`` that is the same for every architecture."""

    name: str
    implementations: tuple[str, ...]
    has_states = False  # whether ``state_count`` means something

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` with subject, value and remedy when no such layer can exist."""
        for field in _POSITIVE_FIELDS:
            if getattr(spec, field) < 1:
                raise SpecError(f"{self.name} {field} is {getattr(spec, field)}; it must be 1 or more")
        if spec.state_count < 1 or (spec.state_count > 1 and not self.has_states):
            raise SpecError(
                f"{self.name} state_count is {spec.state_count}; it must be 1{' or more' if self.has_states else ''}"
            )
        if not 0 <= spec.dropout < 1:
            raise SpecError(f"{self.name} dropout is {spec.dropout:g}; it must be at least 0 and below 1")

    def check_implementation(self, implementation: str) -> None:
        """Raise ``UsageError`` for an implementation that does not exist."""
        if implementation not in self.implementations:
            raise UsageError(
                f"no implementation {implementation!r} of layer {self.name}; there is {', '.join(self.implementations)}"
            )

    def position_shape(self, spec: LayerSpec) -> tuple[int, ...]:
        """Shape of one position of a hidden sequence."""
        return (spec.model_dim,)

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """Sizes of a stored model and its tensors by this package's names; as they are where a layer does not say.

        Args:
            model: As stored.
            spec: Gives what no shape tells.

        Raises:
            SpecError: It is of another kind.
        """
        return spec, model.tensors

    def load_weights(self, model: nn.Module, spec: LayerSpec) -> None:
        """Copy the weights that ``spec`` names into ``model``, which may be one block; nothing where it names none.

        Raises:
            SpecError: The first key that does not fit.
        """
        if spec.checkpoint is None or any(parameter.is_meta for parameter in model.parameters()):
            return
        _, tensors = self.stored_model(weights_of(spec.checkpoint), spec)
        names = model.state_dict()
        if all(name.startswith("blocks.0.") for name in names):
            tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("blocks.0.")}
        load_exactly(model, tensors)

    def example_inputs(
        self,
        spec: LayerSpec,
        *,
        scope: Scope,
        batch_size: int,
        sequence_length: int,
        device: torch.device,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Random ids [B, T] for a model, a standard normal hidden sequence [B, T, ...] of ``dtype`` for a block."""
        if scope is Scope.MODEL:
            ids = torch.randint(
                0, spec.vocabulary_size, (batch_size, sequence_length), generator=generator, device=generator.device
            )
            return ids.to(device)
        shape = (batch_size, sequence_length, *self.position_shape(spec))
        return torch.randn(shape, generator=generator, device=generator.device).to(device, dtype)
