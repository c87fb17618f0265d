import os

import pytest

from pamprof.measure.session.process import worker_environment


@pytest.mark.parametrize(("load", "expected"), [(0.2, None), (0.9, "passive")])
def test_threads_sleep_where_others_keep_the_machine_busy(monkeypatch, load, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert worker_environment().get("OMP_WAIT_POLICY") == expected


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "5")])
def test_what_the_user_chose_for_threads_stays(monkeypatch, name, value):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    found = worker_environment()
    assert found[name] == value
    assert found.get("OMP_WAIT_POLICY") in (None, "active")


def test_all_processes_of_a_session_share_one_cache_of_kernels(monkeypatch):
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    assert worker_environment()["TRITON_CACHE_DIR"].endswith("/.triton/cache")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    assert worker_environment()["TRITON_CACHE_DIR"] == "/elsewhere"
