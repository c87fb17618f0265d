"""A comparison without torch: the real store and session over the stand-in worker, in a process that may be killed.

Run as ``python -m tests.faults.session_process``; says ``ready``, reads the file's path and the arms' names from one
line of standard input, measures the arms that the file does not hold, and tells what it started and what it finished.
"""

import sys
from dataclasses import replace
from pathlib import Path

from pamprof.errors import PamprofError
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.runner import SessionRunner
from pamprof.measure.session.settings import Settings
from pamprof.records.store import RunStore, is_only_begun, read_records
from tests.synthetic import synthetic_session, synthetic_workload


class Teller:
    """Says on standard output what was begun and what is safe, by the arm's name."""

    def begin(self, total_points):
        pass

    def point_started(self, label):
        print("started", label.split()[-2], flush=True)

    def point_finished(self, label, text):
        print("finished", label.split()[-2], flush=True)

    def recorded(self, record):
        pass

    def message(self, text):
        pass

    def end(self):
        pass


def workloads(names):
    return tuple(replace(synthetic_workload(), implementation=name) for name in names)


def finished(path):
    """Keys that have a run; as a resumed comparison reads them."""
    if not path.exists() or is_only_begun(path):
        return frozenset()
    return frozenset(run.workload.key for run in read_records(path).runs)


def measure(path, names):
    done = finished(path)
    store = RunStore(path)
    store.append(synthetic_session())
    runner = SessionRunner(
        session_id="s", device="cpu", settings=Settings(), store=store, reporter=Teller(),
        spawn=lambda: WorkerProcess("tests.measure.session.fake_worker"),
    )  # fmt: skip
    # Two groups, so that moments between two workers are among those at which the process may die.
    half = len(names) // 2
    runner.run([workloads(names[:half]), workloads(names[half:])], done)
    store.close()


def main():
    print("ready", flush=True)
    path, *names = sys.stdin.readline().split()
    try:
        measure(Path(path), names)
    except PamprofError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
