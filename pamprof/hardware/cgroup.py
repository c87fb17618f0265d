"""What the container or the session's scope allows: the smallest limit from this process's cgroup up to the mount.

Both versions of control groups, in which a limit may be set on any ancestor. Sources: cgroup-v1/memory.rst,
scheduler/sched-bwc.rst and cgroup-v2.rst in the kernel's documentation, proc(5) (read November 2026).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROCESS = Path("/proc/self")


def cpu_quota() -> float | None:
    """Cores' worth of time this process may use, such as 2.5; None without a quota."""
    quotas = []
    for folder in _folders("cpu"):
        written = _text(folder / "cpu.max") or (
            f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"
        )
        try:
            quota, period = map(int, written.split())
        except ValueError:  # absent, or "max"
            continue
        if quota > 0 and period > 0:  # version 1 writes -1 for no quota
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit_bytes() -> int | None:
    """Memory that this process and those beside it may hold, bytes; None without a limit."""
    limits = []
    for folder in _folders("memory"):
        try:
            limits.append(int(_text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")))
        except ValueError:  # absent, or "max"
            continue
    return min(limits, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """Folders whose limits hold for this process, from its own cgroup up to the root of each mount."""
    own = dict(_own_cgroups())
    for mounted, root, mount in _mounts():
        if controller not in mounted and "" not in mounted:
            continue
        path = own.get(controller if controller in mounted else "", PurePosixPath("/"))
        # In a container the path may be the host's, of which the mount shows what lies below its root.
        below = path.relative_to(root if path.is_relative_to(root) else "/").parts
        steps = () if ".." in below else below  # a cgroup outside the name space, of which nothing is shown
        yield from (mount.joinpath(*steps[:depth]) for depth in range(len(steps), -1, -1))


def _own_cgroups() -> Iterator[tuple[str, PurePosixPath]]:
    """This process's cgroup under each controller of version 1, and under the empty name of version 2."""
    for line in _text(_PROCESS / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, PurePosixPath(path)


def _mounts() -> Iterator[tuple[frozenset[str], PurePosixPath, Path]]:
    """Controllers (the empty name for version 2), the cgroup at the root, and the place of each mounted hierarchy."""
    for line in _text(_PROCESS / "mountinfo").splitlines():
        mount, _, superblock = (part.split() for part in line.partition(" - "))
        kind, options = superblock[0], superblock[-1]
        if kind in ("cgroup", "cgroup2"):
            controllers = frozenset(options.split(",") if kind == "cgroup" else ("",))
            yield controllers, PurePosixPath(mount[3]), Path(mount[4])


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
