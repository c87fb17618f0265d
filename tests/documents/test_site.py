"""Parts of the site that are made from the code, and the check that follows its links."""

import importlib.util
import re
import sys

import pytest

import pamprof
from pamprof.render.comparison.metrics import METRICS
from pamprof.render.comparison.rows import VERDICTS
from tests.documents.documents import PAGES, REPOSITORY, text_of


def _module(name):
    place = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


site_tables, check_site, readme_table = _module("site_tables"), _module("check_site"), _module("readme_table")


def test_the_columns_are_those_of_the_report():
    text = "\n".join(site_tables.columns())
    assert [
        metric.name for metric in METRICS if f"**{metric.heading}**" not in text or metric.meaning not in text
    ] == []
    assert [name for metric in METRICS for name in metric.csv if f"`{name}`" not in text] == []


def test_the_verdicts_are_those_of_the_report():
    text = "\n".join(site_tables.verdicts())
    assert [word.text for word in VERDICTS.values() if f"**{word.text}** | {word.meaning}" not in text] == []
    assert "±1 %" in text


def test_every_command_and_option_is_in_the_reference():
    text = "\n".join(site_tables.commands())
    commands = dict(site_tables.every_command())
    assert ("compare",) in commands
    assert ("prices", "refresh") in commands
    for path, command in commands.items():
        section = text.partition(f"## pamprof {' '.join(path)}\n")[2].partition("\n## ")[0]
        names = [name for parameter in command.params for name in parameter.opts if name.startswith("-")]
        assert names, path
        assert [name for name in names if name not in section] == []
        assert command.help.splitlines()[0] in section


def test_every_public_name_is_in_the_reference():
    named = {line.removeprefix("## ") for line in site_tables.public_names() if line.startswith("## ")}
    assert named == {name for name in pamprof.__all__ if not name.startswith("__")}


def test_the_efforts_are_told_for_both_kinds_of_device():
    text = "\n".join(site_tables.efforts())
    assert "| GPU, `quick` | 4.5 min |" in text
    assert "| CPU, `quick` | 30 s |" in text


def test_every_table_that_a_page_asks_for_exists_and_none_is_left_out():
    asked = {name for page in PAGES for name in re.findall(r"```\{from-code\} ([\w-]+)", text_of(page))}
    assert asked == set(site_tables.TABLES)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#here">B</a><a href="https://x.example">X</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><img src="a.html"><style>p { color: red }</style>')
    return tmp_path


def test_a_whole_site_has_no_faults(site):
    assert check_site.faults(site) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="none.html">', "none.html leads to no file"),
        ('<a href="b.html#gone">', "b.html#gone leads to no anchor"),
        ('<a href="#gone">', "#gone leads to no anchor"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js from another host"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css from another host"),
        ("<style>@import 'https://fonts.example/x';</style>", "loads https://fonts.example/x from another host"),
        ('<p style="background: url(https://x.example/y)">', "loads https://x.example/y from another host"),
    ],
)
def test_a_dead_link_and_a_foreign_fetch_are_found(site, html, fault):
    (site / "c.html").write_text(html)
    assert check_site.faults(site) == [f"c.html: {fault}"]


def test_a_style_sheet_that_fetches_is_found(site):
    (site / "x.css").write_text("@font-face { src: url('https://fonts.example/y.woff') }")
    assert check_site.faults(site) == ["x.css: loads https://fonts.example/y.woff from another host"]


def test_the_table_of_all_layers_in_the_readme_is_that_of_the_committed_records():
    readme = text_of(REPOSITORY / "README.md")
    made = readme_table.with_table(readme.replace("| PAM | ", "| PAM | typed over "))
    assert made == readme, "run python docs/readme_table.py"
    assert "| Llama | 562k (baseline, reference) |" in made
