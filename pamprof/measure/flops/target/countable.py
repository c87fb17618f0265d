"""A model that is built and ready to be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    Builder = Callable[[torch.device], "Countable"]

DEFAULT_SEQUENCE_LENGTH = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Countable:
    """A model that is built, and how it is run.

    Attributes:
        module: What is counted.
        run: The forward pass; in training its output is what the backward pass begins at.
        inputs: What the forward pass reads.
        description: The input and the sizes, in words.
    """

    module: nn.Module
    run: Callable[[], object]
    inputs: torch.Tensor
    description: str
