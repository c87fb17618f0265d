"""Descriptions of rented machines: their commands are ones the program takes, and their price is known before."""

import json
import re
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.devices.names import canonical_device
from tests.documents.documents import REPOSITORY
from tests.documents.test_commands import _parsed

RENTED = REPOSITORY / "examples" / "rented"
FILES = ("sky.yaml", "compare.dstack.yml")
# What SkyPilot 0.14 and dstack 0.22 take, as far as it is used.
KEYS = {
    "sky.yaml": {"name", "workdir", "resources", "setup", "run"},
    "compare.dstack.yml": {
        "type", "name", "repos", "working_dir", "python", "commands", "resources", "max_duration", "idle_duration",
    },
}  # fmt: skip


def text_of(name):
    return (RENTED / name).read_text(encoding="utf-8")


def described(name):
    return yaml.safe_load(text_of(name))


def commands_of(name):
    found = described(name)
    lines = found["commands"] if "commands" in found else (found["setup"] + found["run"]).splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def gpu_of(name):
    resources = described(name)["resources"]
    kind, _, count = (resources.get("accelerators") or resources["gpu"]).partition(":")
    assert count == "1"
    return kind


def test_every_description_is_read_here():
    assert {path.name for path in RENTED.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_description_has_only_keys_that_its_tool_takes(name):
    assert set(described(name)) <= KEYS[name]


@pytest.mark.parametrize("name", FILES)
def test_a_description_measures_with_commands_that_the_program_takes(name):
    words = [words[1:] for words in commands_of(name) if words[0] == "pamprof"]
    assert [each[0] for each in words] == ["doctor", "compare"]
    for each in words:
        _parsed(each)
    installed = next(words for words in commands_of(name) if "install" in words)
    assert ".[kernels]" in installed


@pytest.mark.parametrize("name", FILES)
def test_the_folder_that_is_measured_is_the_one_brought_back(name):
    compare = next(words for words in commands_of(name) if words[:2] == ["pamprof", "compare"])
    folder = compare[compare.index("--output-dir") + 1]
    fetched = re.search(r"#\s+(?:rsync -a|scp -r) pamprof:(\S+) \.", text_of(name))
    assert fetched[1].endswith(f"/{folder}")
    assert described(name)["name"] == "pamprof"  # by which ssh knows it


@pytest.mark.parametrize("name", FILES)
def test_the_price_is_told_before_anything_is_rented(name):
    words = shlex.split(re.search(r"#\s+(pamprof compare .* --dry-run)$", text_of(name), re.MULTILINE)[1])
    assert canonical_device(gpu_of(name)) == words[words.index("--gpu") + 1]
    rented = next(each for each in commands_of(name) if each[:2] == ["pamprof", "compare"])
    asked = rented[: rented.index("--output-dir")]
    assert [word for word in words if word not in ("--gpu", "--dry-run", canonical_device(gpu_of(name)))] == asked
    answer = CliRunner().invoke(app, [*words[1:], "--json"])
    assert answer.exit_code == 0, answer.output
    plan = json.loads(answer.stdout)
    assert 0.05 < plan["usd"] < 5
    assert plan["usd"] == pytest.approx(plan["expected_seconds"] / 3600 * 4.7, rel=0.3)


@pytest.mark.parametrize("name", FILES)
def test_nobody_pays_for_a_machine_that_was_forgotten(name):
    found = described(name)
    assert found.get("max_duration") or found["resources"]["autostop"]["down"] is True
