"""What the page's script shares with Python: every sentence and constant is written once."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from pamprof.analysis.serving import sentences as curve_sentences
from pamprof.pricing.serving import sentences as decision_sentences
from pamprof.render.serving import sentences as page_sentences
from pamprof.render.serving.script import MODULES, serving_script

SENTENCES = (curve_sentences, decision_sentences, page_sentences)
FOLDER = files("pamprof.render").joinpath("templates", "serving")
SOURCES = {name: FOLDER.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in MODULES}
# A comment, or a string in either quotes; a template literal would escape the test, so there may be none.
_TOKENS = re.compile(r"//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")
_WORD = re.compile(r"[A-Za-z]{2,}")
_NAME = re.compile(r"\"[A-Z_]+\"")
_PLACE = re.compile(r"{(\w+)}")


def literals(source: str) -> list[str]:
    return [found for found in _TOKENS.findall(source) if not found.startswith("//")]


def templates() -> dict[str, str]:
    return {name: text for module in SENTENCES for name, text in vars(module).items() if name.isupper()}


@pytest.mark.parametrize("name", MODULES)
def test_no_sentence_is_written_in_the_script(name: str) -> None:
    said = [text for text in literals(SOURCES[name]) if not _NAME.fullmatch(text) and len(_WORD.findall(text)) >= 4]
    assert said == []
    assert "`" not in re.sub(r"//[^\n]*", "", SOURCES[name])


def test_every_sentence_is_written_once() -> None:
    every = [text for module in SENTENCES for name, text in vars(module).items() if name.isupper()]
    assert len(set(every)) == len(every)
    names = [name for module in SENTENCES for name in vars(module) if name.isupper()]
    assert len(set(names)) == len(names)


def test_the_script_names_only_templates_that_exist_and_leaves_none_unused() -> None:
    script = "\n".join(SOURCES.values())
    named = set(re.findall(r"costText\.([A-Z_]+)", script))
    named |= {text[1:-1] for text in literals(script) if re.fullmatch(r'"[A-Z]+(?:_[A-Z]+)*"', text)}
    known = set(templates())
    assert named & known >= {"TOKEN_COST", "DOES_NOT_FIT"}
    assert {name for name in named if "_" in name} <= known
    assert known - named == set()


def test_shared_words_and_constants_come_before_the_script_that_reads_them() -> None:
    script = serving_script("{}")
    texts = json.loads(re.search(r"const costText = (.*);", script)[1])
    assert set(texts) == set(templates())
    assert {name: _PLACE.findall(text) for name, text in texts.items()} == {
        name: _PLACE.findall(text) for name, text in templates().items()
    }
    assert script.index("const costText") < script.index("const costConstants") < script.index("const costWords")
