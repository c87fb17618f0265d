from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from typing import TYPE_CHECKING

import pytest
import torch

from pamprof.hardware.device import open_device
from pamprof.hardware.environment import git_commit, package_version, read_environment, sdpa_backends, virtualisation
from pamprof.hardware.host import processor_use
from pamprof.hardware.nvml.lookup import open_nvml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hardware.fake_driver import FakeDriver


def test_every_field_that_is_none_has_its_reason_and_no_other_has_one(driver: FakeDriver) -> None:
    environment, unknowns = read_environment(open_device("cpu"), open_nvml())
    missing = {
        f"environment.{field.name}"
        for field in dataclasses.fields(environment)
        if getattr(environment, field.name) is None
    }
    assert {unknown.field for unknown in unknowns} == missing
    assert all(unknown.reason for unknown in unknowns)


def test_the_host_is_described_without_naming_it(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = platform.uname_result("Linux", "secret-host", "6.1", "#1", "x86_64")  # type: ignore[call-arg]
    monkeypatch.setattr(platform, "uname", lambda: secret)
    environment, unknowns = read_environment(open_device("cpu"), open_nvml())
    assert environment.device_kind == "cpu"
    assert environment.device_name == environment.cpu_name
    assert environment.torch_version == torch.__version__
    assert 1 <= environment.cpu_core_count <= (os.cpu_count() or 1)
    assert environment.driver_version is None, "a CPU run must not carry the driver of a GPU it does not use"
    assert environment.processor_use == processor_use()
    text = f"{environment} {unknowns}"
    assert environment.operating_system == "Linux 6.1 x86_64"
    assert "secret-host" not in text
    assert "GPU-" not in text


def test_a_checkout_gives_its_commit_and_says_when_it_is_dirty(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "First")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path).value == commit
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path).value == f"{commit}-dirty"


def test_no_checkout_and_a_broken_one_are_told_apart(tmp_path: Path) -> None:
    assert git_commit(tmp_path).reason == "pamprof does not run from a git checkout"
    (tmp_path / ".git").mkdir()
    assert "git could not read the checkout" in (git_commit(tmp_path).reason or "")


def test_attention_backends_follow_the_switches() -> None:
    assert sdpa_backends("cpu") == ("flash", "math")
    assert set(sdpa_backends("cuda")) == {"flash", "efficient", "math", "cudnn"}
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        assert sdpa_backends("cpu") == ("math",)
        assert "flash" not in sdpa_backends("cuda")
    finally:
        torch.backends.cuda.enable_flash_sdp(True)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".dockerenv": ""}, "container"),
        ({"proc/1/cgroup": "0::/kubepods/pod1"}, "container"),
        ({"proc/cpuinfo": "flags\t\t: fpu vme hypervisor"}, "vm"),
        ({"run/.containerenv": "", "proc/cpuinfo": "flags\t\t: hypervisor"}, "container in vm"),
        ({"proc/cpuinfo": "flags\t\t: fpu\nmodel name: hypervisor"}, None),
    ],
)
def test_virtualisation_is_told_by_its_marks(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    reading = virtualisation(tmp_path)
    assert reading.value == expected
    assert (reading.reason is None) == (expected is not None)


def test_a_package_that_is_missing_is_unknown() -> None:
    # The module names the build as well (2.11.0+cu130), the installed distribution not always.
    assert package_version("torch").value.split("+")[0] == torch.__version__.split("+")[0]
    assert package_version("no-such-package-here").reason == "no-such-package-here is not installed"
