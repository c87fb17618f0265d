"""The notebooks of the examples, executed as somebody would: each ends without an error and says what it did."""

import warnings
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def shown(notebook):
    """What its cells put out, a text for each cell of code."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield "\n".join(
                "".join(output.get("data", {}).get("text/plain", "")) or "".join(output.get("text", ""))
                for output in cell.outputs
            )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_was_executed_in_order_and_shows_its_results(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type == "execute_result" for cell in code for output in cell.outputs)
    assert "against transformer tiny" in "".join(shown(notebook))
    assert path.stat().st_size < 100_000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    if path.stem == "transformers":
        pytest.importorskip("transformers")
    notebook = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that run notebooks
        nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = "".join(shown(notebook))
    assert "against transformer tiny" in outputs
    assert "Error" not in outputs
    if path.stem == "layers":
        assert list(shown(notebook))[-1] == "True"
