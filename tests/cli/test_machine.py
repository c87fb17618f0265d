"""A machine that is not as it should be: no torch, a broken one, a terminal that is ASCII, full, closed or gone."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pamprof
from pamprof.cli.machine import machine_fault
from pamprof.cli.measuring import measure
from pamprof.cli.streams import spelled
from pamprof.errors import UsageError
from pamprof.records.codec import encode
from tests.cli.test_command_line import one_sentence, run_process
from tests.synthetic import synthetic_records

REPOSITORY = os.path.dirname(os.path.dirname(pamprof.__file__))
BROKEN = {
    "import sys\nsys.modules['torch'] = None\nimport torch": "torch is not installed; install it from https://pytorch.org",
    "raise OSError('libcudart.so.12: cannot open shared object file')": (
        "torch cannot be imported (OSError: libcudart.so.12: cannot open shared object file); reinstall it from https://"
    ),
    "raise RuntimeError('numpy is too old')": "torch cannot be imported (RuntimeError: numpy is too old); reinstall",
}


@pytest.fixture(params=BROKEN.items(), ids=["absent", "without a library", "raising"])
def broken_torch(request, tmp_path):
    """An environment whose torch cannot be imported, and what is said then."""
    (tmp_path / "block").mkdir()
    text, words = request.param
    (tmp_path / "block" / "torch.py").write_text(text)
    return {"PYTHONPATH": f"{tmp_path / 'block'}{os.pathsep}{REPOSITORY}"}, words


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("layers",),
        ("flops", "pam"),
        ("validate",),
        ("compare", "--output-dir", "out"),
        ("compare", "--dry-run"),
        ("serve-sweep", "--output-dir", "out"),
    ],
    ids=" ".join,
)
def test_what_needs_torch_says_in_one_sentence_how_to_get_it(broken_torch, arguments, tmp_path):
    environment, words = broken_torch
    assert words in one_sentence(run_process(*arguments, cwd=tmp_path, environment=environment), 2)
    assert not (tmp_path / "out").exists()


def test_what_needs_no_torch_works_without(broken_torch, tmp_path):
    environment, _ = broken_torch
    for arguments in (("--version",), ("prices", "list")):
        result = run_process(*arguments, cwd=tmp_path, environment=environment)
        assert (result.returncode, result.stderr) == (0, "")


def failing(raised):
    try:
        raised()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return machine_fault(error)
    raise AssertionError("it did not fail")


def test_only_the_machine_is_blamed_for_the_machine_s_faults(tmp_path, monkeypatch):
    (tmp_path / "brittle.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert failing(lambda: __import__("brittle")).startswith("brittle cannot be imported (ZeroDivisionError: division")
    assert failing(lambda: __import__("nowhere.at_all")) == (
        "nowhere is not installed; install with pip install --force-reinstall nowhere"
    )
    assert failing(lambda: exec("from json import nothing")).startswith(
        "json cannot be imported (ImportError: cannot imp"
    )
    monkeypatch.setitem(sys.modules, "pynvml", type(sys)("pynvml"))  # of an old distribution
    monkeypatch.delitem(sys.modules, "pamprof.hardware.nvml.activity", raising=False)
    assert "install --force-reinstall nvidia-ml-py" in failing(lambda: __import__("pamprof.hardware.nvml.activity"))
    assert "No space left" in failing(lambda: Path("/dev/full").write_text("x"))
    assert failing(lambda: 1 / 0) is None
    assert failing(lambda: __import__("pamprof.nothing")) is None

    def layer_of_another_package():
        try:
            __import__("brittle")
        except ZeroDivisionError as error:
            raise UsageError("layer 'x' cannot be loaded") from error

    assert failing(layer_of_another_package) is None  # the error has its own words


def process(*arguments, cwd, environment=None, **streams):
    """The command with standard output and error as given."""
    return subprocess.run(
        [sys.executable, "-m", "pamprof", *arguments], cwd=cwd, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": REPOSITORY, **(environment or {})}, **streams,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("prices", "list"), ("--help",), ("prices", "list", "--csv")], ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_by_sigpipe(arguments, tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = process(*arguments, cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert result.returncode == -signal.SIGPIPE
    assert result.stderr == b""


@pytest.mark.parametrize("arguments", [("prices", "list"), ("--version",), ("prices", "list", "--csv")], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_a_sentence_and_exit_2(arguments, tmp_path):
    with Path("/dev/full").open("wb") as full:
        result = process(*arguments, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr.decode() == (
        "pamprof: standard output cannot be written: No space left on device; write to another place\n"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_a_closed_stream_would_get_goes_nowhere(closed, tmp_path):
    command = f"exec '{sys.executable}' -m pamprof prices list {closed}"
    result = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": REPOSITORY}, check=False,
        capture_output=True,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    assert bool(result.stdout) == (">&-" not in closed.split())


def test_no_file_is_opened_under_the_number_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys; from pamprof.cli.streams import Streams; streams = Streams(); file = open('number', 'w');"
        "file.write(str(file.fileno())); file.flush(); os.write(1, b'of a library'); print('text');"
        "sys.exit(streams.leave(0))"
    )
    command = f'exec "{sys.executable}" -c "{code}" >&-'
    environment = {**os.environ, "PYTHONPATH": REPOSITORY}
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=False).returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


def test_the_report_is_written_although_nobody_reads_the_output(tmp_path):
    records = synthetic_records("cpu")
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, [*records.sessions, *records.runs[:2]])))
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = process("report", "runs.jsonl", "-o", "out", cwd=tmp_path, stdout=write_end, stderr=write_end)
    os.close(write_end)
    assert result.returncode == -signal.SIGPIPE
    assert (tmp_path / "out" / "summary.md").exists()


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the system cannot make a pipe smaller")
def test_a_pipe_that_takes_nothing_just_now_gets_everything_in_the_end(tmp_path):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "pamprof", "prices", "list"]
    environment = {**os.environ, "PYTHONPATH": REPOSITORY}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=write_end, stderr=subprocess.PIPE) as running:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            text = pipe.read().decode()
        assert running.stderr.read() == b""
    assert running.returncode == 0
    assert len(text) > 4096  # more than the pipe holds
    assert " rates from " in text.splitlines()[-1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "cp1252", "utf-8", "utf-16"])
def test_output_is_in_the_encoding_of_the_terminal(encoding, tmp_path):
    result = process(
        "prices", "list", "--gpu", "H100", cwd=tmp_path, environment={"PYTHONIOENCODING": encoding},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode(encoding.partition(":")[0])
    times = "x" if encoding.startswith("ascii") else "×"
    assert f"8 {times} H100-SXM" in text
    assert ("─" in text) == encoding.startswith("utf")


def test_an_error_that_quotes_other_characters_is_spelled_in_ascii(tmp_path):
    result = process(
        "report", "×µ\N{SNOWMAN}é", "-o", "out", cwd=tmp_path, environment={"PYTHONIOENCODING": "ascii"},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert result.returncode == 1
    assert b"xu?e" in result.stderr


@pytest.mark.parametrize(
    ("text", "spelling"),
    [("3 × 2.1 ± 0.1 µs", "3 x 2.1 +/- 0.1 us"), ("1\u202f064 − 2…", "1 064 - 2..."), ("─│é²\N{SNOWMAN}", "-|e^2?")],
)
def test_what_ascii_lacks_has_a_spelling(text, spelling):
    assert spelled(text, "ascii") == spelling
    assert spelled(text, "utf-8") == text


@pytest.mark.parametrize("ignored", [False, True], ids=["by itself", "under nohup"])
def test_a_terminal_that_hangs_up_interrupts_a_session_unless_that_was_ruled_out(ignored, monkeypatch):
    def hang_up(request, planner, **more):
        os.kill(os.getpid(), signal.SIGHUP)
        raise UsageError("nothing happened")

    monkeypatch.setattr("pamprof.measure.session.run.run_session", hang_up)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with pytest.raises(UsageError if ignored else KeyboardInterrupt):
            measure(None, None, None)
    finally:
        for number, handler in before:
            signal.signal(number, handler)
