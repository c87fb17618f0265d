"""The Markdown files that people read, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted((REPOSITORY / "docs").glob("*.md")))
DOCUMENTS = (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *PAGES)
EXAMPLES = REPOSITORY / "examples" / "README.md"
REPORTS = tuple(sorted((REPOSITORY / "reports").glob("*/README.md")))

_BLOCK = re.compile(
    r"(?:<!-- (?P<remark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_BETWEEN_COMMANDS = {"&&", "||", "|", ";", "(", ")"}
PARSED_ONLY = "parsed only: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Code of a document; ``remark`` is a comment directly above it."""

    document: Path
    language: str
    text: str
    remark: str

    @property
    def is_run(self):
        return not self.remark.startswith(PARSED_ONLY)


def text_of(document):
    return document.read_text(encoding="utf-8")


def blocks(document, *languages):
    return tuple(
        Block(document=document, language=found["language"], text=found["text"], remark=found["remark"] or "")
        for found in _BLOCK.finditer(text_of(document))
        if found["language"] in languages
    )


def commands(text):
    """Each simple command of a block of shell as words, without redirections."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words, skip = [], False
        for word in lexer:
            if word in _BETWEEN_COMMANDS:
                found.append(tuple(words))
                words = []
            elif skip or word in {">", ">>"}:
                skip = not skip
            else:
                words.append(word)
        found.append(tuple(words))
    return tuple(words for words in found if words)


def files_in(document):
    """Files that a document shows whole, by name: blocks that begin with a comment such as ``# my_layers.py: …``."""
    return {
        name[1]: block.text
        for block in blocks(document, "python", "toml")
        if (name := re.match(r"# (\w+\.(?:py|toml)): ", block.text)) is not None
    }


def headings(text):
    """Anchors of a document's headings, as GitHub and the site make them."""
    lines = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    titles = [line.lstrip("#").strip() for line in lines if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text):
    """Targets of a document's links, those in code left out."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", prose)
