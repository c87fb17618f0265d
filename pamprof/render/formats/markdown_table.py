"""Text and tables as Markdown in which nothing is markup that was not meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.render.formats.table_view import TableView

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")
# A paragraph that begins like this becomes a list, a rule, a heading or code.
_BEGINNING = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")


def escape(text: str) -> str:
    """``text`` as literal Markdown, wherever it stands: nothing in it is markup, HTML or a table border."""
    return _BEGINNING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", text).lstrip())


def render_table_markdown(view: TableView) -> str:
    """The view as Markdown, with every text escaped; texts must already be clean of control characters."""
    lines = [f"## {escape(view.title)}", "", escape(view.summary), ""]
    lines.append(markdown_row(view.columns))
    lines.append("|" + "".join("---:|" if index in view.right else "---|" for index in range(len(view.columns))))
    lines += [markdown_row(row) for row in view.rows]
    lines += ["", *(f"- {escape(note)}" for note in view.notes)]
    return "\n".join(lines).rstrip() + "\n"


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a table, every cell escaped."""
    return f"| {' | '.join(escape(cell) for cell in cells)} |"
