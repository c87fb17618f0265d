from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pamprof.hardware import cgroup, host
from pamprof.hardware.host import HostProbe
from pamprof.hardware.rapl import RaplCounter, RaplProbe

if TYPE_CHECKING:
    from pamprof.hardware.probe import Observation


def values(observation: Observation, signal: str) -> list[float]:
    return [sample.value for sample in observation.samples if sample.signal == signal]


def core(busy: float, idle: float) -> tuple[float, ...]:
    class Core(tuple[float, ...]):
        __slots__ = ()
        user = property(lambda self: self[0])
        idle = property(lambda self: self[1])

    return Core((busy, idle))


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two allowed cores of three, whose counters the test moves."""
    state = SimpleNamespace(times=[core(10, 10), core(10, 10), core(10, 10)])
    monkeypatch.setattr(host, "allowed_cores", lambda: (0, 2))
    monkeypatch.setattr(host.psutil, "cpu_times", lambda percpu: state.times)
    return state


@pytest.mark.parametrize(
    ("logical", "physical", "threads"), [(8, 4, 2), (8, 8, 1), (20, 14, 2), (8, None, None), (None, None, None)]
)
def test_hardware_threads_of_a_core_are_known_where_the_system_counts_cores(
    logical: int | None, physical: int | None, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.psutil, "cpu_count", lambda logical=True, both=(logical, physical): both[not logical])
    found = host.threads_per_core()
    assert found.value == threads
    assert (found.reason is None) == (threads is not None)


def test_busy_ratio_is_of_the_allowed_cores_between_two_polls(cores: SimpleNamespace) -> None:
    probe = HostProbe(clock=lambda: 5.0)
    assert values(probe.start(), "cpu_busy_ratio") == []
    cores.times = [core(11, 10), core(99, 10), core(10.5, 10.5)]
    assert values(probe.poll(), "cpu_busy_ratio") == [pytest.approx(0.75)]


def test_an_interval_the_kernel_cannot_resolve_stays_open(cores: SimpleNamespace) -> None:
    probe = HostProbe(clock=lambda: 5.0)
    probe.start()
    cores.times = [core(10.01, 10), core(10, 10), core(10, 10.01)]
    assert values(probe.poll(), "cpu_busy_ratio") == []
    cores.times = [core(10.06, 10), core(10, 10), core(10, 10.06)]
    assert values(probe.poll(), "cpu_busy_ratio") == [pytest.approx(0.5)]


def test_a_clock_the_kernel_hides_is_unknown(cores: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.psutil, "cpu_freq", lambda: None)
    probe = HostProbe(clock=lambda: 5.0)
    probe.start()
    last = probe.finish()
    assert values(last, "cpu_clock_hertz") == []
    assert [unknown.field for unknown in last.unknowns] == ["monitor.series.cpu_clock_hertz"]
    assert values(last, "process_resident_bytes")[0] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_the_peak_of_the_process_is_not_below_what_it_holds() -> None:
    peak = host.process_peak_bytes().value
    assert peak is not None
    assert peak >= 0.9 * host.resident_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="names a thread as Linux does")
def test_a_process_whose_name_is_no_text_has_a_peak() -> None:
    name = 15  # PR_SET_NAME, linux/prctl.h
    before = Path("/proc/self/comm").read_bytes().strip()
    ctypes.CDLL(None).prctl(name, b"pyth\xff\xc3")
    try:
        assert (host.process_peak_bytes().value or 0) > 0
    finally:
        ctypes.CDLL(None).prctl(name, before)


class Groups:
    """Control groups below a folder, as /proc and the mounts show them to this process."""

    def __init__(self, folder: Path) -> None:
        self.process = folder / "proc"
        self.mounts = folder / "mounts"
        self.process.mkdir()

    def write(self, file: str, text: str) -> None:
        path = self.mounts / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def tell(self, own: str, *mounts: tuple[str, str, str]) -> None:
        """Lines of /proc/self/cgroup, and for each mount its root, its place and what stands behind the dash."""
        (self.process / "cgroup").write_text(f"{own}\n")
        lines = ["22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"]
        lines += [
            f"{number} 22 0:2{number} {root} {self.mounts / place} rw,nosuid shared:{number} - {rest}"
            for number, (root, place, rest) in enumerate(mounts)
        ]
        (self.process / "mountinfo").write_text("\n".join(lines) + "\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """A host with 8 cores and 64 GiB, and no control groups so far."""
    found = Groups(tmp_path)
    monkeypatch.setattr(cgroup, "_PROCESS", found.process)
    monkeypatch.setattr(host, "allowed_cores", lambda: tuple(range(8)))
    monkeypatch.setattr(host, "host_memory_bytes", lambda: 64 * 2**30)
    return found


VERSION_2 = ("/", "", "cgroup2 cgroup2 rw,nsdelegate")


def test_the_container_limits_cut_cores_and_memory(groups: Groups) -> None:
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (8, 64 * 2**30)
    groups.tell("0::/", VERSION_2)
    groups.write("cpu.max", "250000 100000")
    groups.write("memory.max", f"{2**30}")
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (3, 2**30)
    groups.write("cpu.max", "max 100000")
    groups.write("memory.max", "max")
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (8, 64 * 2**30)


@pytest.mark.parametrize("limited", [".", "a.slice", "a.slice/b.service", "a.slice/b.service/c.scope"])
def test_the_smallest_limit_of_all_ancestors_holds(groups: Groups, limited: str) -> None:
    groups.tell("0::/a.slice/b.service/c.scope", VERSION_2)
    for folder in ("a.slice", "a.slice/b.service", "a.slice/b.service/c.scope", "other.slice"):
        groups.write(f"{folder}/cpu.max", "600000 100000")
        groups.write(f"{folder}/memory.max", f"{8 * 2**30}")
    groups.write("other.slice/cpu.max", "100000 100000")  # not ours
    groups.write(f"{limited}/cpu.max", "150000 50000")
    groups.write(f"{limited}/memory.max", f"{2**30}")
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (3, 2**30)


@pytest.mark.parametrize("place", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("own", ["/", "/docker/abc"])
def test_the_quota_and_limit_of_version_1_are_read(groups: Groups, place: str, own: str) -> None:
    groups.tell(
        f"5:memory:{own}\n4:{place}:{own}\n1:name=systemd:/\n0::/",
        ("/", place, f"cgroup cgroup rw,{place}"),
        ("/", "memory", "cgroup cgroup rw,memory"),
        ("/", "unified", "cgroup2 cgroup2 rw"),
    )
    folder = f"{place}/{own}"
    groups.write(f"{folder}/cpu.cfs_quota_us", "-1")
    groups.write(f"{folder}/cpu.cfs_period_us", "100000")
    groups.write(f"memory/{own}/memory.limit_in_bytes", "9223372036854771712")
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (8, 64 * 2**30)
    groups.write(f"{folder}/cpu.cfs_quota_us", "120000")
    groups.write(f"memory/{own}/memory.limit_in_bytes", f"{3 * 2**30}")
    assert (host.cpu_core_count(), host.memory_limit_bytes()) == (2, 3 * 2**30)


@pytest.mark.parametrize(
    ("root", "own"),
    [
        ("/docker/abc", "/docker/abc"),  # the container's own cgroup is mounted, its path is the host's
        ("/docker/abc", "/docker/abc/job"),
        ("/", "/docker/abc"),  # mounted in a cgroup name space of its own, the path from outside it
        ("/", "/../elsewhere"),
    ],
)
def test_the_limit_at_the_root_of_a_container_s_mount_holds(groups: Groups, root: str, own: str) -> None:
    groups.tell(f"0::{own}", (root, "", "cgroup2 cgroup rw"))
    groups.write("cpu.max", "200000 100000")
    groups.write("job/cpu.max", "100000 100000")
    assert host.cpu_core_count() == (1 if own.endswith("job") else 2)


def test_caches_are_read_in_the_kernels_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_CPU_CACHES", tmp_path)
    assert "does not list" in (host.last_level_cache_bytes().reason or "")
    assert "does not list" in (host.l2_cache_bytes().reason or "")
    for index, (level, size) in enumerate([("1", "48K"), ("1", "32K"), ("2", "2048K"), ("3", "260M")]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "level").write_text(level + "\n")
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert host.l2_cache_bytes().value == 2 * 2**20
    assert host.last_level_cache_bytes().value == 260 * 2**20


def test_caches_that_few_cores_share_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_CPU_CACHES", tmp_path / "cpu0" / "cache")
    monkeypatch.setattr(host, "allowed_cores", lambda: (0, 1, 2, 3))
    assert "does not list" in (host.last_level_caches_bytes().reason or "")
    for core, shared in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        folder = tmp_path / f"cpu{core}" / "cache" / "index3"
        folder.mkdir(parents=True)
        (folder / "size").write_text("32M\n")
        if core < 3:  # a core whose files are hidden is passed over
            (folder / "shared_cpu_list").write_text(shared + "\n")
    assert host.last_level_caches_bytes().value == 2 * 32 * 2**20


def write_package(root: Path, number: int, microjoules: int, wrap: int = 1_000_000_000) -> None:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"package-{number}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap}\n")


def test_package_energy_is_summed_and_unwrapped(tmp_path: Path) -> None:
    counter = RaplCounter(tmp_path)
    write_package(tmp_path, 0, 999_000_000)
    write_package(tmp_path, 1, 10_000_000)
    assert counter.joules().value == 0.0
    write_package(tmp_path, 0, 1_000_000)  # wrapped: 2 J on
    write_package(tmp_path, 1, 13_000_000)
    assert counter.joules().value == pytest.approx(5.0)


def test_a_parent_domain_is_not_counted_twice(tmp_path: Path) -> None:
    write_package(tmp_path, 0, 5)
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "name").write_text("core\n")
    packages = RaplCounter(tmp_path).packages().value
    assert packages is not None
    assert [folder.name for folder in packages] == ["intel-rapl:0"]


def test_no_counter_is_unknown_with_the_place_it_was_looked_for(tmp_path: Path) -> None:
    last = RaplProbe(RaplCounter(tmp_path)).finish()
    assert last.energy_readings == ()
    assert last.unknowns[0].field == "monitor.energy.counter_joules"
    assert str(tmp_path) in last.unknowns[0].reason


def test_a_counter_only_root_may_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, 0, 5)
    original = Path.read_text

    def refuse(self: Path, *arguments: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return original(self)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "need root" in (RaplCounter(tmp_path).joules().reason or "")
