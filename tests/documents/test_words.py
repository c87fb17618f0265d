"""Words, marks and thresholds that pages explain are those of the code, all of them and no others."""

import re

import pytest

from pamprof.analysis.comparison import doubts
from pamprof.analysis.comparison.results import Basis, DoubtKind, StepKind
from pamprof.analysis.history import process_spread
from pamprof.analysis.history.difference import Change, GateOutcome, RatioBasis, difference_between
from pamprof.cli import diff, machine
from pamprof.errors import UsageError
from pamprof.measure.machine import energy
from pamprof.pricing.rates.rate_dates import MAXIMUM_AGE
from pamprof.records import Effort
from pamprof.records.run import SkipKind
from pamprof.render.comparison.view import build_view
from pamprof.render.history.difference import difference_view
from pamprof.render.serving.view import ARM_COLUMNS
from pamprof.statistics import FEWEST_PROCESSES
from pamprof.statistics.intervals import CONFIDENCE
from tests.documents.documents import REPOSITORY, text_of
from tests.synthetic import synthetic_records

DOCS = REPOSITORY / "docs"
REPORT, NUMBER, GATE, PRICING = (
    " ".join(text_of(DOCS / name).split())
    for name in ("reading-the-report.md", "how-a-number-is-made.md", "ci-gate.md", "pricing-and-serving.md")
)


def table_under(page, heading, place=0):
    """First cells of the rows of a table in the section of that heading, without markup, with the whole row."""
    section = re.split(r"^#+ ", text_of(DOCS / page).partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in tables[place].splitlines()[2:]]
    return {cells[0].strip("*`"): " ".join(cells[1:]) for cells in rows}


@pytest.fixture(scope="module")
def view():
    return build_view(synthetic_records("cpu"))


def test_every_doubt_is_explained():
    assert set(table_under("reading-the-report.md", "Doubts")) == set(DoubtKind)


def test_every_kind_of_point_without_a_number_is_explained():
    kinds = {str(kind).replace("-", " ") for kind in SkipKind} | {"not planned"}
    assert set(table_under("reading-the-report.md", "Points without a number")) == kinds


def test_every_basis_of_a_number_is_explained():
    assert set(table_under("reading-the-report.md", "The four tiles", place=1)) == set(Basis)


def test_every_step_of_the_ladder_is_explained():
    assert set(table_under("reading-the-report.md", "The ladder")) == set(StepKind)


def test_every_tile_and_picture_is_explained_in_the_pages_order(view):
    assert list(table_under("reading-the-report.md", "The four tiles")) == [tile.heading for tile in view.tiles]
    assert list(table_under("reading-the-report.md", "The pictures")) == [chart.name for chart in view.charts]


def test_every_outcome_of_the_gate_has_its_status():
    outcomes = table_under("ci-gate.md", "When it fails")
    assert set(outcomes) == set(GateOutcome)
    assert outcomes["above"].endswith(f" {diff._REGRESSION}")
    assert f"{diff._INCONCLUSIVE} with `--strict`" in outcomes["inconclusive"]


def test_the_exit_statuses_are_those_of_the_program():
    statuses = table_under("ci-gate.md", "Exit statuses")
    assert "regression" in statuses[str(diff._REGRESSION)]
    assert "undecided" in statuses[str(diff._INCONCLUSIVE)]
    assert "wrong usage" in statuses[str(UsageError("").exit_code)]
    assert "no torch, a full disk" in statuses[str(machine.MACHINE_FAULT)]


def test_every_column_of_a_bill_is_explained():
    assert tuple(table_under("pricing-and-serving.md", "What serving costs")) == ARM_COLUMNS


def test_every_column_of_a_difference_is_explained():
    records = synthetic_records("cpu")
    found = difference_between(records, records, base_name="BASE", head_name="HEAD", fail_above=0.05)
    explained = table_under("ci-gate.md", "When it fails", place=1)
    assert tuple(explained) == difference_view((found,)).columns
    assert [basis for basis in RatioBasis if basis not in explained["basis"]] == []
    assert [change for change in Change if change.split()[0] not in explained["verdict"]] == []


def percent(ratio):
    return f"{ratio * 100:g} %"


def test_the_thresholds_of_the_doubts_are_those_of_the_code():
    explained = table_under("reading-the-report.md", "Doubts")
    expected = {
        DoubtKind.TOO_FEW_SAMPLES: f"fewer than {doubts.FEWEST_SAMPLES} samples",
        DoubtKind.WIDE_INTERVAL: f"more than ±{percent(doubts.WIDEST_HALF_WIDTH)} only",
        DoubtKind.NOISY_MACHINE: f"more than ±{percent(doubts.WIDEST_HALF_WIDTH)} only",
        DoubtKind.FIRST_SAMPLES_SLOW: f"more than {percent(round(doubts.SLOW_START_RATIO - 1, 6))} longer",
        DoubtKind.CLOCK_DRIFT: f"more than {percent(doubts.DRIFT_RATIO)} within",
        DoubtKind.UNSTEADY_REFERENCE: f"at least {percent(doubts.UNSTEADY_RATIO)} more or less",
        DoubtKind.LAUNCH_BOUND: f"less than {percent(doubts.LAUNCH_BOUND_BUSY_RATIO)} of the step, or the host was "
        f"busy for more than {percent(doubts.LAUNCH_BOUND_HOST_RATIO)}",
        DoubtKind.FEW_PROCESSES: f"fewer than {FEWEST_PROCESSES} processes",
    }
    assert {kind: words for kind, words in expected.items() if words not in explained[kind]} == {}


def test_other_thresholds_are_those_of_the_code():
    chained, unpaired = process_spread._CHAINED_RATIO, process_spread._UNPAIRED_RATIO
    expected = {
        f"confidence of {percent(CONFIDENCE)}": NUMBER,
        f"shorter than {energy.SHORTEST_WINDOW_SECONDS:g} s, the energy counter moved fewer than "
        f"{energy.FEWEST_COUNTER_UPDATES} times": NUMBER,
        f"differ by more than {percent(energy.LARGEST_DISAGREEMENT)}": NUMBER,
        f"older than {MAXIMUM_AGE.days} days": PRICING,
        f"{percent(chained['cpu'])} of a ratio on a CPU and {percent(chained['cuda'])} on a GPU (standard deviation), "
        f"and for the unpaired reference {percent(unpaired['cpu'])} and {percent(unpaired['cuda'])}": GATE,
        f"with {percent(CONFIDENCE)} confidence": REPORT,
    }
    assert [words for words, page in expected.items() if words not in page] == []


def test_every_effort_is_explained():
    assert set(re.findall(r"- \*\*(\w+)\*\*", text_of(DOCS / "how-a-number-is-made.md"))) == set(Effort)
