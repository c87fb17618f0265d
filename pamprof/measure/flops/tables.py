"""The tables of a count, as rows of text: totals, by operator, by module; in plain text and in HTML."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from pamprof.units import UNKNOWN, si

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pamprof.measure.flops.model_flops import FlopSum, ModelFlops, ModuleFlops

_DIGITS = 4
_EXACT_BELOW = 100_000
_KINDS = (
    ("matrix products, causal", "matrix_flop_count"),
    ("matrix products, dense", "matrix_dense_flop_count"),
    ("elementwise", "elementwise_flop_count"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopTable:
    """Cells as they are shown.

    Attributes:
        columns: Headings.
        rows: As many cells each as there are headings.
        left: How many columns at the left hold words; the others hold numbers and are aligned right.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


def summary_table(flops: ModelFlops, token_count: int | None = None) -> FlopTable:
    """Exact totals; per token where the number of tokens is known."""
    columns: list[tuple[str, FlopSum, int]] = [("total", flops, 1)]
    if _cost(flops.backward):
        columns = [("forward", flops.forward, 1), ("backward", flops.backward, 1), *columns]
    if token_count:
        columns.append(("per token", flops, token_count))
    return FlopTable(
        columns=("FLOP", *(title for title, _, _ in columns)),
        rows=tuple(
            (kind, *(_exact(getattr(amount, field), share) for _, amount, share in columns)) for kind, field in _KINDS
        ),
        left=1,
    )


def operator_table(flops: ModelFlops) -> FlopTable:
    """A row an operator."""
    return FlopTable(
        columns=("operator", "calls", *_SUM_COLUMNS),
        rows=tuple(
            (row.operator, f"{row.call_count:,}", *_sum_cells(row, row.backward, flops, 1)) for row in flops.by_operator
        ),
        left=1,
    )


def module_table(flops: ModelFlops) -> FlopTable:
    """A row a module with all inside it, indented; numbered modules that cost the same in one row: ``h.[0-11]``."""
    children: dict[str, list[ModuleFlops]] = defaultdict(list)
    tops: list[ModuleFlops] = []
    names = {row.name for row in flops.by_module}
    for row in flops.by_module:
        parent = row.name.rpartition(".")[0]
        if row.name and row.type_name and parent in names:
            children[parent].append(row)
        else:
            tops.append(row)
    tree = _Tree(children)
    lines = [line for top in tops for line in tree.lines(top, top.name or top.type_name, 0, 1)]
    return FlopTable(
        columns=("module, with all inside it", "type", "calls", *_SUM_COLUMNS),
        rows=tuple(
            (
                f"{'  ' * depth}{label}",
                row.type_name,
                f"{row.call_count * times:,}" if row.call_count else "",
                *_sum_cells(row.within, row.within_backward, flops, times),
            )
            for row, label, depth, times in lines
        ),
        left=2,
    )


def remark(flops: ModelFlops) -> str:
    """Parameters, and whether everything was counted."""
    parameters = "" if flops.parameter_count is None else f"{flops.parameter_count:,} parameters. "
    if flops.complete:
        return f"{parameters}Complete: every operator that ran has a formula."
    names = ", ".join(f"{each.operator} ({each.count:,}×)" for each in flops.uncounted)
    return (
        f"{parameters}Incomplete, the totals lack: {names}. Register what one call costs with "
        f'pamprof.flops_of("{flops.uncounted[0].operator}", formula).'
    )


def plain(table: FlopTable) -> str:
    """Aligned text."""
    lines = (table.columns, *table.rows)
    widths = [max(len(line[number]) for line in lines) for number in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < table.left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def html(tables: Sequence[FlopTable], closing: str) -> str:
    """One table element each, and a last paragraph."""
    return "".join(map(_html_table, tables)) + f"<p>{escape(closing)}</p>"


def _html_table(table: FlopTable) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        sides = ("left" if number < table.left else "right" for number in range(len(cells)))
        return "".join(
            f'<{tag} style="text-align:{side};white-space:pre">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in table.rows)
    return f"<table><thead><tr>{line(table.columns, 'th')}</tr></thead><tbody>{body}</tbody></table>"


_SUM_COLUMNS = ("matrix forward", "matrix backward", "elementwise", "share of all")


def _sum_cells(amount: FlopSum, backward: FlopSum, whole: FlopSum, times: int) -> tuple[str, ...]:
    share = f"{100 * times * _cost(amount) / _cost(whole):.2f} %" if _cost(whole) else UNKNOWN
    forward = amount.plus(backward, -1).matrix_flop_count
    counts = (forward, backward.matrix_flop_count, amount.elementwise_flop_count)
    return (*(_short(times * count) for count in counts), share)


def _short(count: int) -> str:
    return f"{count:,}" if count < _EXACT_BELOW else si(count, digits=_DIGITS)


def _cost(amount: FlopSum) -> int:
    return amount.matrix_flop_count + amount.elementwise_flop_count


def _exact(count: int, share: int) -> str:
    whole, rest = divmod(count, share)
    return f"{whole:,}" if not rest else f"{count / share:,.1f}"


class _Tree:
    """Modules under their parents; tells which numbered siblings are alike in all they do."""

    def __init__(self, children: dict[str, list[ModuleFlops]]) -> None:
        self._children = children

    def lines(
        self, row: ModuleFlops, label: str, depth: int, times: int
    ) -> Iterator[tuple[ModuleFlops, str, int, int]]:
        """Row, label, depth, and for how many alike it stands; modules that cost nothing are left out."""
        if not _cost(row.within):
            return
        yield row, label, depth, times
        prefix = f"{label}." if row.name else ""
        for _, group in groupby(self._children.get(row.name, ()), self._kind):
            alike = list(group)
            first, last = (each.name.rpartition(".")[2] for each in (alike[0], alike[-1]))
            inner = f"{prefix}{first}" if len(alike) == 1 else f"{prefix}[{first}-{last}]"
            yield from self.lines(alike[0], inner, depth + 1, times * len(alike))

    def _kind(self, row: ModuleFlops) -> Hashable:
        """Equal for numbered modules that can share a row, of its own for every other."""
        local = row.name.rpartition(".")[2]
        return self._nature(row) if local.isdecimal() else local

    def _nature(self, row: ModuleFlops) -> Hashable:
        inside = tuple((each.name[len(row.name) :], self._nature(each)) for each in self._children.get(row.name, ()))
        return row.type_name, row.call_count, row.backward, row.within, row.within_backward, inside
