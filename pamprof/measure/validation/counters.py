"""Hardware counters through Nsight Compute's ``ncu``: what exists is asked first, and every failure has a sentence.

Kernels run one at a time and more than once under it, so counts are worth having and times are not. Clocks are left
alone (``--clock-control none``), caches are as warm as the program left them, and only what lies between
``cudaProfilerStart`` and ``cudaProfilerStop`` is counted. Options and CSV pages: Nsight Compute CLI documentation,
https://docs.nvidia.com/nsight-compute/NsightComputeCli/ (read November 2026).
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import OutputError, UnsupportedError
from pamprof.measure.validation.command import CommandOutput, run_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A quantity is a list of alternatives, the best first; an alternative is the counters that add up to it.
Alternatives = tuple[tuple[str, ...], ...]

# Operations of the tensor pipe, a multiply-add counted as two.
TENSOR_BFLOAT16: Alternatives = (
    ("sm__ops_path_tensor_src_bf16_dst_fp32",),
    (
        "sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off",
        "sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32_sparsity_off",
    ),
)
# Fused multiply-adds of the float32 units, one per thread; additions and multiplications that stand alone belong to
# the epilogue of a product (scaling, bias, sums over splits) and are not asked for.
FUSED_MULTIPLY_ADDS: Alternatives = (
    ("smsp__sass_thread_inst_executed_op_ffma_pred_on",),
    ("sm__sass_thread_inst_executed_op_ffma_pred_on",),
)
DRAM_BYTES: Alternatives = (("dram__bytes_read", "dram__bytes_write"), ("dram__bytes",))

_DEFAULT_PLACES = (
    "/usr/local/cuda/bin/ncu",
    "/opt/nvidia/nsight-compute/*/ncu",
    "/usr/local/NVIDIA-Nsight-Compute*/ncu",
)
_QUERY_TIMEOUT_SECONDS = 30.0
_METRIC_NAME = re.compile(r"^\s*([a-z0-9]+__\w+)", re.MULTILINE)
_NOT_NUMBERS = frozenset({"", "n/a", "N/A", "nan", "inf", "(!) n/a"})
_SCALED_UNIT = re.compile(r"^[KMGT]i?byte$")

_EXPLANATIONS = (
    (
        "ERR_NVGPUCTRPERM",
        "the driver lets administrators alone read the counters (ERR_NVGPUCTRPERM); run as root, or load the driver "
        "with NVreg_RestrictProfilingToAdminUsers=0",
    ),
    ("LibraryNotLoaded", "ncu finds no driver library that gives it counters (LibraryNotLoaded), as in some sandboxes"),
    ("No kernels were profiled", "ncu saw no kernel between cudaProfilerStart and cudaProfilerStop"),
    ("driver resource was unavailable", "another profiler holds the counters; stop it (DCGM: dcgmi profile --pause)"),
)


@dataclass(frozen=True, slots=True)
class CountedKernel:
    """One kernel launch: its name, and its counters by full name (``.sum`` included); None where one has no value."""

    name: str
    counters: Mapping[str, float | None]

    def total(self, metrics: Sequence[str]) -> float:
        """Sum of some counters.

        Raises:
            UnsupportedError: One of them has no value for this kernel.
        """
        values = [self.counters.get(f"{metric}.sum") for metric in metrics]
        present = [value for value in values if value is not None]
        if len(present) < len(values):
            raise UnsupportedError(f"ncu gave no value of {', '.join(metrics)} for {self.name}")
        return sum(present)


class NsightCompute:
    """One ``ncu`` executable.

    Args:
        executable: Its path or name; None to look for it.
        tables: Folder in which the tables it printed are kept, one file for each program; None keeps none.

    Raises:
        UnsupportedError: None is found.
    """

    def __init__(self, executable: str | None = None, *, tables: Path | None = None) -> None:
        found = shutil.which(executable or "ncu")
        if found is None and executable is None:
            places = [path for place in _DEFAULT_PLACES for path in sorted(Path("/").glob(place.lstrip("/")))]
            found = str(places[-1]) if places else None
        if found is None:
            where = f"no {executable}" if executable else "no ncu on the PATH"
            raise UnsupportedError(f"{where}; install NVIDIA Nsight Compute, or give --ncu")
        self._executable = found
        self._tables = tables
        self._metrics: frozenset[str] | None = None

    def metrics(self) -> frozenset[str]:
        """Base names of the counters this GPU has, asked once.

        Raises:
            UnsupportedError: ``ncu`` fails, hangs, or names none.
        """
        if self._metrics is None:
            output = _run([self._executable, "--query-metrics"], _QUERY_TIMEOUT_SECONDS)
            names = frozenset(_METRIC_NAME.findall(output.text))
            if output.status or not names:
                raise UnsupportedError(_reason(output))
            self._metrics = names
        return self._metrics

    def profile(
        self, metrics: Sequence[str], module: str, arguments: Sequence[str], *, timeout_seconds: float
    ) -> tuple[CountedKernel, ...]:
        """Counters of every kernel that ``python -m module`` launches between profiler start and stop, in order.

        Args:
            metrics: Base names; their sums are collected.
            module: Run in a fresh interpreter.
            arguments: Given to it.
            timeout_seconds: After this ``ncu`` and the interpreter are ended.

        Raises:
            UnsupportedError: ``ncu`` or the module fails, hangs, or counts nothing.
        """
        with tempfile.TemporaryDirectory(prefix="pamprof-ncu-") as folder:
            log = Path(folder) / "ncu.csv"
            command = [self._executable, "--csv", "--page", "raw", "--print-units", "base"]
            command += ["--profile-from-start", "off", "--clock-control", "none", "--cache-control", "none"]
            # Compilers that the program starts are none of ours.
            command += ["--target-processes", "application-only"]
            command += ["--metrics", ",".join(f"{metric}.sum" for metric in metrics), "--log-file", str(log)]
            output = _run([*command, sys.executable, "-m", module, *arguments], timeout_seconds)
            logged = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        # Some versions write the table to standard output although there is a log file.
        table = "\n".join(_table_lines(logged) or _table_lines(output.text))
        if self._tables is not None:
            _keep(self._tables / f"ncu-{arguments[0]}.csv", table)
        kernels = parse_kernels(table)
        if output.status or not kernels:
            raise UnsupportedError(_reason(CommandOutput(output.status, f"{logged}\n{output.text}", output.errors)))
        return kernels


def first_available(alternatives: Alternatives, existing: frozenset[str]) -> tuple[str, ...] | None:
    """The first alternative whose counters all exist."""
    return next((names for names in alternatives if existing.issuperset(names)), None)


def parse_kernels(text: str) -> tuple[CountedKernel, ...]:
    """Kernels of ``ncu --csv`` output: a column for each metric (raw page) or a line for each (other pages)."""
    rows = list(csv.DictReader(_table_lines(text)))
    if rows and "Metric Name" in rows[0]:
        return _one_line_each(rows)
    units = [row for row in rows if not row["ID"]]
    for unit in (value for row in units for value in row.values() if isinstance(value, str)):
        if _SCALED_UNIT.match(unit):
            raise UnsupportedError(f"ncu gave a counter in {unit} although base units were asked for")
    return tuple(
        CountedKernel(
            row["Kernel Name"], {name: _number(value) for name, value in row.items() if name and "__" in name}
        )
        for row in rows
        if row["ID"]
    )


def _table_lines(text: str) -> list[str]:
    """The table without the other output of ``ncu``."""
    return [line for line in text.splitlines() if line.startswith('"')]


def _keep(path: Path, table: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{table}\n", encoding="utf-8" if table.isascii() else "utf-8-sig")
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror}; choose another folder") from exc


def _one_line_each(rows: Iterable[Mapping[str, str]]) -> tuple[CountedKernel, ...]:
    names: dict[tuple[str, str], str] = {}
    counters: dict[tuple[str, str], dict[str, float | None]] = {}
    for row in rows:
        launch = row.get("Process ID", ""), row["ID"]
        names[launch] = row["Kernel Name"]
        counters.setdefault(launch, {})[row["Metric Name"]] = _number(row["Metric Value"])
    return tuple(CountedKernel(names[launch], found) for launch, found in counters.items())


def _number(text: str | None) -> float | None:
    """A value that may have commas between thousands."""
    if text is None or text.strip() in _NOT_NUMBERS:
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _run(command: Sequence[str], timeout_seconds: float) -> CommandOutput:
    try:
        return run_command(command, timeout_seconds)
    except TimeoutError:
        name = Path(command[0]).name
        raise UnsupportedError(
            f"{name} was not done after {timeout_seconds:g} s and was ended; give --timeout"
        ) from None


def _reason(output: CommandOutput) -> str:
    """The sentence for an ``ncu`` that gave nothing."""
    everything = f"{output.text}\n{output.errors}"
    for sign, explanation in _EXPLANATIONS:
        if sign in everything:
            return explanation
    told = re.findall(r"^==ERROR== *(.+)$", everything, re.MULTILINE)[:1]
    words = [*told, output.last_words()] if output.errors.strip() or not told else told
    return f"ncu ended with status {output.status}: {'; '.join(words)}"
