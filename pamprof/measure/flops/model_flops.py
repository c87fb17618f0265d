"""What a count of a model says: totals, by operator, by module. Plain data without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

from pamprof.measure.flops.tables import FlopTable, html, module_table, operator_table, plain, remark, summary_table
from pamprof.records import OperatorCount

if TYPE_CHECKING:
    from pandas import DataFrame

OUTSIDE = "(outside any module)"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopSum:
    """Floating-point operations, added up. A real multiply-add is 2, a complex one 8.

    Attributes:
        matrix_flop_count: Of matrix products, convolutions and attention; causal attention as the pairs it keeps.
        matrix_dense_flop_count: The same with causal attention computed in full.
        elementwise_flop_count: Of everything else, by the convention of ``pamprof.measure.flops.elementwise_weights``.
    """

    matrix_flop_count: int = 0
    matrix_dense_flop_count: int = 0
    elementwise_flop_count: int = 0

    def plus(self, other: FlopSum, sign: int = 1) -> FlopSum:
        """The sum; with ``sign`` -1 the difference."""
        return FlopSum(
            matrix_flop_count=self.matrix_flop_count + sign * other.matrix_flop_count,
            matrix_dense_flop_count=self.matrix_dense_flop_count + sign * other.matrix_dense_flop_count,
            elementwise_flop_count=self.elementwise_flop_count + sign * other.elementwise_flop_count,
        )

    def fields(self) -> dict[str, int]:
        """The three sums alone, for a row that has them among others."""
        return {
            "matrix_flop_count": self.matrix_flop_count,
            "matrix_dense_flop_count": self.matrix_dense_flop_count,
            "elementwise_flop_count": self.elementwise_flop_count,
        }


def total(sums: Iterable[FlopSum]) -> FlopSum:
    """All of them together."""
    return reduce(FlopSum.plus, sums, FlopSum())


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFlops(FlopSum):
    """What all calls of one operator cost.

    Attributes:
        operator: ``namespace::name``.
        call_count: How often it was called.
        backward: The part that ran in the backward pass.
    """

    operator: str
    call_count: int
    backward: FlopSum


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFlops(FlopSum):
    """What the code of one module costs, without the modules inside it; all rows together are the model's total.

    Backward work belongs to the module whose forward pass made it necessary.

    Attributes:
        name: As ``named_modules`` has it, empty for the model itself; ``OUTSIDE`` for what ran in no module. A module
            that the model does not name is called by its type, under the module that called it.
        type_name: Its class; empty for what ran in no module.
        other_names: Further names of the same module. Its work stands under the name nearest to the module that calls
            it, and under the first where that does not tell them apart.
        call_count: How often it was called, when checkpoints were recomputed included.
        backward: The part that ran in the backward pass, recomputation included.
        within: The module with all modules inside it.
        within_backward: The part of ``within`` that ran in the backward pass.
    """

    name: str
    type_name: str
    other_names: tuple[str, ...]
    call_count: int
    backward: FlopSum
    within: FlopSum
    within_backward: FlopSum


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelFlops(FlopSum):
    """What one run of a model costs: forward, and backward where it was asked for. Shown as tables.

    Attributes:
        backward: The part that ran in the backward pass, recomputation included.
        parameter_count: Real scalars of the model's parameters (a complex one has two), tied ones once; None where
            what was counted is not a module.
        by_operator: Operators that cost anything, the most expensive first.
        by_module: Modules that ran, and those around them, in the model's order; what ran outside of any at the end.
        uncounted: Operators without a formula; ``pamprof.flops_of`` registers one.
        complete: Whether there are none, so that the totals are everything.
    """

    backward: FlopSum
    parameter_count: int | None
    by_operator: tuple[OperatorFlops, ...]
    by_module: tuple[ModuleFlops, ...]
    uncounted: tuple[OperatorCount, ...]
    complete: bool

    @property
    def forward(self) -> FlopSum:
        """What is not the backward pass's."""
        return self.plus(self.backward, -1)

    def to_frame(self, by: Literal["operator", "module"] = "operator") -> DataFrame:
        """The rows of ``by_operator`` or ``by_module`` as a data frame; nested sums become columns with a prefix."""
        import pandas as pd

        key, rows = ("operator", self.by_operator) if by == "operator" else ("name", self.by_module)
        flat = [
            {
                f"{name}_{inner}" if inner else name: entry
                for name, value in asdict(row).items()
                for inner, entry in (value.items() if isinstance(value, dict) else (("", value),))
            }
            for row in rows
        ]
        return pd.DataFrame([{key: row.pop(key), **row} for row in flat])

    def __str__(self) -> str:
        return "\n\n".join((*(plain(table) for table in self._tables()), remark(self)))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html(self._tables(), remark(self))

    def _tables(self) -> tuple[FlopTable, ...]:
        return summary_table(self), operator_table(self), module_table(self)
