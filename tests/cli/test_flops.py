"""``pamprof flops``: its result, its options, and layers that print, end the process or never end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import msgspec
import pytest
from typer.testing import CliRunner

import pamprof
from pamprof.cli import app
from pamprof.measure.flops.model_flops import FlopSum, ModelFlops, ModuleFlops, OperatorFlops
from pamprof.measure.flops.target import ask
from pamprof.measure.flops.target.request import CountAnswer, CountedPhase, CountRequest
from pamprof.measure.flops.target.worker import reply_to
from pamprof.records import OperatorCount
from tests.cli.answers import one_sentence

REPOSITORY = os.path.dirname(os.path.dirname(pamprof.__file__))

LAYERS = dedent("""
    import os
    import sys

    import torch
    from torch import nn

    import pamprof

    print("imported")
    print("and complained", file=sys.stderr)

    @torch.library.custom_op("layers_that_print::double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @double.register_fake
    def _(x):
        return torch.empty_like(x)

    @torch.library.custom_op("layers_that_print::triple", mutates_args=())
    def triple(x: torch.Tensor) -> torch.Tensor:
        return 3 * x

    triple.register_fake(lambda x: torch.empty_like(x))

    @pamprof.flops_of(triple)
    def triple_flops(x, *, output):
        return pamprof.OperatorWork(elementwise_flop_count=output.numel())

    class Noisy(nn.Module):
        def __init__(self, width):
            super().__init__()
            print("built")
            self.linear = nn.Linear(width, width, bias=False)

        def forward(self, x):
            os.write(1, b"{}\\n" * 100_000)
            return triple(double(self.linear(x)))

    def dies(width):
        print("last words")
        os._exit(7)

    def never_ends(width):
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass
""")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "layers_that_print.py").write_text(LAYERS)
    (tmp_path / "profile.py").write_text("raise RuntimeError('in place of the one that torch imports')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["flops", *arguments], prog_name="pamprof")


def test_json_is_whole_beside_a_layer_that_prints_and_its_formulas_are_known(folder):
    """One process of its own, which also shows that the command itself does without torch."""
    code = (
        "import sys\nfrom pamprof.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\nprint('torch' in sys.modules, file=sys.stderr)"
    )
    arguments = "flops layers_that_print:Noisy --width 24 --sequence-length 5 --batch-size 2 --phase forward --json"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        cwd=folder, env={**os.environ, "PYTHONPATH": REPOSITORY}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(result.stdout)
    assert result.stderr == "False\n"
    flops = answer["flops"]
    assert answer["device"] == "meta"
    assert flops["matrix_flop_count"] == 2 * (2 * 5) * 24 * 24
    assert flops["elementwise_flop_count"] == 2 * 5 * 24
    assert not flops["complete"]
    assert flops["uncounted"] == [{"operator": "layers_that_print::double", "count": 1}]
    assert [row["name"] for row in flops["by_module"]] == ["", "linear"]


def test_layer_that_ends_the_process_is_one_sentence(folder):
    del folder
    line = one_sentence(run("layers_that_print:dies"), 1)
    assert line.endswith("ended with status 7 before it was counted; it last printed 'last words'")


def test_layer_that_never_ends_is_one_sentence_with_its_place(folder):
    del folder
    number = next(number for number, line in enumerate(LAYERS.splitlines(), 1) if line.strip() == "pass")
    line = one_sentence(run("layers_that_print.py:never_ends", "--timeout", "0.2s"), 1)
    assert "did not end within 0.2 s (layers_that_print.py, line " in line
    assert abs(int(line.split("line ")[1].split(")")[0]) - number) <= 1
    assert "--timeout" in line


def test_process_that_cannot_be_interrupted_is_ended(folder, monkeypatch):
    (folder / "layers_that_print.py").write_text(
        "import signal, time\nsignal.pthread_sigmask(0, {14})\ntime.sleep(300)"
    )
    monkeypatch.setattr(ask, "_GRACE_SECONDS", 4.0)
    line = one_sentence(run("layers_that_print:block", "--timeout", "0.1s"), 1)
    assert "could not be interrupted" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of TARGET and --hf-config"),
        (["pam", "--hf-config", "config.json"], "give one of TARGET and --hf-config"),
        (["a:b", "--by", "layer"], "operator, module, both"),
        (["a:b", "--phase", "decode"], "forward, train"),
        (["a:b", "--dtype", "int8"], "bfloat16"),
        (["a:b", "--sequence-length", "0"], "--sequence-length"),
        (["a:b", "--batch-size", "x"], "--batch-size"),
        (["a:b", "--timeout", "soon"], "--timeout"),
        (["a:b", "--arg", "layers"], "NAME=VALUE"),
        (["a:b", "--arg", "2=3"], "NAME=VALUE"),
        (["a:b", "--preset", "25m"], "--preset says nothing about module:factory"),
        (["pam", "--width", "64"], "--width says nothing about a layer given by name"),
        (["--hf-config", "c.json", "--dtype", "float32"], "--dtype says nothing about a configuration"),
    ],
)
def test_wrong_option_is_one_sentence_and_no_process(arguments, words, monkeypatch):
    monkeypatch.setattr(ask, "_run", lambda *_: pytest.fail("a process was started"))
    assert words in one_sentence(run(*arguments), 2)


LINEAR = FlopSum(matrix_flop_count=3_000_000, matrix_dense_flop_count=3_000_000, elementwise_flop_count=40)
BACKWARD = FlopSum(matrix_flop_count=2_000_000, matrix_dense_flop_count=2_000_000)
ANSWER = CountAnswer(
    target="layers:block\x1b[2J",
    description="width 8, float32 input",
    phase=CountedPhase.TRAIN,
    batch_size=2,
    sequence_length=2048,
    device="meta",
    warning="counted nevertheless",
    flops=ModelFlops(
        **LINEAR.fields(),
        backward=BACKWARD,
        parameter_count=64,
        by_operator=(OperatorFlops(operator="aten::mm", call_count=3, backward=BACKWARD, **LINEAR.fields()),),
        by_module=tuple(
            ModuleFlops(
                name=name,
                type_name=kind,
                other_names=(),
                call_count=1,
                backward=own_backward,
                within=LINEAR,
                within_backward=BACKWARD,
                **own.fields(),
            )
            for name, kind, own, own_backward in (
                ("", "Block", FlopSum(), FlopSum()),
                ("up", "Linear", LINEAR, BACKWARD),
            )
        ),
        uncounted=(OperatorCount(operator="my::scan", count=2),),
        complete=False,
    ),
)


@pytest.mark.parametrize(("by", "operators", "modules"), [("operator", 1, 0), ("module", 0, 1), ("both", 1, 1)])
def test_tables_are_those_asked_for(monkeypatch, by, operators, modules):
    monkeypatch.setattr(ask, "count_target", lambda _: ANSWER)
    result = run("layers:block", "--by", by)
    assert result.exit_code == 0
    assert result.stderr == "pamprof: counted nevertheless\n"
    text = result.stdout
    assert "\x1b" not in text
    assert text.count("aten::mm") == operators
    assert text.count("module, with all inside it") == modules
    assert "1,000,000" in text  # forward
    assert f"{3_000_000 / 4096:,.1f}" in text  # per token
    assert "64 parameters" in text
    assert (
        'Incomplete, the totals lack: my::scan (2×). Register what one call costs with pamprof.flops_of("my::scan"'
        in (text.replace("\n", " "))
    )


def test_answer_survives_its_way_between_the_processes():
    assert msgspec.json.decode(msgspec.json.encode(ANSWER), type=CountAnswer) == ANSWER


def configured(path, **changes):
    options = {"batch_size": 1, "sequence_length": None, "phase": CountedPhase.TRAIN, **changes}
    return reply_to(CountRequest(target=str(path), is_configuration=True, timeout_seconds=60, **options))


def test_configuration_without_transformers_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text("{}")
    found = configured(tmp_path / "config.json")
    assert found.exit_code == 1
    assert "pip install 'pamprof[hf]'" in found.fault


def test_configuration_that_is_not_there_is_one_sentence(tmp_path):
    found = configured(tmp_path / "config.json")
    assert (found.exit_code, "there is no file" in found.fault) == (2, True)


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_gpt2_is_counted_from_its_configuration(tmp_path):
    width, layers, heads, length, vocabulary = 64, 3, 4, 32, 97
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": length, "vocab_size": vocabulary}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    result = run("--hf-config", str(tmp_path / "config.json"), "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    flops = answer["flops"]
    linear = 2 * length * (layers * 12 * width**2 + width * vocabulary)
    pairs = length * (length + 1) // 2
    assert answer["sequence_length"] == length  # as many as it has positions, not 2,048
    assert answer["device"] == "meta"
    assert flops["complete"]
    assert flops["matrix_flop_count"] == 3 * (linear + layers * 2 * 2 * width * pairs)
    assert flops["matrix_dense_flop_count"] == 3 * (linear + layers * 2 * 2 * width * length**2)
    assert flops["parameter_count"] == (
        (vocabulary + length) * width + layers * (12 * width**2 + 13 * width) + 2 * width
    )
