from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardware.fake_driver import FakeDriver, attach, build_library

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(fake_library: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    fake = FakeDriver(fake_library, monkeypatch)
    attach(fake, monkeypatch)
    return fake
