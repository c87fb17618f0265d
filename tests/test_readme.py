import re
import shlex
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest
import torch

import pamprof
from pamprof.workloads.layers.foreign.declared import declaration_of

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("pamprof ")
]


@cache
def options_of(command):
    result = subprocess.run(
        [sys.executable, "-m", "pamprof", command, "--help"], capture_output=True, text=True, check=True,
        cwd=REPOSITORY,
    )  # fmt: skip
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", result.stdout))


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_every_command_of_the_readme_has_the_options_it_is_shown_with(words):
    used = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
    assert used <= options_of(words[1])


def test_the_script_that_ci_runs_is_the_readmes_second_command():
    script = (REPOSITORY / "scripts" / "test").read_text(encoding="utf-8")
    assert script.splitlines()[-1] in README.splitlines()


def test_every_file_the_readme_links_to_is_there():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    snippet, loop = re.findall(r"```python\n((?:import|with) pamprof.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
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
    monkeypatch.setattr(pamprof, "compare", partial(pamprof.compare, **small))
    names = {}
    exec(snippet, names)
    sentence, usd = capsys.readouterr().out.splitlines()
    assert sentence.startswith("Decode at 64 tokens of context, batch 1: ")
    assert {"pam", "transformer"} == set(names["frame"]["layer"])
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert set(names["stored"].to_frame()["ListUnitPrice"]) == {2.95}
    assert 0.001 < float(usd) < 1
    layer = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    def train(inputs):
        layer(inputs).sum().backward()
        optimizer.step()

    exec(loop, {"pamprof": pamprof, "batch": 2, "length": 3, "train": train, "loader": [torch.ones(6, 4)] * 4})
    assert "6 tokens a step" in capsys.readouterr().out
    assert (tmp_path / "runs.jsonl").exists()


def test_the_declared_layer_of_the_readme_is_one():
    (snippet,) = re.findall(r"```python\n(@pamprof\.layer.*?)```", README, flags=re.DOTALL)
    names = {"pamprof": pamprof, "nn": torch.nn, "S5": lambda width: torch.nn.Linear(width, width)}
    exec(snippet, names)
    declared = declaration_of(names["s5"])
    assert declared.widths() == tuple(range(128, 4097, 128))
    assert declared.role == "twin"
