from __future__ import annotations

import socket
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pamprof.records import Price

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def offline_and_without_a_refreshed_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a test of prices opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def make_price() -> Callable[..., Price]:
    def make(
        *,
        provider: str = "lambda",
        instance: str = "gpu_1x_h100_sxm5",
        region: str = "us-east-1",
        purchase_option: str = "on-demand",
        device_name: str = "H100-SXM",
        device_count: int = 1,
        usd_per_hour: str = "4.29",
        observed_on: date | None = date(2026, 11, 1),
        observed_text: str = "2026-11-01",
        device_memory_gib: int | None = None,
        vcpu_count: int | None = None,
    ) -> Price:
        return Price(
            provider=provider,
            instance=instance,
            region=region,
            purchase_option=purchase_option,
            device_name=device_name,
            device_count=device_count,
            usd_per_hour=Decimal(usd_per_hour),
            observed_on=observed_on,
            observed_text=observed_text,
            source="https://prices.example",
            device_memory_gib=device_memory_gib,
            vcpu_count=vcpu_count,
        )

    return make
