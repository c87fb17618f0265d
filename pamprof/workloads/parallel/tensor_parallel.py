"""Tensor parallelism: a model that was built whole keeps one rank's heads and channels of every block.

A recurrent state has its heads beside each other, as keys and values have: each rank holds and updates its own, and
nothing of either is ever sent. What is sent are the two sums of every block, [B, T, width] each (see ``sums``).
Embedding, norms and the language head stay whole on every rank. Heads must divide; inner channels may not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pamprof.errors import UnsupportedError
from pamprof.workloads.base import SplitsTensors

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed import ProcessGroup

    from pamprof.records import LayerSpec
    from pamprof.workloads.base import LayerDefinition, SequenceModel, TensorSplit

_ALWAYS_PARTIAL = ("state_dt_offset",)  # one number a state for all heads


def split_refusal(definition: LayerDefinition, spec: LayerSpec, ranks: int) -> str | None:
    """Why ``ranks`` cannot share the heads and channels of a layer, with the remedy; None where they can."""
    if not isinstance(definition, SplitsTensors):
        return f"{definition.name} does not say how ranks share its heads; use --parallel ddp or fsdp"
    sizes = (spec.heads, "heads"), (spec.key_value_heads, "key and value heads")
    for size, name in sizes:
        if size is not None and size % ranks:
            fitting = [str(n) for n in range(2, 9) if all(s % n == 0 for s, _ in sizes if s is not None)]
            remedy = f"{' or '.join(fitting)} ranks can" if fitting else "use --parallel ddp or fsdp"
            return f"{definition.name} has {size} {name}, which {ranks} ranks cannot share equally; {remedy}"
    if spec.dropout:
        return f"{definition.name} drops out at random, which ranks that share a block cannot do alike; use --dropout 0"
    return None


def rank_spec(spec: LayerSpec, ranks: int, rank: int) -> LayerSpec:
    """Sizes of one rank's part of every block; of inner channels that do not divide, the first ranks have one more."""
    groups, (channels, left) = spec.key_value_heads, divmod(spec.hidden_dim, ranks)
    return replace(
        spec,
        heads=spec.heads // ranks,
        hidden_dim=channels + (rank < left),
        key_value_heads=None if groups is None else groups // ranks,
    )


def keep_own_part(
    model: SequenceModel, definition: LayerDefinition, spec: LayerSpec, *, rank: int, group: ProcessGroup
) -> frozenset[str]:
    """Make a whole model one rank's part; the names of its parameters that are parts.

    Raises:
        UnsupportedError: The layer cannot be divided so.
    """
    ranks = group.size()
    refusal = split_refusal(definition, spec, ranks)
    if refusal is not None or not isinstance(definition, SplitsTensors):
        raise UnsupportedError(refusal or definition.name)
    split = definition.tensor_split(spec)
    divided = set()
    for number, block in enumerate(model.blocks):
        for name, parameter in block.named_parameters():
            part = own_part(name, parameter.data, split, rank=rank, ranks=ranks)
            if part is not None:
                parameter.data = part
                divided.add(f"blocks.{number}.{name}")
        block.group = group  # type: ignore[assignment]  # a module's attributes have no other type
        for size in ("heads", "key_value_heads"):
            if hasattr(block, size):
                setattr(block, size, getattr(block, size) // ranks)
    model.spec = rank_spec(spec, ranks, rank)  # type: ignore[attr-defined]  # what ``new_state`` reads
    return frozenset(divided)


def own_part(name: str, tensor: Tensor, split: TensorSplit, *, rank: int, ranks: int) -> Tensor | None:
    """One rank's part of a block's parameter; None where each has it whole."""
    path = name.split(".")
    if any(part in split.columns for part in path):
        # A bias that is added to the ranks' sum belongs to none of them.
        return tensor.tensor_split(ranks, 1)[rank].clone() if tensor.ndim > 1 else None
    sections = next((split.rows[part] for part in path if part in split.rows), None)
    if sections is None:
        return None
    unit = tensor.shape[0] // sum(sections)
    pieces = tensor.split([unit * size for size in sections])
    return torch.cat([piece.tensor_split(ranks)[rank] for piece in pieces]).clone()


def partial_gradients(model: nn.Module) -> tuple[str, ...]:
    """Names of whole parameters of which each rank finds a part of the gradient."""
    found = []
    for prefix, module in model.named_modules():
        names = (*getattr(module, "partial_gradients", ()), *_ALWAYS_PARTIAL)
        found += [f"{prefix}.{name}" for name in names if isinstance(module._parameters.get(name), torch.Tensor)]
    return tuple(found)
