"""Follows every link of a built site without a network: files and anchors exist, and no page fetches from elsewhere.

python docs/check_site.py FOLDER
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself when it shows a page; a link that a reader may follow is `a`.
_LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
_NOT_LOADED = {"canonical", "next", "prev", "index", "search", "help", "author", "license"}
_STYLE_LOADS = re.compile(r"""@import\s+["']?([^"';\s)]+)|url\(\s*["']?([^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """One page's links, what it loads, and its anchors."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag names, links to or loads."""
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(_LOADED.get(tag, "")) and not set(given.get("rel", "").split()) & _NOT_LOADED:
            self.loads.append(given[_LOADED[tag]])
        self.styles.append(given.get("style", ""))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """A style sheet ends."""
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        """Keep style sheets."""
        if self._in_style:
            self.styles.append(data)


def faults(site: Path) -> list[str]:
    """One sentence for each link that leads nowhere and each thing fetched from elsewhere."""
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    found = [
        f"{path.relative_to(site.resolve())}: {fault}"
        for path, page in pages.items()
        for link in dict.fromkeys((*page.links, *page.loads))
        if (fault := _dead(link, path, pages)) is not None
    ]
    styles = {path.resolve(): [path.read_text(encoding="utf-8")] for path in sorted(site.rglob("*.css"))}
    for path, texts in {**{path: page.styles for path, page in pages.items()}, **styles}.items():
        loads = [first or second for text in texts for first, second in _STYLE_LOADS.findall(text)]
        loads += pages[path].loads if path in pages else []
        foreign = dict.fromkeys(load for load in loads if urlsplit(load).netloc)
        found += [f"{path.relative_to(site.resolve())}: loads {load} from another host" for load in foreign]
    return found


def _read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _dead(link: str, path: Path, pages: dict[Path, Page]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return f"{link} leads to no file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"{link} leads to no anchor"
    return None


if __name__ == "__main__":
    told = faults(Path(sys.argv[1]))
    print(*told, sep="\n", end="\n" if told else "")
    sys.exit(1 if told else 0)
