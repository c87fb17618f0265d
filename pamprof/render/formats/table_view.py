"""A table with a heading and sentences, for the commands that print one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """What is shown.

    Attributes:
        title: The heading.
        summary: The sentences above the table.
        columns: Headings of the columns.
        right: Numbers of the columns that are aligned right.
        rows: One text a column; where the last begins with a basis, the row looks like it.
        notes: The sentences below the table.
        labels: What each column is called where a row is read alone; empty where the headings say it.
        modelled: Numbers of the columns that are modelled whatever the row's basis.
    """

    title: str
    summary: str
    columns: tuple[str, ...]
    right: frozenset[int]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    labels: tuple[str, ...] = ()
    modelled: frozenset[int] = frozenset()
