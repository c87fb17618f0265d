"""Builds the stand-in NVIDIA library once and puts it behind the real pynvml."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pynvml
import pytest

EPOCH_SECONDS = 1.7e9
UUIDS = tuple(f"GPU-aaaaaaa{index}-0000-1111-2222-333333333333" for index in range(4))
MIG_UUID = "MIG-cccccccc-0000-1111-2222-333333333333"


def build_library(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in driver library with")
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, source, "-lm"], check=True, capture_output=True
    )
    return library


class FakeDriver:
    """The library's controls, and a clock that the library, the probe and the monitor share."""

    def __init__(self, library: Path, patch: pytest.MonkeyPatch) -> None:
        self.library = ctypes.CDLL(str(library))
        self._patch = patch
        self._seconds = 0.0
        self.library.fake_reset()

    def set(self, **settings: str | int) -> None:
        for name, value in settings.items():
            self._patch.setenv(f"FAKE_NVML_{name.upper()}", str(value))

    def clock(self) -> float:
        return self._seconds

    def epoch_clock(self) -> float:
        return EPOCH_SECONDS + self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        self.library.fake_set_time(ctypes.c_double(self._seconds))

    def gpm_samples_alive(self) -> int:
        return int(self.library.fake_gpm_live())


def attach(driver: FakeDriver | None, patch: pytest.MonkeyPatch) -> None:
    """Let pynvml load the stand-in, or nothing at all, as if for the first time."""

    def load(name: str) -> ctypes.CDLL:
        assert name == "libnvidia-ml.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver.library

    patch.setattr(pynvml, "CDLL", load)
    patch.setattr(pynvml, "nvmlLib", None)
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
