"""The README's table of all layers, made from committed records.

    python docs/readme_table.py

writes it between its two marks. ``tests/documents`` holds the README to it.
"""

from __future__ import annotations

import re
from pathlib import Path

from pamprof.records.store import merged, read_records
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.markdown import family_markdown

ROOT = Path(__file__).resolve().parent.parent
# One device model; the price is that of the latest session.
REPORTS = ("2026-11-22-nvidia-h200", "2026-11-23-nvidia-h200-fused", "2026-11-28-nvidia-h200-reference")
_MARKED = re.compile(r"(<!-- all layers -->\n).*?(<!-- end of all layers -->)", re.DOTALL)


def with_table(readme: str) -> str:
    """``readme`` with its table made anew."""
    files = [read_records(ROOT / "reports" / name / "runs.jsonl") for name in REPORTS]
    table = build_view(merged(files)).family
    assert table is not None
    made = "\n".join(family_markdown(table, brief=True)).rstrip()
    return _MARKED.sub(lambda marks: f"{marks[1]}\n{made}\n\n{marks[2]}", readme)


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
