"""What every measuring command is asked for: where the records go, on which device, which layers, how carefully."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof.devices.names import board_and_profile
from pamprof.devices.parts import BoardPart, part_told
from pamprof.errors import UsageError
from pamprof.hardware.device import resolve_device
from pamprof.hardware.host import cpu_name
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.records import Dtype, PriceQuote, ProcessorUse, SessionKind
from pamprof.records.store import RECORDS_FILE, is_only_begun, read_records

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pamprof.records.store import RecordFile

# Tokens that the facts of matched arms refer to.
MATCHED_LENGTH = 2048

# Device kind, name, of a CPU what the run occupies of it, and which part of a board a GPU is, if any, to a quote, or
# None with the reason.
PriceLookup = Callable[[str, str, ProcessorUse | None, BoardPart | None], tuple[PriceQuote | None, str | None]]


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
        checkpoints: Files of weights, by layer.
        time_budget_seconds: Of the whole session; None where none was named.
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
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    time_budget_seconds: float | None = None

    def check_checkpoints(self, layers: Collection[str]) -> None:
        """Raise ``UsageError`` where weights are given for none of ``layers``."""
        for name in self.checkpoints:
            if name not in layers:
                raise UsageError(f"--checkpoint names {name}, which is not measured; layers are {', '.join(layers)}")

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

    def earlier_records(self, kind: SessionKind) -> RecordFile | None:
        """The records to go on with; None where there are none.

        A session killed before its header was whole leaves an empty file or one unfinished line. Nothing is lost with
        it, so both ways of going on are allowed.

        Args:
            kind: Of the session that left them.

        Raises:
            UsageError: ``resume`` does not fit what the folder holds.
            RecordError: The file cannot be read.
        """
        if not self.path.exists():
            if self.resume:
                raise UsageError(f"--resume needs the records of an earlier {kind}, and {self.path} is not there")
            return None
        if is_only_begun(self.path):
            return None
        if not self.resume:
            raise UsageError(
                f"{self.path} holds records of an earlier {kind}; go on with --resume or choose another --output-dir"
            )
        return read_records(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedDevice:
    """A device by kind, number and product name, and the part of a board that it is, if any."""

    kind: str
    ordinal: int
    name: str
    part: BoardPart | None = None


def identify_device(name: str) -> IdentifiedDevice:
    """What a device is, without opening it: this process must not occupy the GPU it measures.

    Raises:
        UsageError: No device is called that.
        DeviceError: It is not there.
    """
    kind, ordinal = resolve_device(name)
    if kind == "cpu":
        return IdentifiedDevice(kind=kind, ordinal=ordinal, name=cpu_name())
    nvml = open_nvml(ordinal=ordinal)
    product, mig = nvml.name().value, nvml.mig_enabled().value
    if product is None or (mig and board_and_profile(product) is None):
        import torch

        # Of a divided board NVML may name the whole; CUDA names the slice that it uses.
        product = torch.cuda.get_device_name(ordinal)
    part = part_told(product, mig_enabled=mig, virtualisation=nvml.virtualisation().value)
    return IdentifiedDevice(kind=kind, ordinal=ordinal, name=product, part=part)
