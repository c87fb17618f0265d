"""Options from a file: what it may say, how a fault in it is told, several sweeps, and writing it."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from hypothesis import assume, given, settings, strategies as st

from pamprof.cli import app
from pamprof.cli.configuration.invocation import note_result, recorded_command
from pamprof.cli.configuration.values import option_keys
from pamprof.errors import PamprofError, StoppedError, UsageError
from tests.cli.test_command_line import one_sentence, run

COMMANDS = typer.main.get_command(app).commands
COMPARE = {option.name: option for option in option_keys(COMMANDS["compare"])}

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = {
    bool: st.booleans(),
    float: st.floats(0, 1e300),
    Path: TEXT.map(Path),
    str: TEXT,
}


def parameters(command, words, folder):
    """What the command would be called with."""
    found = COMMANDS[command].make_context(command, list(words))
    return [
        {k: v for k, v in each.params.items() if k not in ("config", "save_config")} for _, each in found.obj
    ], found


@st.composite
def asked(draw, command):
    """Some options of a command with values, as the command line would give them."""
    found = {}
    highest = {param.name: getattr(param, "max", None) or 100 for param in COMMANDS[command].params}
    for option in option_keys(COMMANDS[command]):
        required = option.name in ("runs", "tokens_per_day", "arrivals")
        if required or draw(st.booleans()):
            value = VALUES[option.kind] if option.kind is not int else st.integers(1, highest[option.name])
            found[option.name] = draw(st.lists(value, min_size=1, max_size=3) if option.repeatable else value)
    return found


@pytest.mark.parametrize("command", ["compare", "serve-sweep", "cost", "simulate"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_what_is_saved_asks_for_the_same(tmp_path_factory, command, data):
    from pamprof.cli.configuration.files import file_of

    names = data.draw(st.sampled_from([("",), ("one",), ("b", "a.1", "c")]))
    folder = tmp_path_factory.mktemp("saved")
    options = option_keys(COMMANDS[command])
    defaults = {option.name: option.default for option in options}
    wanted = {name: {**defaults, **data.draw(asked(command))} for name in names}
    folders = [str(given_.get("output_dir") or name).casefold() for name, given_ in wanted.items()]
    assume(len(set(folders)) == len(names))  # sweeps that share a folder are refused
    path = folder / "saved.toml"
    path.write_bytes(file_of(options, wanted, command=command).encode())
    found, _ = parameters(command, ["--config", str(path)], folder)
    for given_, read in zip(wanted.values(), found, strict=True):
        for option in options:
            value = read[option.name]
            if option.repeatable:
                assert list(value or []) == list(given_[option.name] or []), option
            else:
                assert repr(value) == repr(given_[option.name]), option
    again = {name: dict(read) for name, read in zip(names, found, strict=True)}
    assert file_of(options, again, command=command) == path.read_bytes().decode()


def test_only_what_is_no_default_is_saved_in_the_order_of_the_options(tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.cli.compare.show_plan", lambda *given, **more: None)
    words = ["--layer", "transformer,gru=g.py:gru", "--seed", "0", "--batch-size", "train=3,18", "--layer-arg"]
    words += ["gru.num_layers=2", "--batch-size", "decode=1", "--phase", "train,decode", "--resume", "--dry-run"]
    result = run("compare", *words, "--save-config", "s.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "s.toml").read_text() == (
        "# pamprof compare --config FILE\n"
        'batch-size = ["train=3,18", "decode=1"]\n'
        'phase = "train,decode"\n'
        'layer = ["transformer,gru=g.py:gru"]\n'
        'layer-arg = ["gru.num_layers=2"]\n'
    )


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("batch-size = 4", "batch_size", ["4"]),
        ("batch-size = [1, 64]", "batch_size", ["1", "64"]),
        ("batch-size = {train = [3, 18], decode = '2k'}", "batch_size", ["train=3,18", "decode=2k"]),
        ("[batch-size]\ntrain = 3", "batch_size", ["train=3"]),
        ("layer = ['pam', {gru = 'my.py:gru'}]", "layer", ["pam", "gru=my.py:gru"]),
        ("layer-arg = {gru = {num_layers = 2, bias = false}}", "layer_arg", ["gru.num_layers=2", "gru.bias=false"]),
        ("layer-arg.gru.num_layers = 2", "layer_arg", ["gru.num_layers=2"]),
        ("perplexity = {pam = 30.5}", "perplexity", ["pam=30.5"]),
        ("checkpoint = {pam = 'w.pt'}", "checkpoint", ["pam=w.pt"]),
        ("phase = ['train', 'decode']", "phase", "train,decode"),
        ("time-limit = 2", "time_limit", "2"),
        ("dropout = 0", "dropout", 0.0),
        ("cold-cache = true", "cold_cache", True),
        ("output-dir = 'a/b'", "output_dir", Path("a/b")),
    ],
)
def test_values_have_their_natural_form_in_toml(tmp_path, text, name, value):
    path = tmp_path / "c.toml"
    path.write_text(text)
    (found,), _ = parameters("compare", ["--config", str(path)], tmp_path)
    assert found[name] == value


def test_every_option_of_the_command_line_has_its_name_in_a_file():
    given_ = {name for param in COMMANDS["compare"].params for name in param.opts if name.startswith("--")}
    assert {f"--{option.key}" for option in COMPARE.values()} == given_ - {"--config", "--save-config"}


def test_the_command_line_goes_before_the_file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 3\njson = true\nbatch-size = [1, 2]\nscope = 'layer'\n")
    words = ["--config", str(path), "--seed", "5", "--no-json", "--batch-size", "9"]
    (found,), _ = parameters("compare", words, tmp_path)
    assert (found["seed"], found["json"], found["batch_size"], found["scope"]) == (5, False, ["9"], "layer")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1\nbatch-szie = 3", "c.toml, line 2, batch-szie is no option; did you mean batch-size?"),
        ("batch_size = 3", "c.toml, line 1, batch_size is no option; did you mean batch-size?"),
        ("[sweeps.a]\nseed = 1", "c.toml, line 1, sweeps is no option; did you mean sweep?"),
        ("zzz = 1", "c.toml, line 1, zzz is no option; name an option of the command, without its dashes"),
        ("\n# x\nheads = 'six'", "c.toml, line 3, heads is 'six'; give a whole number"),
        ("heads = 6.0", "c.toml, line 1, heads is 6.0; give a whole number"),
        ("heads = true", "c.toml, line 1, heads is true; give a whole number"),
        ("dropout = 'much'", "c.toml, line 1, dropout is 'much'; give a number"),
        ("json = 1", "c.toml, line 1, json is 1; give true or false"),
        ("output-dir = 3", "c.toml, line 1, output-dir is 3; give a path as text"),
        ("scope = true", "c.toml, line 1, scope is true; give text, a number, or a list of them"),
        ("scope = {a = 1}", "c.toml, line 1, scope is a table; give text, a number, or a list of them"),
        (
            "layer = [\n 'pam',\n 2026-01-01,\n]",
            "c.toml, line 1, layer is a list; give text, a number, a list of them, or a table of names",
        ),
        ("layer = [\n 'pam',\n]\n[sweep.a]\n\nheads = ''\n", "c.toml, line 6, heads is ''; give a whole number"),
        ("sweep = 3", "c.toml, line 1, sweep is no table of sweeps; write [sweep.NAME] over the options of each"),
        (
            "[sweep.'a/b']",
            "c.toml, line 1, a/b: a sweep's folder is called so; give letters, digits, _ and -",
        ),
        ("seed = 1\nseed = 2", 'c.toml, line 2: cannot overwrite a value; write it as TOML, such as preset = "tiny"'),
        ("seed = \n", 'c.toml, line 1: invalid value; write it as TOML, such as preset = "tiny"'),
        ("seed = 1\nlayer = [", 'c.toml, line 2: invalid value; write it as TOML, such as preset = "tiny"'),
        # What the parser refuses, and what the command does.
        ("seed = 1\nrepeat = 0", "c.toml, line 2, repeat: "),
        ("seed = 1\nscope = 'modle'", "c.toml, line 2, scope: --scope 'modle' is not known; use layer, model"),
        ("device = 'cpu'\npreset = 'tin'", "c.toml, line 2, preset: no preset 'tin' of layer pam; presets are "),
        ("device = 'cpu'\nlayer = ['pamm']", "c.toml, line 2, layer: no layer 'pamm'; did you mean pam? "),
        ("[sweep.a]\nseed = 1\n[sweep.b]\nrepeat = 0", "c.toml, line 4, repeat: "),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_file_line_and_key(tmp_path, text, said):
    (tmp_path / "c.toml").write_text(text)
    sentence = one_sentence(run("compare", "--dry-run", "--config", "c.toml", cwd=tmp_path), 2)
    assert sentence.startswith(f"pamprof: {said}")


def test_help_is_given_whatever_the_file_holds(tmp_path):
    (tmp_path / "c.toml").write_text("zzz = 1")
    result = run("compare", "--config", "c.toml", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--save-config" in result.stdout


def test_a_fault_of_the_command_line_is_not_laid_on_the_file(tmp_path):
    (tmp_path / "c.toml").write_text("scope = 'modle'\nseed = 1\n")
    result = run("compare", "--dry-run", "--config", "c.toml", "--scope", "leyer", cwd=tmp_path)
    assert one_sentence(result, 2) == "pamprof: --scope 'leyer' is not known; use layer, model"


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"\xff", "not text in UTF-8 at byte 0")])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, content, said):
    if content is not None:
        (tmp_path / "c.toml").write_bytes(content)
    assert said in one_sentence(run("compare", "--config", "c.toml", cwd=tmp_path), 2)


def test_a_file_that_cannot_be_written_is_one_sentence_before_anything_is_measured(tmp_path):
    result = run("compare", "--save-config", "no/such/folder.toml", cwd=tmp_path)
    assert "--save-config no/such/folder.toml cannot be written" in one_sentence(result, 1)


SWEEPS = """
device = "cpu"
output-dir = "out"
[sweep.first]
preset = "tiny"
[sweep.second]
preset = "5m"
[sweep.third]
output-dir = "elsewhere"
"""


@pytest.fixture
def visited(tmp_path, monkeypatch):
    """What was measured, by preset; presets in ``fails`` raise instead."""
    (tmp_path / "c.toml").write_text(SWEEPS)
    seen = SimpleNamespace(requests=[], fails={})

    def measure(request, planner, price):
        seen.requests.append(request)
        if request.preset in seen.fails:
            raise seen.fails[request.preset]
        request.output_dir.mkdir(parents=True)
        return SimpleNamespace(
            records=SimpleNamespace(runs=[]), outcome=SimpleNamespace(interrupted=False, measured=1, skipped=0)
        )

    def show(records, folder, **given_):
        note_result(f"it costs {len(seen.requests)}×", folder / "report.html")

    monkeypatch.setattr("pamprof.cli.compare.measure", measure)
    monkeypatch.setattr("pamprof.cli.compare.write_and_show", show)
    return seen


def test_each_sweep_has_its_own_folder_and_one_line_in_the_summary(tmp_path, visited):
    result = run("compare", "--config", "c.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [request.output_dir for request in visited.requests] == [
        Path("out/first"), Path("out/second"), Path("elsewhere"),
    ]  # fmt: skip
    assert [request.preset for request in visited.requests] == ["tiny", "5m", None]
    assert result.stdout.splitlines() == [
        "first: it costs 1× (out/first/report.html)",
        "second: it costs 2× (out/second/report.html)",
        "third: it costs 3× (elsewhere/report.html)",
    ]
    assert (tmp_path / "out" / "index.md").read_text().splitlines()[2:] == [
        "- [first](<first/report.html>): it costs 1×",
        "- [second](<second/report.html>): it costs 2×",
        "- [third](<../elsewhere/report.html>): it costs 3×",
    ]


def test_without_a_folder_the_sweeps_share_one_that_is_named_after_the_time(tmp_path, visited):
    (tmp_path / "c.toml").write_text(SWEEPS.replace('output-dir = "out"', ""))
    run("compare", "--config", "c.toml", cwd=tmp_path)
    first, second, _ = (request.output_dir for request in visited.requests)
    assert first.parent == second.parent
    assert first.parent.name.startswith("pamprof-report-")


def test_a_folder_of_the_command_line_holds_every_sweep(tmp_path, visited):
    run("compare", "--config", "c.toml", "-o", "mine", cwd=tmp_path)
    assert [request.output_dir for request in visited.requests] == [
        Path("mine/first"), Path("mine/second"), Path("mine/third"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "status"),
    [(PamprofError("it is raining"), 1), (UsageError("it is raining"), 2), (ZeroDivisionError("it is raining"), 1)],
)
def test_a_sweep_that_fails_costs_itself_alone_and_the_worst_status_is_returned(tmp_path, visited, fault, status):
    visited.fails["tiny"] = fault
    result = run("compare", "--config", "c.toml", cwd=tmp_path)
    assert result.returncode == status
    assert len(visited.requests) == 3
    first, *others = result.stdout.splitlines()
    assert first.startswith("first: ")
    assert first.endswith("it is raining")
    assert [line.partition(":")[0] for line in others] == ["second", "third"]


def test_no_sweep_begins_after_the_user_ended_one(tmp_path, visited):
    visited.fails["5m"] = StoppedError("interrupted; 3 points are kept")
    result = run("compare", "--config", "c.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert len(visited.requests) == 2
    assert result.stdout.splitlines()[1:] == ["second: interrupted; 3 points are kept", "third: not begun"]


def test_sweeps_that_an_earlier_session_did_not_come_to_are_begun_by_resume(tmp_path, visited):
    (tmp_path / "out" / "second").mkdir(parents=True)
    (tmp_path / "out" / "second" / "runs.jsonl").touch()
    visited.fails["5m"] = PamprofError("no")
    run("compare", "--config", "c.toml", "--resume", cwd=tmp_path)
    assert [request.resume for request in visited.requests] == [False, True, False]


def test_a_saved_file_of_sweeps_has_at_its_top_what_they_share(tmp_path, visited):
    run("compare", "--config", "c.toml", "--seed", "7", "--save-config", "s.toml", cwd=tmp_path)
    assert tomllib.loads((tmp_path / "s.toml").read_text()) == {
        "device": "cpu",
        "seed": 7,
        "sweep": {
            "first": {"preset": "tiny", "output-dir": "out"},
            "second": {"preset": "5m", "output-dir": "out"},
            "third": {"output-dir": "elsewhere"},
        },
    }


def test_the_recorded_command_needs_no_file_and_names_no_path_of_this_machine(tmp_path, monkeypatch):
    commands = []

    def refuse(request, planner, price):
        commands.append((request.command, recorded_command()))
        raise PamprofError("not measured")

    monkeypatch.setattr("pamprof.cli.compare.measure", refuse)
    (tmp_path / "c.toml").write_text("seed = 3\nbatch-size = {train = [1, 2]}\nprices = '/home/me/p.csv'\nprice = 2.95")
    private = ["-o", "/home/me/a", "--resume"]
    run("compare", "--config", "c.toml", *private, "--cold-cache", cwd=tmp_path)
    run(
        "compare",
        "--checkpoint",
        "pam=/home/me/w.pt",
        "-o/home/me/b",
        "--output-dir=/home/me/c",
        "--prices=/e",
        "--seed=1",
        cwd=tmp_path,
    )
    expected = [
        "pamprof compare --batch-size train=1,2 --price 2.95 --cold-cache --seed 3",
        "pamprof compare --checkpoint pam=w.pt --seed 1",
    ]
    assert commands == [(each, each) for each in expected]


def test_tables_for_layers_and_their_arguments_and_for_phases(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'layer = ["transformer", {gru = "my_layers.py:gru"}]\nlayer-arg = {gru = {num_layers = 2}}\n'
        "[sweep.short]\nbatch-size = {train = [3, 18], decode = 1}\n"
        '[sweep.long]\nphase = "prefill"\nsequence-length = ["16k", "64k"]\n'
    )
    (short, long), _ = parameters("compare", ["--config", str(path)], tmp_path)
    for each in (short, long):
        assert (each["layer"], each["layer_arg"]) == (["transformer", "gru=my_layers.py:gru"], ["gru.num_layers=2"])
    assert short["batch_size"] == ["train=3,18", "decode=1"]
    assert (long["phase"], long["sequence_length"]) == ("prefill", ["16k", "64k"])


def test_two_sweeps_never_share_a_folder_and_a_mark_before_the_text_is_read_over(tmp_path):
    path = tmp_path / "c.toml"
    tables = '[sweep.a]\noutput-dir = "x"\n[sweep.b]\noutput-dir = "X"\n'
    path.write_text('preset = "tiny"\n' + tables, encoding="utf-8-sig")
    said = one_sentence(run("compare", "--config", str(path), "--dry-run", cwd=tmp_path), 2)
    assert "line 4" in said
    assert "would write into the folder of another sweep, X; rename it" in said
