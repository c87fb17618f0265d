"""Environments that a command may meet, drawn at random, and the process that runs in one."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
_NOBODY = 54321  # in no list of accounts; checked by runner_of_nobody

# The words of a command, with RUNS and SWEEP for files of records, and its exit status wherever it runs.
CHEAP = (
    (("--help",), 0),
    (("--version",), 0),
    (("prices", "list"), 0),
    (("prices", "list", "--csv"), 0),
    (("prices", "list", "--gpu", "nothing of the kind"), 1),
    (("prices", "show", "H200"), 0),
    (("prices", "show", "none such ×"), 1),
    (("prices", "check"), 0),
    (("prices", "check", "--json"), 0),
    (("cost", "SWEEP", "--tokens-per-day", "1e9"), 0),
    (("cost", "SWEEP", "--tokens-per-day", "many"), 2),
    (("simulate", "SWEEP", "--arrivals", "poisson:2/s", "--requests", "200", "--max-batch", "4"), 0),
    (("simulate", "SWEEP", "--arrivals", "often"), 2),
    (("diff", "RUNS", "RUNS"), 0),
    (("diff", "RUNS", "SLOWER", "--fail-above", "1%"), 1),
    (("diff", "RUNS", "missing"), 2),
    (("trend", "RUNS", "SLOWER"), 0),
    (("trend", "RUNS"), 2),
    (("report", "missing", "-o", "out"), 1),
)
WITH_TORCH = ((("doctor",), 0), (("doctor", "--device", "cuda"), 1), (("layers", "--preset", "25m"), 0))
DRAWING = ((("report", "REPORT", "-o", "out"), 0),)

HOMES = (None, "", "own", "file", "closed", "relative", "missing", "/dev/null/x", "/proc/home")
CACHES = (None, "", "own", "file", "closed", "relative", "/dev/null/cache", "missing")
TEMPORARY = ("own", "own", "file", "closed", "/dev/null/x")
LOCALES = (
    {},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C.UTF-8"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii:strict"},
)
VISIBLE = (None, "", "-1", "0,0", "GPU-deadbeef", "MIG-", "banana", "9" * 30, "0, 1 ,x")
OUTPUTS = ("pipe", "file", "gone", "full", "closed", "pipe")


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One command in one environment; ``status`` is what it exits with where its output arrives."""

    words: tuple[str, ...]
    status: int
    nameless: bool
    home: str | None
    cache: str | None
    temporary: str
    locale: dict[str, str]
    visible: str | None
    output: str


def combinations(seed: int, count: int, commands: tuple[tuple[tuple[str, ...], int], ...]) -> Iterator[Combination]:
    """Combinations in which every value of every dimension comes equally often, in random company."""
    chance = random.Random(seed)

    def cycled(values):
        while True:
            yield from chance.sample(values, len(values))

    drawn = zip(
        range(count), cycled(commands), cycled((True, False)), cycled(HOMES), cycled(CACHES), cycled(TEMPORARY),
        cycled(LOCALES), cycled(VISIBLE), cycled(OUTPUTS), strict=False,
    )  # fmt: skip
    for _, (words, status), nameless, home, cache, temporary, locale, visible, output in drawn:
        yield Combination(
            words=words, status=status, nameless=nameless, home=home, cache=cache, temporary=temporary, locale=locale,
            visible=visible, output=output,
        )  # fmt: skip


def runner_of_nobody() -> tuple[str, ...] | None:
    """What runs a program as a user without an account entry; None where that takes rights we lack."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None or any(entry.pw_uid == _NOBODY for entry in pwd.getpwall()):
        return None
    plain = (setpriv, f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    # The interpreter may lie in a folder of root's; then this user may read everything, and still write nothing.
    reading = (*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for prefix in (plain, reading):
        command = [*prefix, sys.executable, "-c", "import pamprof.cli"]
        if subprocess.run(command, capture_output=True, cwd=REPOSITORY, check=False).returncode == 0:
            return prefix
    return None


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    status: int
    output: str
    errors: str
    strays: tuple[str, ...]


def run(case: Combination, folder: Path, files: dict[str, Path], nobody: tuple[str, ...] | None) -> Outcome:
    """Run the command in a folder of its own."""
    folder.mkdir()
    (folder / "work").mkdir()
    for name in ("home", "cache", "temporary"):
        (folder / f"{name}-own").mkdir()
        (folder / f"{name}-closed").mkdir(mode=0)
        (folder / f"{name}-file").write_text("")
    if case.nameless and nobody is not None:
        for each in (folder, *folder.iterdir()):
            os.chown(each, _NOBODY, _NOBODY)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        **case.locale,
        **_variables(case, folder),
    }
    command = [sys.executable, "-m", "pamprof", *(str(files.get(word, word)) for word in case.words)]
    if case.nameless and nobody is not None:
        command = [*nobody, *command]
    if case.output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    output, text = _output(case, folder)
    try:
        done = subprocess.run(
            command, cwd=folder / "work", env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.PIPE, timeout=120, check=False,
        )  # fmt: skip
    finally:
        if output >= 0:
            os.close(output)
    encoding = case.locale.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    printed = done.stdout if done.stdout is not None else text.read_bytes() if text is not None else b""
    return Outcome(
        done.returncode,
        printed.decode(encoding, "surrogateescape"),
        done.stderr.decode(encoding, "surrogateescape"),
        tuple(each.name for each in (folder / "work").iterdir() if each.name != "out"),
    )


def _variables(case: Combination, folder: Path) -> dict[str, str]:
    chosen = (
        ("HOME", "home", case.home),
        ("XDG_CACHE_HOME", "cache", case.cache),
        ("TMPDIR", "temporary", case.temporary),
    )
    found = {}
    for variable, name, value in chosen:
        if value is not None:
            found[variable] = (
                str(folder / f"{name}-{value}") if value in ("own", "file", "closed", "missing") else value
            )
    if case.visible is not None:
        found["CUDA_VISIBLE_DEVICES"] = case.visible
    return found


def _output(case: Combination, folder: Path) -> tuple[int, Path | None]:
    """Descriptor for standard output, and the file behind it where there is one."""
    if case.output == "file":
        return os.open(folder / "output", os.O_WRONLY | os.O_CREAT), folder / "output"
    if case.output == "full":
        return os.open("/dev/full", os.O_WRONLY), None
    if case.output == "gone":
        read_end, write_end = os.pipe()
        os.close(read_end)
        return write_end, None
    return subprocess.PIPE, None


def faults(case: Combination, outcome: Outcome) -> list[str]:
    """What an environment did to a command that it must not; empty where all is well."""
    lines = [line for line in outcome.errors.splitlines() if line.strip()]
    found = []
    expected = {"gone": {-signal.SIGPIPE}, "full": {case.status or 2}}.get(case.output, {case.status})
    if case.status in (1, 2):  # nothing may have been printed before the failure
        expected = {*expected, case.status}
    if outcome.status not in expected:
        found.append(f"exit status {outcome.status}, not {sorted(expected)}")
    if any("\udc80" <= letter <= "\udcff" for letter in outcome.output + outcome.errors):
        found.append("output in another encoding than the terminal's")
    if any(not line.startswith("pamprof: ") for line in lines):
        found.append("a line on standard error that is no sentence of pamprof's")
    if outcome.status > 0 and not lines:
        found.append("a failure without a sentence")
    if outcome.errors.count("caches are kept") > 1:
        found.append("said more than once where caches are")
    if outcome.status == 0 and case.output in ("pipe", "file") and not outcome.output.strip():
        found.append("no output")
    if outcome.strays:
        found.append(f"left {outcome.strays} in the working folder")
    return found
