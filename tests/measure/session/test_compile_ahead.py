"""Processes that compile ahead: what they are given, that they stand still and that they end."""

import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.measure.session import compile_ahead
from pamprof.measure.session.compile_ahead import CompileAhead, _signal, standing_still, worth_compiling_ahead
from pamprof.records import Execution, ImplementationFacts, ImplementationKind, LayerFacts
from tests.synthetic import synthetic_workload

E, C, G, CG = Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH
FACTS = {
    "transformer": LayerFacts(layer="transformer", title="transformer"),
    "pam": LayerFacts(
        layer="pam",
        title="PAM",
        implementations=(
            ImplementationFacts(name="planar"),
            ImplementationFacts(name="fused", kind=ImplementationKind.KERNELS),
        ),
    ),
}

# Starts another process, says so, and waits.
SLEEPER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


@pytest.fixture
def sleeper():
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    yield process, int(process.stdout.readline())
    _signal((process.pid,), signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def state(process_id):
    """``T`` of a stopped process, another letter otherwise (proc_pid_stat(5))."""
    with open(f"/proc/{process_id}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def until(found):
    """Wait for what the kernel does in its own time; a test that never sees it ends with an error."""
    return any(found() for _ in range(200_000))


def test_each_program_is_compiled_once_in_order_and_the_first_workload_is_left_to_the_worker():
    first = synthetic_workload("transformer", execution=CG)
    planar, compiled = (synthetic_workload("pam", "planar", execution) for execution in (CG, C))
    fused, replayed = (synthetic_workload("pam", "fused", execution) for execution in (G, E))
    plain = synthetic_workload("pam", "planar", E)
    elsewhere = replace(planar, sequence_length=512)
    found = worth_compiling_ahead((first, planar, fused, plain, compiled, replayed, elsewhere), FACTS)
    assert found == (planar, fused, elsewhere)


def test_plain_code_that_is_not_compiled_needs_nothing():
    workloads = [synthetic_workload("pam", "planar", execution) for execution in (E, E, G)]
    assert worth_compiling_ahead(workloads, FACTS) == ()


def test_processes_and_what_they_started_stand_still_and_go_on(sleeper):
    process, child = sleeper
    both = (process.pid, child)
    with standing_still((process.pid,)):
        assert until(lambda: [state(each) for each in both] == ["T", "T"])
    assert until(lambda: "T" not in [state(each) for each in both])


def test_they_go_on_where_taking_times_failed(sleeper):
    with pytest.raises(RuntimeError), standing_still((sleeper[0].pid,)):
        raise RuntimeError
    assert until(lambda: state(sleeper[0].pid) != "T")


def test_a_process_that_has_ended_is_no_error(sleeper):
    process, _ = sleeper
    _signal((process.pid,), signal.SIGKILL)
    process.wait()
    with standing_still((process.pid,)):
        pass


def test_their_number_follows_the_cores_and_they_end_even_while_standing_still(monkeypatch):
    monkeypatch.setattr(compile_ahead, "cpu_core_count", lambda: 8)
    workloads = [synthetic_workload(execution=C, batch_size=batch) for batch in (1, 2, 3)]
    ahead = CompileAhead(workloads, device="cpu", seed=0)
    found = ahead.process_ids
    assert len(found) == 2
    _signal(found, signal.SIGSTOP)
    assert until(lambda: [state(each) for each in found] == ["T", "T"])
    for each in found:  # they compile; what they time beside the worker is no choice to keep
        assert b"\0FLA_CACHE_RESULTS=0\0" in Path(f"/proc/{each}/environ").read_bytes()
    ahead.stop()
    assert ahead.process_ids == ()
    assert not any(os.path.exists(f"/proc/{each}") for each in found)


def test_a_machine_with_few_cores_starts_none(monkeypatch):
    monkeypatch.setattr(compile_ahead, "cpu_core_count", lambda: 2)
    ahead = CompileAhead([synthetic_workload(execution=C)], device="cpu", seed=0)
    assert ahead.process_ids == ()
    ahead.stop()


def test_they_die_with_the_session_that_started_them():
    code = (
        "from pamprof.measure.session import compile_ahead\n"
        "from pamprof.measure.session.compile_ahead import CompileAhead\n"
        "compile_ahead.cpu_core_count = lambda: 4\n"
        "from tests.synthetic import synthetic_workload\n"
        "print(*CompileAhead([synthetic_workload()], device='cpu', seed=0).process_ids, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ended = select.poll()
    handle = os.pidfd_open(int(parent.stdout.readline()))
    ended.register(handle, select.POLLIN)
    assert not ended.poll(0)
    parent.kill()
    parent.wait()
    assert ended.poll(60_000)  # whether it had asked the kernel for its end already, or finds its parent gone
    os.close(handle)
    parent.stdin.close()
    parent.stdout.close()
