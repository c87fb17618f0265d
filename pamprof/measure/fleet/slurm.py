"""Groups as jobs of Slurm, begun by submitit; each writes its lines into a file of a folder that all machines see."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pamprof.errors import DeviceError, UsageError
from pamprof.measure.fleet.engine import FleetCapacity, News

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCAL = "local"
_POLL_SECONDS = 0.5
# A shared file system may show the last lines of a job this much later than Slurm its end.
_LATEST_LINES_SECONDS = 30.0
_SPARE_MINUTES = 10
_TIMES_EXPECTED = 4.0
_STATE_SECONDS = 5.0
_QUESTION_SECONDS = 30.0


@dataclass(slots=True)
class _Job:
    job: Any
    lines: Path
    read_bytes: int = 0
    ended_at: float | None = None


class SlurmQueue:
    """A queue of Slurm. Account, QOS and constraints are those of sbatch's own variables, as ``SBATCH_ACCOUNT``.

    Args:
        partition: Where jobs go; None for the default one, ``local`` for processes of this machine.
        folder: Of the records, on a file system that all machines see.

    Raises:
        UsageError: submitit is not installed.
        DeviceError: This machine has no sbatch.
    """

    def __init__(self, partition: str | None, *, folder: Path) -> None:
        try:
            import submitit
        except ImportError as exc:
            raise UsageError("--on slurm needs submitit, which is not installed; pip install 'pamprof[slurm]'") from exc
        self._is_local = partition == LOCAL
        self._partition = None if self._is_local else partition
        if not self._is_local and shutil.which("sbatch") is None:
            raise DeviceError(
                "--on slurm needs sbatch, which is not on this machine; run it on a login node of the cluster, or use "
                f"--on slurm:{LOCAL}"
            )
        self._folder = folder.resolve() / f".fleet-{uuid.uuid4().hex[:8]}"
        self._submitit: Any = submitit
        self._jobs: dict[str, _Job] = {}
        self._cuda = False
        self._slots: int | None = None
        self._looked_at = 0.0

    def capacity(self, device: str) -> FleetCapacity:
        """See ``Engine``."""
        kind = device.partition(":")[0]
        if self._is_local:
            from pamprof.measure.session.request import identify_device

            found = identify_device(device)
            self._cuda, self._slots = found.kind == "cuda", 1
            name = "submitit on this machine"
            return FleetCapacity(name=name, device_kind=found.kind, slots=1, devices=(found.name,))
        types = self._gpu_types()
        if kind == "cuda" and types is None:
            where = f"partition {self._partition}" if self._partition else "any partition"
            raise DeviceError(
                f"device {device} was asked for, and Slurm has no GPU in {where}; name another as --on "
                "slurm:PARTITION, or use --device cpu"
            )
        self._cuda = kind != "cpu" and types is not None
        return FleetCapacity(
            name=f"Slurm{f', partition {self._partition}' if self._partition else ''}",
            device_kind="cuda" if self._cuda else "cpu",
            slots=None,
            devices=(types or ()) if self._cuda else (),
        )

    def free(self) -> int:
        """See ``Engine``."""
        return sys.maxsize if self._slots is None else self._slots - len(self._jobs)

    def begin(self, task: bytes, *, expected_seconds: float) -> str:
        """See ``Engine``."""
        attempt = uuid.uuid4().hex[:12]
        self._folder.mkdir(parents=True, exist_ok=True)
        given, lines = self._folder / f"{attempt}.task", self._folder / f"{attempt}.lines"
        given.write_bytes(task)
        executor = self._submitit.AutoExecutor(
            folder=self._folder / "jobs", cluster=LOCAL if self._is_local else "slurm"
        )
        options: dict[str, Any] = {
            "name": "pamprof",
            "timeout_min": _SPARE_MINUTES + ceil(_TIMES_EXPECTED * expected_seconds / 60),
        }
        if self._cuda:
            options["gpus_per_node"] = 1
        if not self._is_local:
            # Slurm's own requeue would measure a group twice: the head begins it again, with what is missing.
            options["slurm_additional_parameters"] = {"no-requeue": True}
            if not self._cuda:
                options["slurm_exclusive"] = True
            if self._partition is not None:
                options["slurm_partition"] = self._partition
        executor.update_parameters(**options)
        try:
            job = executor.submit(_write_lines, str(given), str(lines))
        except (RuntimeError, OSError, subprocess.SubprocessError) as exc:
            raise DeviceError(f"Slurm takes no job: {_last_line(exc)}; check partition, account and limits") from exc
        self._jobs[attempt] = _Job(job, lines)
        return attempt

    def news(self, timeout_seconds: float) -> list[News]:
        """See ``Engine``."""
        end = time.monotonic() + timeout_seconds
        while True:
            self._note_ends()
            found = [news for attempt, job in list(self._jobs.items()) for news in self._of(attempt, job)]
            if found or time.monotonic() >= end:
                return found
            time.sleep(min(_POLL_SECONDS, timeout_seconds))

    def close(self) -> None:
        """See ``Engine``."""
        for job in self._jobs.values():
            job.job.cancel()
        self._jobs.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _of(self, attempt: str, job: _Job) -> Iterator[News]:
        """What a job has written since, and its end."""
        lines = self._new_lines(job)
        yield from (News(attempt=attempt, line=line) for line in lines)
        if lines and lines[-1].startswith(b'{"said":"ended"'):
            del self._jobs[attempt]
            yield News(attempt=attempt)
            return
        if job.ended_at is None or lines:
            return
        if self._is_local or time.monotonic() - job.ended_at > _LATEST_LINES_SECONDS:
            del self._jobs[attempt]
            yield News(attempt=attempt, fault=self._fault(job))

    def _note_ends(self) -> None:
        """Note which jobs have ended. submitit would ask sacct, which a cluster without accounting does not answer."""
        now = time.monotonic()
        running = [job for job in self._jobs.values() if job.ended_at is None]
        if not running or (not self._is_local and now - self._looked_at < _STATE_SECONDS):
            return
        self._looked_at = now
        queued = None if self._is_local else _queued([job.job.job_id for job in running])
        for job in running:
            ended = job.job.done() if self._is_local else queued is not None and job.job.job_id not in queued
            job.ended_at = now if ended else None

    @staticmethod
    def _new_lines(job: _Job) -> list[bytes]:
        try:
            with job.lines.open("rb") as file:
                file.seek(job.read_bytes)
                content = file.read()
        except FileNotFoundError:  # it waits in the queue
            return []
        whole = content[: content.rfind(b"\n") + 1]
        job.read_bytes += len(whole)
        return whole.splitlines(keepends=True)

    def _fault(self, job: _Job) -> str:
        state = str(job.job.state).lower() if self._is_local else _state(job.job.job_id)
        stderr = (job.job.stderr() or "").strip().splitlines()
        return f"its job ended ({state})" + (f": {stderr[-1].strip()}" if stderr else "")

    def _gpu_types(self) -> tuple[str, ...] | None:
        """Types of GPU that Slurm schedules, as its gres call them; None where it has none."""
        partition = (f"--partition={self._partition}",) if self._partition else ()
        found = _asked("sinfo", "--noheader", "--format=%G", *partition)
        if found.returncode:
            raise DeviceError(f"Slurm does not answer: {found.stderr.strip()}; check sinfo on this machine")
        gres = [entry.split("(")[0].split(":") for entry in found.stdout.replace("\n", ",").split(",")]
        gpus = [entry for entry in gres if entry[0].strip() == "gpu"]
        return tuple(dict.fromkeys(entry[1] for entry in gpus if len(entry) > 2)) if gpus else None


def _queued(job_ids: Sequence[str]) -> set[str] | None:
    """Which of these wait or run; None where Slurm does not answer for the moment."""
    found = _asked("squeue", "--noheader", "--format=%A", f"--jobs={','.join(job_ids)}")
    if found.returncode and "Invalid job id" not in found.stderr:
        return None
    return set(found.stdout.split())


def _state(job_id: str) -> str:
    """How a job ended, in Slurm's word, such as ``node_fail``."""
    found = re.search(r"JobState=(\S+)", _asked("scontrol", "--oneliner", "show", "job", job_id).stdout)
    return "forgotten by Slurm" if found is None else found[1].lower()


def _asked(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_QUESTION_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as exc:
        return subprocess.CompletedProcess(words, 1, "", str(exc))


def _write_lines(task: str, lines: str) -> None:
    """What a job runs."""
    from pamprof.measure.fleet.node import lines_of_task

    with open(lines, "ab", buffering=0) as file:
        for line in lines_of_task(Path(task).read_bytes()):
            file.write(line)


def _last_line(exc: BaseException) -> str:
    stderr = getattr(exc, "stderr", None)
    said = [line.strip() for line in str(stderr or exc).splitlines() if line.strip()]
    return said[-1] if said else type(exc).__name__
