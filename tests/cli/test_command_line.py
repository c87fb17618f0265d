import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import pamprof
from pamprof.cli import app
from pamprof.errors import PamprofError
from pamprof.records.codec import encode
from pamprof.workloads import registry
from tests.synthetic import synthetic_records


def run_process(*arguments, cwd, environment=None, timeout=120):
    """The command in a process of its own: for what only a fresh interpreter shows."""
    return subprocess.run(
        [sys.executable, "-m", "pamprof", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(pamprof.__file__)), **(environment or {})},
        timeout=timeout,
        check=False,
    )


def run(*arguments, cwd):
    """The command in this process, which has imported torch already."""
    changed = (signal.SIGTERM, signal.SIGHUP)  # by a measuring command
    before = [signal.getsignal(number) for number in changed]
    try:
        with contextlib.chdir(cwd):
            result = CliRunner().invoke(app, arguments, prog_name="pamprof")
    finally:
        for number, handler in zip(changed, before, strict=True):
            signal.signal(number, handler)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def one_sentence(result, status):
    """The sentence a failing command said: one line on standard error, no traceback, the given exit status."""
    assert result.returncode == status, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert "Traceback" not in result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("pamprof: ")
    return lines[0]


@pytest.fixture(scope="module")
def records_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "runs.jsonl"
    records = synthetic_records("cpu")
    path.write_bytes(b"".join(map(encode, [*records.sessions, *records.runs, *records.skips])))
    return path


def test_help_answers_at_once_and_imports_nothing_heavy():
    # Processor time: other tests may be at work on the same cores.
    code = (
        "import sys, time; start = time.process_time(); import pamprof.cli; took = time.process_time() - start;"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'rich', 'pynvml', 'jinja2'} & set(sys.modules);"
        "print(sorted(heavy)); print(took)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, took = result.stdout.splitlines()
    assert heavy == "[]"
    assert float(took) < 0.25


def test_the_list_of_commands_has_whole_sentences_on_80_columns():
    def commands(group):
        for name, command in group.commands.items():
            yield name, command
            yield from commands(command) if hasattr(command, "commands") else ()

    # Of 80 columns, 2 are the margin, 6 indent and part, and 11 have the longest name.
    texts = {name: command.get_short_help_str(80 - 2 - 6 - 11) for name, command in commands(get_command(app))}
    assert {"compare", "serve-sweep", "refresh"} <= texts.keys()
    assert [text for text in texts.values() if not text or text.endswith("...")] == []


def test_help_of_the_program_takes_less_than_a_quarter_of_a_second(tmp_path):
    run_process("--help", cwd=tmp_path)  # byte-compile
    durations = []
    for _ in range(5):
        before = os.times()
        assert run_process("--help", cwd=tmp_path).returncode == 0
        after = os.times()
        durations.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(durations) < 0.25


def test_version_is_the_packages(tmp_path):
    assert run_process("--version", cwd=tmp_path).stdout == f"pamprof {pamprof.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "7g"], "100m"),
        (["--batch-size", "-3"], "--batch-size"),
        (["--batch-size", "traim=3"], "train, prefill, decode"),
        (["--sequence-length", "0"], "--sequence-length"),
        (["--phase", "training"], "train, prefill, decode"),
        (["--dtype", "float16"], "float32, bfloat16"),
        (["--execution", "jit"], "eager, compiled"),
        (["--implementation", "fast"], "planar"),
        (["--match", "price"], "parameters"),
        (["--layer", "pan"], "did you mean pam"),
        (["--heads", "5", "--head-dim", "7", "--model-dim", "0"], "--model-dim"),
        (["--dropout", "1.5"], "--dropout"),
        (["--perplexity", "pam"], "--perplexity"),
        (["--device", "tpu"], "cuda"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(tmp_path, arguments, words):
    result = run("compare", "--output-dir", "out", *arguments, cwd=tmp_path)
    assert words in one_sentence(result, 2)
    assert not (tmp_path / "out").exists()


def test_a_process_of_its_own_says_the_same_sentence(tmp_path):
    (tmp_path / "rates.csv").write_text("provider,usd_per_hour\nacme,2\n")
    arguments = ("prices", "list", "--prices", "rates.csv")
    sentence = one_sentence(run_process(*arguments, cwd=tmp_path), 1)
    assert sentence == one_sentence(run(*arguments, cwd=tmp_path), 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model-dim", "40", "--head-dim", "16"], "head_dim 16 does not divide model_dim 40; try 20"),
        (["--preset", "100m", "--head-dim", "60"], "head_dim 60 does not divide model_dim 384; try 64"),
        (["--model-dim", "40", "--heads", "3"], "heads 3 does not divide model_dim 40; try 2"),
    ],
)
def test_heads_that_do_not_divide_the_width_are_refused_with_a_size_that_does(tmp_path, arguments, words):
    assert words in one_sentence(run("layers", *arguments, cwd=tmp_path), 2)
    assert words in one_sentence(run("compare", "-o", "out", *arguments, cwd=tmp_path), 2)


def test_a_gpu_that_is_not_there_is_one_sentence_and_exit_1(tmp_path):
    result = run_process(
        "compare", "--device", "cuda", "-o", "out", cwd=tmp_path, environment={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert "--device cpu" in one_sentence(result, 1)


def test_an_unwritable_folder_is_one_sentence_and_exit_1(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    assert "--output-dir" in one_sentence(run("compare", "-o", "taken", cwd=tmp_path), 1)


def test_a_folder_with_records_is_never_written_over(tmp_path, records_file):
    (tmp_path / "runs.jsonl").write_bytes(records_file.read_bytes())
    assert "--resume" in one_sentence(run("compare", "-o", ".", cwd=tmp_path), 2)
    assert (tmp_path / "runs.jsonl").read_bytes() == records_file.read_bytes()


def test_a_price_file_with_missing_columns_names_them(tmp_path):
    (tmp_path / "rates.csv").write_text("provider,usd_per_hour\nacme,2\n")
    sentence = one_sentence(run("prices", "list", "--prices", "rates.csv", cwd=tmp_path), 1)
    assert "device_name" in sentence


def test_a_price_that_is_no_number_is_refused(tmp_path, records_file):
    result = run("report", str(records_file), "-o", "out", "--price", "cheap", cwd=tmp_path)
    assert "--price" in one_sentence(result, 1) or "cheap" in result.stderr


def test_corrupt_records_are_refused_with_the_reason(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"schema_version": 1}\n')
    assert "no readable record" in one_sentence(run("report", "runs.jsonl", "-o", "out", cwd=tmp_path), 1)


def test_truncated_records_still_give_a_report_that_says_so(tmp_path, records_file):
    (tmp_path / "runs.jsonl").write_bytes(records_file.read_bytes()[:-500])
    result = run("report", "runs.jsonl", "-o", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "report.html").exists()
    assert "line" in (tmp_path / "out" / "summary.md").read_text()


def test_a_report_is_rebuilt_without_torch(tmp_path, records_file):
    block = tmp_path / "block"
    block.mkdir()
    (block / "torch.py").write_text("raise ImportError('there is no torch on this machine')\n")
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    result = run_process(
        "report", str(records_file), "-o", "out", cwd=tmp_path,
        environment={"PYTHONPATH": f"{block}{os.pathsep}{repository}", "NO_COLOR": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "report.html").exists()
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) <= 25


def test_layers_prints_the_papers_parameter_counts(tmp_path):
    result = run("layers", "--preset", "100m", "--json", cwd=tmp_path)
    counts = {arm["title"]: arm["parameter_count"] for arm in json.loads(result.stdout)}
    assert counts["PAM"] == 100_395_968
    assert counts["transformer"] == 100_283_232


def test_layers_prints_a_layer_of_ones_own_as_it_is_matched(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_given", {})  # forgotten after the test
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef gru(width, num_layers=1):\n"
        "    return nn.GRU(width, width, num_layers, batch_first=True)\n"
    )
    named = ("--layer", "pam,gru=mine.py:gru", "--layer-arg", "gru.num_layers=2", "--match", "width")
    result = run("layers", "--preset", "tiny", "--json", *named, cwd=tmp_path)
    (_, gru) = json.loads(result.stdout)
    width, hidden, vocabulary = (gru["spec"][name] for name in ("model_dim", "hidden_dim", "vocabulary_size"))
    block = 2 * 3 * (2 * width * width + 2 * width) + 4 * width + 2 * width * hidden + hidden + width
    assert gru["parameter_count"] == gru["spec"]["depth"] * block + vocabulary * width + 2 * width
    assert gru["implementations"] == ["module"]
    assert "no file other.py" in one_sentence(run("layers", "--layer", "x=other.py:gru", cwd=tmp_path), 2)


def test_a_listed_price_file_can_be_read_again(tmp_path):
    listed = run("prices", "list", "--csv", cwd=tmp_path)
    (tmp_path / "rates.csv").write_text(listed.stdout)
    again = run("prices", "list", "--csv", "--prices", "rates.csv", cwd=tmp_path)
    assert again.stdout == listed.stdout
    assert len(again.stdout.splitlines()) > 20


@pytest.mark.parametrize(
    "arguments", [("layers", "--layer", ""), ("compare", "--layer", ","), ("compare", "--phase", "")]
)
def test_a_list_that_names_nothing_is_refused(arguments, tmp_path):
    assert f"{arguments[1]} {arguments[2]!r} names nothing" in one_sentence(run(*arguments, cwd=tmp_path), 2)
    assert not any(tmp_path.iterdir())


DRY = (
    "compare", "--dry-run", "--device", "cpu", "--phase", "decode", "--batch-size", "1", "--sequence-length", "64",
    "--implementation", "planar", "--price", "3.60",
)  # fmt: skip


def dry_run(*arguments, cwd):
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, [*DRY, *arguments], prog_name="pamprof")
    assert result.exit_code == 0, result.stderr
    assert not list(cwd.iterdir())
    return result.stdout


def test_a_dry_run_prints_the_plan_in_order_its_time_and_dollars_and_writes_nothing(tmp_path):
    lines = dry_run(cwd=tmp_path).splitlines()
    arms = ["transformer sdpa eager", "pam planar eager", "real_pam planar eager"]
    assert [arm for line in lines for arm in arms if f" {arm} " in line] == arms
    assert lines[-1].startswith("3 points, about ")
    assert "about $" in lines[-1]
    assert lines[-1].endswith("; effort quick, at most 30 s")


def test_a_dry_run_as_json_adds_up_and_names_budget_and_dollars(tmp_path):
    plan = json.loads(dry_run("--json", "--effort", "standard", "--time-budget", "5m", cwd=tmp_path))
    assert [row["layer"] for row in plan["rows"]] == ["transformer", "pam", "real_pam"]
    assert {(row["phase"], row["batch_size"], row["sequence_length"]) for row in plan["rows"]} == {("decode", 1, 64)}
    expected = plan["expected_seconds"]
    report = 5.0  # writing it comes after the last point
    assert expected == pytest.approx(sum(row["expected_seconds"] for row in plan["rows"]) + report, abs=0.01)
    assert plan["low_seconds"] < expected < plan["high_seconds"]
    assert plan["time_budget_seconds"] == 300.0
    assert plan["usd"] == pytest.approx(expected * 0.001)


@pytest.mark.parametrize("command", ["compare", "serve-sweep"])
def test_a_budget_that_is_no_duration_is_one_sentence_and_leaves_nothing(command, tmp_path):
    result = run(command, "--device", "cpu", "--time-budget", "soon", cwd=tmp_path)
    assert "--time-budget 'soon' is no duration" in one_sentence(result, 2)
    assert not list(tmp_path.iterdir())


def test_a_sweep_takes_a_budget_in_the_same_words(monkeypatch, tmp_path):
    asked = []

    def refuse(request, planner, price):
        asked.append(request)
        raise PamprofError("not measured")

    monkeypatch.setattr("pamprof.cli.serve_sweep.measure", refuse)
    run("serve-sweep", "--device", "cpu", "--time-budget", "90s", cwd=tmp_path)
    run("serve-sweep", "--device", "cpu", "--time-budget", "1.5m", cwd=tmp_path)
    assert [request.time_budget_seconds for request in asked] == [90.0, 90.0]
