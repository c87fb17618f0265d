from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.records.store import RecordFile
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.formats.write import write_report
from tests.synthetic import synthetic_records

HOSTILE = "<script>alert(1)</script>\"'|`*[x](http://evil.example)\x1b[31m\u202eabc"


@pytest.fixture(scope="session")
def gpu_records():
    return synthetic_records("cuda")


@pytest.fixture(scope="session")
def cpu_records():
    return synthetic_records("cpu")


@pytest.fixture(scope="session")
def gpu_view(gpu_records):
    return build_view(gpu_records)


@pytest.fixture(scope="session")
def cpu_view(cpu_records):
    return build_view(cpu_records)


@pytest.fixture(scope="session")
def gpu_report(gpu_records, tmp_path_factory):
    return write_report(gpu_records, tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="session")
def gpu_html(gpu_report):
    return gpu_report.html.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def cpu_html(cpu_view):
    return render_html(cpu_view)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their pictures, for a test that reads the words: drawing them takes seconds."""
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")


def hostile(records: RecordFile) -> RecordFile:
    """The first points of ``records``, with hostile names wherever a record holds free text."""
    session = replace(records.sessions[0], command=HOSTILE, planned=())
    runs = tuple(
        replace(
            run,
            workload=replace(run.workload, implementation=f"{run.workload.implementation}{HOSTILE}"),
            environment=replace(run.environment, device_name=HOSTILE),
            notes=(HOSTILE,),
        )
        if run.workload.spec.layer == "pam"
        else run
        for run in records.runs[:9]
    )
    skips = tuple(replace(skip, reason=HOSTILE) for skip in records.skips)
    return RecordFile(sessions=(session,), runs=runs, skips=skips, problems=(HOSTILE,))
