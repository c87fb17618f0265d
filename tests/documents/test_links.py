"""Every link of every Markdown file leads to a file, and to a heading where it names one."""

from urllib.parse import unquote

import pytest

from tests.documents.documents import DOCUMENTS, EXAMPLES, PAGES, REPORTS, REPOSITORY, headings, links, text_of

_ALL = (*DOCUMENTS, EXAMPLES, REPOSITORY / "CHANGELOG.md", *REPORTS)


@pytest.mark.parametrize("document", _ALL, ids=lambda document: str(document.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file_and_a_heading(document):
    dead = []
    for link in links(text_of(document)):
        place, _, anchor = link.partition("#")
        target = document if not place else (document.parent / unquote(place)).resolve()
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(text_of(target))):
            dead.append(link)
    assert dead == []


def test_a_heading_has_the_anchor_that_links_use():
    assert headings("# Is \"as published\" honest?\n```sh\n# no heading\n```\n## A `b`, c\n") == {
        "is-as-published-honest", "a-b-c",
    }  # fmt: skip


def test_every_page_is_in_the_navigation():
    index = text_of(REPOSITORY / "docs" / "index.md").splitlines()
    assert [page.stem for page in PAGES if page.stem != "index" and page.stem not in index] == []
