"""Every command in a document is one that the program takes, and every one that can be run in a test runs."""

import os
import re
import shlex
import tomllib

import pytest
from typer import Context
from typer.main import get_command
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.render.formats import html, write
from pamprof.render.history import trend_files
from pamprof.render.serving import page
from tests.documents.documents import DOCUMENTS, EXAMPLES, PARSED_ONLY, REPORTS, REPOSITORY, blocks, commands, files_in

_RUNNER_TEMP = {"RUNNER_TEMP": ".", "GITHUB_STEP_SUMMARY": "summary.md"}
_SWEEP = REPOSITORY / "reports" / "2026-11-23-nvidia-h200-serving" / "100m"
_AGREEMENT = REPOSITORY / "reports" / "2026-11-23-nvidia-h200-fused" / "agreement"
_OLDEST = REPOSITORY / "tests" / "records" / "fixtures" / "schema-1.jsonl"
# Folders that commands of the documents read: what the commands before them would have written.
_MEASURED = {
    "first": (_OLDEST,),
    "run": (_OLDEST,),
    "comparison": (REPOSITORY / "reports" / "2026-11-28-nvidia-h100-quick" / "runs.jsonl",),
    "base": (_AGREEMENT / "second-run.jsonl",),
    "head": (_AGREEMENT / "third-run.jsonl",),
    "sweep": (_SWEEP / "pam.jsonl", _SWEEP / "llama.jsonl"),
}
# Commands that measure for as long as a device needs; their options are parsed.
_MEASURING = {"serve-sweep", "serve-check", "validate", "doctor"}


def _expanded(words):
    return tuple(re.sub(r"\$(\w+)", lambda found: _RUNNER_TEMP[found[1]], word) for word in words)


def _found(documents):
    """Commands of ``documents`` with whether they may be run, each once."""
    found = {}
    for document in documents:
        for block in blocks(document, "sh", "yaml"):
            lines = (
                block.text if block.language == "sh" else re.sub(r"^\s*-?\s*run:", "", block.text, flags=re.MULTILINE)
            )
            for words in commands(lines):
                found[_expanded(words)] = found.get(_expanded(words), True) and block.is_run
    return found


COMMANDS = _found(DOCUMENTS)
PAMPROF = {words[1:]: is_run for words, is_run in COMMANDS.items() if words[0] == "pamprof"}
OTHERS = tuple(words for words in COMMANDS if words[0] != "pamprof")
# Commands that tests/examples runs, and those that made the reports.
OTHERS_OF_PAMPROF = tuple(words[1:] for words in _found((EXAMPLES, *REPORTS)) if words[0] == "pamprof")


def _parsed(words):
    """The command's context; raises what the program would say to wrong options, arguments or values."""
    command, rest = get_command(app), list(words)
    context = Context(command, info_name="pamprof")
    while hasattr(command, "commands"):
        name = rest.pop(0)
        context = Context(command, info_name=name, parent=context)
        command = command.commands[name]
    return command.make_context(command.name, rest, parent=context)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with everything the commands read."""
    made = tmp_path_factory.mktemp("documents")
    for name in ("reports", "benchmarks", "examples"):
        (made / name).symlink_to(REPOSITORY / name)
    for name, sources in _MEASURED.items():
        (made / name).mkdir()
        (made / name / "runs.jsonl").write_bytes(b"".join(source.read_bytes() for source in sources))
    for document in DOCUMENTS:
        for name, text in files_in(document).items():
            (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.mark.parametrize(
    "words", [*PAMPROF, *(words for words in OTHERS_OF_PAMPROF if words not in PAMPROF)], ids=shlex.join
)
def test_every_command_has_the_arguments_it_is_shown_with(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    _parsed(words)


@pytest.mark.parametrize("words", [("compare", "--colour"), ("cost", "sweep"), ("prices", "show"), ("diff",)])
def test_a_command_that_the_program_would_refuse_is_noticed(words):
    with pytest.raises(Exception, match=r"(?i)no such option|missing"):
        _parsed(words)


def _as_run(words):
    """A comparison is planned, in a folder that it does not write to."""
    if words[0] != "compare":
        return words
    planned = (*words, "--dry-run") if "--dry-run" not in words else words
    return planned if "--resume" in words else (*planned, "--output-dir", "new")


def _is_slow(words):
    """Layers of the documents are asked in processes of their own, and a bill has every curve's intervals."""
    own = any(re.search(r"\w:\w", word) for word in words)
    return own or words[0] in {"flops", "cost"} or (words[0] == "report" and "sweep" in words)


def _params():
    for words, is_run in PAMPROF.items():
        if is_run and words[0] not in _MEASURING:
            marks = [pytest.mark.slow] if _is_slow(words) else []
            yield pytest.param(_as_run(words), id=shlex.join(words), marks=marks)


@pytest.mark.parametrize("words", tuple(_params()))
def test_every_command_runs(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(html, "draw_svg", lambda chart, narrow: "")
    for module in (write, page, trend_files):
        monkeypatch.setattr(module, "draw_png", lambda chart: b"")
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    assert result.stdout or "-o" in words


def test_a_block_that_is_only_parsed_says_why():
    remarks = [block.remark for document in DOCUMENTS for block in blocks(document, "sh", "python") if block.remark]
    assert remarks
    assert [
        remark for remark in remarks if not remark.removeprefix(PARSED_ONLY).strip() or PARSED_ONLY not in remark
    ] == []


def test_other_commands_are_of_tools_that_are_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for words in OTHERS:
        name, *rest = words
        if name.startswith("scripts/") or name == ".ci/run":
            assert os.access(REPOSITORY / name, os.X_OK), words
        elif name == "python" and rest[0] != "-m":
            assert (REPOSITORY / rest[0]).is_file(), words
        elif name in {"pip", "python"}:
            extras = re.search(r"\[(.*?)\]", " ".join(rest))
            assert "install" in rest, words
            assert extras is None or set(extras[1].split(",")) <= set(project["optional-dependencies"]), words
        else:
            assert name in {"git", "cd", "pytest", "pre-commit"}, words


def test_the_script_that_ci_runs_is_the_readmes_second_command():
    script = (REPOSITORY / "scripts" / "test").read_text(encoding="utf-8")
    assert script.splitlines()[-1] in (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()


def test_shell_is_split_into_its_commands():
    text = '(cd x && pamprof diff a \\\n  b) >> "$SUMMARY" # why\npamprof trend a\n'
    assert commands(text) == (("cd", "x"), ("pamprof", "diff", "a", "b"), ("pamprof", "trend", "a"))
