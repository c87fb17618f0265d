"""One dispatched operator with its arguments by name, as the FLOP formulas see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch._ops import OpOverload

_COMPRESSED_LAYOUTS = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCall:
    """A call that was dispatched, after it ran.

    Attributes:
        operator: The overload.
        positional: Positional arguments; trailing defaults are left out by the dispatcher.
        keywords: Keyword arguments.
        output: What it returned.
    """

    operator: OpOverload
    positional: Sequence[object]
    keywords: Mapping[str, object]
    output: object

    @property
    def name(self) -> str:
        """``namespace::name`` without the overload."""
        return operator_name(self.operator)

    def argument(self, name: str) -> object:
        """The argument the schema calls ``name``, its default where it was left out, None where there is none."""
        for index, declared in enumerate(self.operator._schema.arguments):
            if declared.name == name:
                if index < len(self.positional):
                    return self.positional[index]
                return self.keywords.get(name, declared.default_value)
        return None

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor argument the schema calls ``name``."""
        value = self.argument(name)
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"argument {name} of {self.operator} is {type(value).__name__}, not a tensor")
        return value

    def first_tensor(self) -> torch.Tensor | None:
        """The first tensor among the arguments, looking into lists."""
        return next(iter(tensors_in(self.positional)), None)

    def output_tensor(self) -> torch.Tensor | None:
        """The first tensor returned."""
        return next(iter(tensors_in(self.output)), None)


def operator_name(operator: OpOverload) -> str:
    """``namespace::name`` of an overload: ``aten::add`` for ``aten.add.Tensor``."""
    return operator._schema.name


def tensors_in(value: object) -> list[torch.Tensor]:
    """All tensors in nested tuples, lists and mappings, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def is_sparse(tensor: torch.Tensor) -> bool:
    """Whether it stores some of its elements only: coordinates, or compressed rows, columns or blocks of them."""
    return tensor.layout in (torch.sparse_coo, *_COMPRESSED_LAYOUTS)


def sparse_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The dense tensors that a sparse one consists of: its indices, and last its values."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def stored_elements(tensor: torch.Tensor) -> int:
    """Elements that a tensor stores: all of a dense one, of a sparse one its values."""
    return sparse_parts(tensor)[-1].numel() if is_sparse(tensor) else tensor.numel()
