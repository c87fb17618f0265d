"""What holds for every test: threads of a worker, the order of long files, and that a promised browser is there."""

import os
from zlib import crc32

import pytest

from pamprof.measure.imports import never_collected
from tests.render.browser import browser_fault

# Several workers share the cores (pytest -n): one thread each, in their child processes too. Read when torch and numpy
# are imported, which no test has done yet.
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

# A worker takes whole files (--dist loadfile), so that a fixture of a file is made once. These files take longest. Were
# they not first, the last of them would run while the other workers have nothing left.
_LONGEST_FIRST = (
    "test_compare.py",
    "test_report.py",
    "test_cost.py",
    "test_simulate.py",
    "test_page_browser.py",
    "test_fused_kernels.py",
    "test_core_kernels.py",
    "test_machine.py",
    "test_memory.py",
    "test_ratios.py",
    "test_closed_forms.py",
    "test_command_line.py",
    "test_html.py",
    "test_kill.py",
)


# A traced line takes three times as long. Where CI measures coverage, it follows one test in so many, always the same:
# what it shows as covered is covered, and a line more may be.
_TRACED_ONE_IN = int(os.environ.get("PAMPROF_TRACED_ONE_IN", "1"))

_DRAWN = {}
_remembers = True


def _remembering(draw):
    """``draw`` once for every chart of this process: a picture takes half a second, and many tests draw the same."""

    def drawn(chart, **form):
        if not _remembers:
            return draw(chart, **form)
        key = (draw.__name__, repr(chart), *form.values())
        if key not in _DRAWN:
            _DRAWN[key] = draw(chart, **form)
        return _DRAWN[key]

    return drawn


# After the threads were chosen, and before anything has imported these by name.
from pamprof.render.plots import picture  # noqa: E402

picture.draw_png, picture.draw_svg = _remembering(picture.draw_png), _remembering(picture.draw_svg)


@pytest.fixture
def drawn_anew(monkeypatch):
    """Every picture is drawn, however often: for tests that say that equal charts give equal files."""
    monkeypatch.setattr("tests.conftest._remembers", False)


def pytest_configure(config):
    """Stop where CI promised a browser and none starts: its tests would skip, and nobody would notice."""
    if hasattr(config, "workerinput"):
        return  # The process that started the workers has asked already.
    fault = browser_fault()
    if fault is not None:
        pytest.exit(fault, returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import the tests as a worker imports what it measures with: collecting garbage took 80 s of their time."""
    with never_collected():
        return (yield)


def pytest_collection_modifyitems(items):
    """Put the longest files first; all others keep their order."""
    place = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    for item in items:
        if crc32(item.nodeid.encode()) % _TRACED_ONE_IN:
            item.add_marker("no_cover")
