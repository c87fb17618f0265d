import subprocess
import sys

import pytest

from pamprof.measure.session import process
from pamprof.measure.session.process import WorkerProcess, worker_environment


@pytest.fixture(autouse=True)
def asked_anew():
    asked = process.others_keep_busy
    asked.cache_clear()
    yield
    asked.cache_clear()


@pytest.mark.parametrize(("running", "expected"), [(1, None), (2, "passive")])
def test_threads_sleep_where_others_keep_the_machine_busy(monkeypatch, tmp_path, running, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    load = tmp_path / "loadavg"
    load.write_text(f"3.10 2.00 1.00 {running}/85 1234\n")  # one of those that run is this process
    monkeypatch.setattr(process, "_LOAD", load)
    monkeypatch.setattr(process, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(process, "cpu_core_count", lambda: 2)
    assert worker_environment().get("OMP_WAIT_POLICY") == expected
    load.write_text("9.0 9.0 9.0 9/85 1234\n")  # by then the session's own
    assert worker_environment().get("OMP_WAIT_POLICY") == expected


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "5")])
def test_what_the_user_chose_for_threads_stays(monkeypatch, name, value):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(process, "others_keep_busy", lambda: True)
    found = worker_environment()
    assert found[name] == value
    assert found.get("OMP_WAIT_POLICY") in (None, "active")


def test_all_processes_of_a_session_share_one_cache_of_kernels(monkeypatch):
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    assert worker_environment()["TRITON_CACHE_DIR"].endswith("/.triton/cache")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    assert worker_environment()["TRITON_CACHE_DIR"] == "/elsewhere"


def test_a_layer_may_print_what_the_locale_lacks(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    code = "print('3 × 2 \\udc80')"
    done = subprocess.run([sys.executable, "-c", code], env=worker_environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3 × 2 \\udc80\n".encode())


def test_a_file_of_the_current_folder_stands_in_for_no_module_that_a_worker_imports(monkeypatch, tmp_path):
    (tmp_path / "random.py").write_text("raise RuntimeError('the wrong one')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert WorkerProcess("tests.measure.session.fake_worker").close() == (0, "")
