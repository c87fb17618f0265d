"""Every block of Python in a document runs, in a folder of its own, with names of the blocks before it."""

from functools import partial

import pytest
import torch

import pamprof
from tests.documents.documents import DOCUMENTS, REPOSITORY, blocks, files_in

# What a block leaves to its reader, by document.
_GIVEN = {
    "README.md": lambda: {
        "model": torch.nn.Linear(4, 4),
        "inputs": torch.ones(6, 4),
        "batch": 2,
        "length": 3,
        "loader": [torch.ones(6, 4)] * 4,
    }
}
_results = {}


def _compared(compare, *arguments, **options):
    """What documents measure alike is measured once."""
    key = repr((arguments, options))
    if key not in _results:
        _results[key] = compare(*arguments, **options)
    return _results[key]


WITH_PYTHON = [document for document in DOCUMENTS if blocks(document, "python")]


def _training(names):
    layer = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    def train(inputs):
        layer(inputs).sum().backward()
        optimizer.step()

    return {**names, "train": train}


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda document: document.name)
def test_the_python_of_a_document_runs(document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reports").symlink_to(REPOSITORY / "reports")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")
    small = {
        "implementations": ["sdpa", "planar"],
        "time_limit": 0.05,
        "monitor": 0.05,
        "device": "cpu",
        "time_budget": "4m",
    }
    monkeypatch.setattr(pamprof, "compare", partial(_compared, pamprof.compare, **small))
    names = {"__name__": document.stem, **_training(_GIVEN.get(document.name, dict)())}
    for name, text in files_in(document).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for block in blocks(document, "python"):
        code = compile(block.text, document.name, "exec")
        if block.is_run:
            exec(code, names)
    _held(document, names, capsys.readouterr().out, tmp_path)


def _held(document, names, printed, folder):
    """What the words beside the blocks say of their results."""
    if "result" in names:
        assert "Decode at 64 tokens of context, batch 1: " in printed
        assert {"pam", "transformer"} == set(names["result"].to_frame()["layer"])
        (page,) = folder.glob("*/report.html")
        assert page.stat().st_size > 10_000
    if "stored" in names:
        assert set(names["stored"].to_frame()["ListUnitPrice"]) == {2.95}
    if "run" in names:
        assert "tokens a step" in printed
    if "cost" in names:
        assert 0.001 < names["cost"].usd_per_million_tokens.median < 1
