"""kill -9 of a whole comparison: the file stays readable, one point is lost at most, going on completes the set."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pamprof.records.store import is_only_begun, read_records

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = tuple(f"arm{number:02d}" for number in range(16))
LONGEST_DELAY_SECONDS = 0.35
MOST_GROWTH_BYTES = 150_000


class Comparison:
    """The session of ``session_process`` in a process group of its own, its imports done."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.session_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
            start_new_session=True,
        )  # fmt: skip

    def start(self, path, names):
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write(f"{path} {' '.join(names)}\n")
        self.process.stdin.flush()

    def kill(self):
        """Kill the group; whether it was still alive."""
        alive = self.process.poll() is None
        if alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        return alive

    def told(self):
        """Names it said it had started, and names it said it had finished."""
        output, errors = self.process.communicate(timeout=60)
        assert errors == ""
        # A line without its end was cut off by the kill, and says nothing.
        words = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
        return tuple([name for verb, name in words if verb == kind] for kind in ("started", "finished"))


def measured(path):
    if not path.exists() or is_only_begun(path):
        return []
    return [run.workload.implementation for run in read_records(path).runs]


def size(path):
    return path.stat().st_size if path.exists() else 0


def wait_for_moment(rng, path, process):
    """Sleep a random time, or until the file has grown by a random number of bytes: right beside a write.

    Growth is waited for until the session ends, so that a busy machine gets as far as an idle one.
    """
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, LONGEST_DELAY_SECONDS))
        return
    enough = size(path) + rng.randrange(1, MOST_GROWTH_BYTES)
    while size(path) < enough and process.poll() is None:
        pass


def kill_often(tmp_path, *, kills, seed):
    """Kill sessions at ``kills`` random moments, going on in the same file until it is complete, then in a new one."""
    rng = random.Random(seed)
    waiting = Comparison()
    done, files = 0, 0
    path = tmp_path / "0" / "runs.jsonl"
    before = b""
    moments = set()
    while done < kills:
        comparison, waiting = waiting, Comparison()
        comparison.start(path, NAMES)
        wait_for_moment(rng, path, comparison.process)
        killed = comparison.kill()
        done += killed
        started, finished = comparison.told()
        content = path.read_bytes() if path.exists() else b""
        assert content.startswith(before), "a record that was there is gone"
        names = measured(path)
        assert set(finished) <= set(names), "a point that was reported finished is lost"
        assert set(started[:-1]) <= set(names), "more than the point in progress is lost"
        assert len(names) == len(set(names)), "a point that was there was measured again"
        moments.add(len(names))
        before = content[: content.rfind(b"\n") + 1]  # a torn last line is cut off when the session goes on
        if not killed:
            assert names == list(NAMES)
            files += 1
            path, before = tmp_path / str(files) / "runs.jsonl", b""
    waiting.start(path, NAMES)
    waiting.told()
    assert sorted(measured(path)) == list(NAMES)
    assert read_records(path).problems == ()
    return moments


def test_a_comparison_killed_at_20_random_moments_loses_one_point_at_most_and_can_go_on(tmp_path):
    assert len(kill_often(tmp_path, kills=20, seed=1)) > 3


@pytest.mark.sweep
def test_a_comparison_killed_at_200_random_moments_loses_one_point_at_most_and_can_go_on(tmp_path):
    assert len(kill_often(tmp_path, kills=200, seed=2)) > 10


def children(pid):
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, seconds=20.0):
    until = time.perf_counter() + seconds
    while not condition() and time.perf_counter() < until:
        time.sleep(0.01)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker through /proc")
def test_a_worker_that_hangs_does_not_outlive_a_killed_comparison(tmp_path):
    comparison = Comparison()
    comparison.start(tmp_path / "runs.jsonl", ("arm", "hanging"))
    assert comparison.process.stdout.readline() == "started arm\n"
    assert comparison.process.stdout.readline() == "finished arm\n"
    assert comparison.process.stdout.readline() == "started hanging\n"
    (worker,) = children(comparison.process.pid)
    assert is_running(worker)
    comparison.kill()
    comparison.told()
    assert wait_until(lambda: not is_running(worker)), "the worker still holds the device"
