"""What a comparison and a sweep are asked for alike, and how both begin and end with a folder of records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.hardware.device import resolve_device
from pamprof.hardware.host import cpu_name
from pamprof.hardware.nvml import open_nvml
from pamprof.records import Dtype, PriceQuote
from pamprof.records.store import is_only_begun, read_records

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.measure.session.process import WorkerProcess
    from pamprof.records.store import RecordFile, RunStore

RECORDS_FILE = "runs.jsonl"

# Tokens that the facts of matched arms refer to.
MATCHED_LENGTH = 2048

# Device kind and name to a quote, or None with the reason.
PriceLookup = Callable[[str, str], tuple[PriceQuote | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringRequest:
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        command: The command line that reproduces it.
        output_dir: Folder of the records.
        resume: Go on with the records that are there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        preset: Sizes by name, those of PAM; every other arm is matched to them.
        layers: Registry names; the first that is a transformer, or else the first, is the reference.
        implementations: Names to keep.
        dtype: Precision policy.
        settings: Changes to the device's default sampling rules, by ``Settings`` field.
    """

    command: str
    output_dir: Path
    resume: bool
    device: str
    preset: str | None
    layers: tuple[str, ...]
    implementations: tuple[str, ...]
    dtype: Dtype | None
    settings: Mapping[str, int | float | bool]

    @property
    def path(self) -> Path:
        """File of the records."""
        return self.output_dir / RECORDS_FILE

    def dtype_on(self, *, cuda: bool) -> Dtype:
        """The precision policy on a GPU or a CPU."""
        return self.dtype or (Dtype.BFLOAT16 if cuda else Dtype.FLOAT32)

    def preset_on(self, *, cuda: bool) -> str:
        """The sizes on a GPU or a CPU."""
        return self.preset or ("100m" if cuda else "tiny")

    def earlier_records(self, what: str) -> RecordFile | None:
        """The records to go on with; None where there are none.

        A session killed before its header was whole leaves an empty file or one unfinished line. Nothing is lost with
        it, so both ways of going on are allowed.

        Args:
            what: Name of what left them, such as ``comparison``.

        Raises:
            UsageError: ``resume`` does not fit what the folder holds.
            RecordError: The file cannot be read.
        """
        if not self.path.exists():
            if self.resume:
                raise UsageError(f"--resume needs the records of an earlier {what}, and {self.path} is not there")
            return None
        if is_only_begun(self.path):
            return None
        if not self.resume:
            raise UsageError(
                f"{self.path} holds records of an earlier {what}; go on with --resume or choose another --output-dir"
            )
        return read_records(self.path)


@contextlib.contextmanager
def keeping(store: RunStore, worker: WorkerProcess, *, fresh: bool) -> Iterator[None]:
    """Close ``store`` at the end; where that comes too early, end ``worker`` and leave nothing empty behind.

    Args:
        store: Where outcomes go.
        worker: Started early, while this process was still planning.
        fresh: Whether the file of ``store`` was made for it.
    """
    path = store.path
    try:
        yield
    except BaseException:
        worker.kill()
        if fresh and path.stat().st_size == 0:
            # Nothing was measured: leave nothing that a second attempt would stumble over.
            path.unlink()
            with contextlib.suppress(OSError):  # the folder held something before
                path.parent.rmdir()
        raise
    finally:
        store.close()


def identify_device(name: str) -> tuple[str, int, str]:
    """Kind, number and product name of a device, without opening it: this process must not occupy the GPU it measures.

    Raises:
        UsageError: No device is called that.
        DeviceError: It is not there.
    """
    kind, ordinal = resolve_device(name)
    if kind == "cpu":
        return kind, ordinal, cpu_name()
    product = open_nvml(ordinal=ordinal).name().value
    if product is None:
        import torch

        product = torch.cuda.get_device_name(ordinal)
    return kind, ordinal, product
