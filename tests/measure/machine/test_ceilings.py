import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pamprof
from pamprof.hardware.device import open_device
from pamprof.hardware.memory import DeviceMemory
from pamprof.hardware.probe import known, unknown
from pamprof.measure.machine import ceilings
from pamprof.records import Dtype
from tests.synthetic import synthetic_environment

MIB = 2**20


class FakeDevice:
    """A device whose actions take as long as ``now`` says, and whose events, if any, see the last action alone."""

    torch_device = torch.device("cpu")

    def __init__(self, kind="cpu", memory_bytes=2**40):
        self.kind = kind
        self.now = 0.0
        self.queue = []
        self.memory_bytes = memory_bytes

    def memory(self):
        return DeviceMemory(total_bytes=self.memory_bytes, used_bytes=0, allocated_bytes=None, reserved_bytes=None)

    def synchronise(self):
        self.queue.append("wait")

    def start_timer(self):
        self.queue.append("start")
        return self.now

    def stop_timer(self, started):
        self.queue.append("stop")
        elapsed = self.now - started
        return (lambda: elapsed) if self.kind == "cuda" else None


@pytest.fixture
def clocked(monkeypatch):
    """A fake device and actions that take the given times, one after the other."""

    def make(durations, **arguments):
        device, remaining = FakeDevice(**arguments), iter(durations)

        def action():
            device.now += next(remaining)
            device.queue.append("run")

        monkeypatch.setattr(ceilings, "perf_counter", lambda: device.now)
        return device, action

    return make


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(ceilings._MATRIX_SIZE, "cpu", 128)
    monkeypatch.setattr(ceilings, "_tensor_bytes", lambda device: 2 * ceilings._BLOCK_BYTES)


@pytest.mark.parametrize("dtype", list(Dtype))
def test_ceilings_follow_from_size_and_time(small, monkeypatch, dtype):
    # Product, copy, three ways to read of which the second is the fastest, two ways to write.
    seconds = iter([0.5, 0.25, 0.4, 0.1, 0.3, 0.125, 0.2])
    monkeypatch.setattr(ceilings, "_median_seconds", lambda action, device: (action(), next(seconds))[1])
    found = ceilings.measure_ceilings(
        open_device("cpu"), synthetic_environment("cpu"), session_id="s", dtype=dtype, seed=0
    )
    assert found.matrix_flops_per_second == 2 * 128**3 / 0.5
    assert found.copy_bytes == 8 * MIB
    assert found.copy_bytes_per_second == 2 * 8 * MIB / 0.25
    assert (found.read_bytes_per_second, found.read_method) == (8 * MIB / 0.1, "torch.sum of float32")
    assert (found.write_bytes_per_second, found.write_method) == (8 * MIB / 0.125, "torch.fill_")


def test_every_way_to_read_sees_every_word():
    source = torch.zeros(4096)
    for place in (0, 1, 2047, 4095):
        source.zero_()
        before = {name: read() for name, read in ceilings.read_passes(source).items()}
        source[place] = 1.0
        after = {name: read() for name, read in ceilings.read_passes(source).items()}
        assert [name for name in before if before[name] == after[name]] == []


def test_a_way_to_read_is_one_operator_that_returns_one_number():
    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            seen[str(function)] += 1
            sizes.append(result.numel())
            return result

    passes = ceilings.read_passes(torch.ones(4096))
    assert len(passes) >= 3
    for read in passes.values():
        seen, sizes = Counter(), []
        with Operators():
            read()
        assert (seen.total(), sizes) == (1, [1])


def test_a_pass_that_fails_leaves_the_others(capfd):
    def fails():
        raise ValueError("no compiler")

    best = ceilings._fastest({"broken": fails, "sum": lambda: torch.ones(4).sum()}, open_device("cpu"))
    assert best.method == "sum"
    assert "no ceiling from broken: no compiler" in capfd.readouterr().err
    with pytest.raises(RuntimeError, match="none of broken could be timed"):
        ceilings._fastest({"broken": fails}, open_device("cpu"))


def test_the_median_leaves_the_warm_up_out(clocked):
    device, action = clocked([9.0, 9.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007])
    assert ceilings._median_seconds(action, device) == pytest.approx(0.004)


def test_a_slow_machine_repeats_less_often(clocked):
    device, action = clocked([9.0, 9.0, 1.0, 3.0, 2.0])
    assert ceilings._median_seconds(action, device) == 2.0


def test_a_gpu_is_busy_when_the_timed_action_is_queued_and_read_by_its_events(clocked):
    device, action = clocked([100.0, 0.25], kind="cuda")
    assert ceilings._seconds(action, device) == 0.25
    assert device.queue == ["run", "start", "run", "stop", "wait"]


@pytest.mark.parametrize(
    ("kind", "caches", "memory", "expected"),
    [
        ("cpu", known(32 * MIB), 2**40, 128 * MIB),
        ("cpu", known(60 * MIB), 2**40, 240 * MIB),
        ("cpu", known(384 * MIB), 2**40, 1024 * MIB),
        ("cpu", unknown("not listed"), 2**40, 128 * MIB),
        ("cpu", known(32 * MIB), 512 * MIB, 64 * MIB),
        ("cuda", known(32 * MIB), 80 * 2**30, 2048 * MIB),
        ("cuda", known(32 * MIB), 8 * 2**30, 1024 * MIB),
    ],
)
def test_the_tensor_is_many_times_the_cache_and_fits_into_memory(monkeypatch, kind, caches, memory, expected):
    monkeypatch.setattr(ceilings, "last_level_caches_bytes", lambda: caches)
    assert ceilings._tensor_bytes(FakeDevice(kind, memory)) == expected


def test_the_kernel_that_reads_returns_the_largest_word_of_every_block():
    pytest.importorskip("triton")
    program = """
import json, torch
from pamprof.workloads.kernels.memory_read import CONFIGURATIONS, largest_words
words = torch.randint(-2**31, 2**31 - 1, (3 * 16384,), dtype=torch.int32)
print(json.dumps([
    torch.equal(largest_words(words, block_size=block, warp_count=warps), words.view(-1, block).amax(1))
    for block, warps in CONFIGURATIONS
]))
"""
    repository = str(Path(pamprof.__file__).parents[1])
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout) == [True, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_reading_alone_is_at_least_as_fast_as_copying():
    device = open_device("cuda")
    found = ceilings.measure_ceilings(
        device, synthetic_environment("cuda"), session_id="s", dtype=Dtype.BFLOAT16, seed=0
    )
    assert found.read_bytes_per_second is not None
    assert found.read_bytes_per_second > 0.95 * found.copy_bytes_per_second
