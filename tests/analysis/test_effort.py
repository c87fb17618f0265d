"""The effort of a comparison in the story, and the doubts that come with haste."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.doubts import doubts_of, quick
from pamprof.analysis.comparison.narrative import effort_sentence
from pamprof.analysis.comparison.results import Doubt, DoubtKind
from pamprof.records import Effort, Execution, Phase, Run
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.text import clean
from tests.synthetic import synthetic_records, synthetic_run, synthetic_workload

if TYPE_CHECKING:
    from pamprof.records.store import RecordFile

QUIET = synthetic_run(synthetic_workload("pam", "planar", Execution.GRAPH))
CPU = synthetic_run(synthetic_workload("pam", "planar"), device="cpu")


def found(run: Run, kind: DoubtKind) -> Doubt | None:
    kinds = {doubt.kind: doubt for doubt in doubts_of(run, kernel_busy_ratio=0.97)}
    return kinds.get(kind)


def glimpsed(run: Run) -> Run:
    """With a window too short for energy."""
    assert run.monitor is not None
    assert run.monitor.energy is not None
    energy = replace(run.monitor.energy, valid=False, invalid_reasons=("too short",))
    return replace(run, monitor=replace(run.monitor, energy=energy))


def with_effort(effort: Effort | None, **changes: object) -> RecordFile:
    records = synthetic_records("cpu")
    session = replace(records.sessions[0], effort=effort, **changes)  # type: ignore[arg-type]
    return replace(records, sessions=(session,))


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ({"series": ()}, "the monitored window has no clocks"),
        ({"throttle_reasons": None}, "the monitored window has no reasons for throttling"),
        ({"series": (), "throttle_reasons": None}, "has no clocks and no reasons for throttling"),
    ],
)
def test_a_gpu_whose_clocks_nobody_saw_cannot_be_called_unthrottled(without: dict[str, object], words: str) -> None:
    assert QUIET.monitor is not None
    blind = replace(QUIET, monitor=replace(QUIET.monitor, **without))  # type: ignore[arg-type]
    doubt = found(blind, DoubtKind.CLOCKS_NOT_WATCHED)
    assert doubt is not None
    assert words in doubt.observation
    assert doubt.shift_ratio is None
    assert found(QUIET, DoubtKind.CLOCKS_NOT_WATCHED) is None


def test_no_window_at_all_is_said_on_a_gpu_alone() -> None:
    doubt = found(replace(QUIET, monitor=None), DoubtKind.CLOCKS_NOT_WATCHED)
    assert doubt is not None
    assert doubt.observation.startswith("no monitored window was taken")
    assert found(replace(CPU, monitor=None), DoubtKind.CLOCKS_NOT_WATCHED) is None


def test_step_times_that_still_fall_are_not_stationary_and_the_ratio_says_how_much_that_matters() -> None:
    falling = tuple(0.12 - 0.002 * index for index in range(10))  # thirds: 0.118 and 0.104 on average
    steady = synthetic_run(wall_time_seconds=falling, reference_wall_time_seconds=(0.1,) * 10)
    doubt = found(steady, DoubtKind.NOT_STATIONARY)
    assert doubt is not None
    assert "the last third is 12 % below the first" in doubt.observation
    assert doubt.shift_ratio == pytest.approx(0.118 / 0.104 - 1)
    common = synthetic_run(wall_time_seconds=falling, reference_wall_time_seconds=falling)
    shared = found(common, DoubtKind.NOT_STATIONARY)
    assert shared is not None
    assert shared.shift_ratio == pytest.approx(0)


def test_nine_samples_are_too_few_to_be_called_not_stationary() -> None:
    falling = tuple(0.12 - 0.002 * index for index in range(9))
    run = synthetic_run(wall_time_seconds=falling, reference_wall_time_seconds=(0.1,) * 9)
    assert found(run, DoubtKind.NOT_STATIONARY) is None


@pytest.mark.parametrize(("settled", "doubtful"), [(False, True), (True, False), (None, False)])
def test_a_device_that_had_not_settled_is_a_doubt_and_an_unwatched_one_none(
    settled: bool | None, doubtful: bool
) -> None:
    run = replace(QUIET, timing=replace(QUIET.timing, settled=settled))
    doubt = found(run, DoubtKind.NOT_STATIONARY)
    assert (doubt is not None) == doubtful
    assert doubt is None or "had not settled" in doubt.observation


@pytest.mark.parametrize(
    ("compiled", "breaks", "doubtful"), [(None, None, False), (0, 0, False), (2, 0, True), (0, 1, True)]
)
def test_compiling_inside_samples_is_a_doubt(compiled: int | None, breaks: int | None, doubtful: bool) -> None:
    timing = replace(QUIET.timing, recompilation_count=compiled, graph_break_count=breaks)
    doubt = found(replace(QUIET, timing=timing), DoubtKind.RECOMPILED)
    assert (doubt is not None) == doubtful
    assert doubt is None or f"compiled {compiled}×, with {breaks} graph breaks" in doubt.observation


def test_a_quick_run_says_how_many_samples_it_has_and_whether_its_energy_is_valid() -> None:
    assert quick(QUIET).observation == "measured with effort quick: 24 samples"
    assert quick(CPU).observation == "measured with effort quick: 24 samples"  # none can be read there
    assert quick(glimpsed(QUIET)).observation == "measured with effort quick: 24 samples, without valid energy"


def test_every_run_of_a_quick_session_is_doubted_and_none_of_another() -> None:
    for effort in (None, *Effort):
        for point in analyse(with_effort(effort)).points:
            for summary in point.summaries:
                kinds = [doubt.kind for doubt in summary.doubts]
                assert (DoubtKind.QUICK in kinds) == (effort is Effort.QUICK)


def test_what_a_quick_comparison_lacks_is_counted() -> None:
    story = analyse(with_effort(Effort.QUICK, unplanned_count=7)).story
    lacks = story.lacks
    assert lacks is not None
    assert (lacks.point_count, lacks.without_energy_count, lacks.summary_count) == (7, 0, 45)
    assert lacks.ratio_count == 45 - 5  # five points have a baseline each
    sentence = effort_sentence(story)
    assert sentence.startswith("Effort quick: a standard comparison has 7 points beyond the 45 planned; ")
    assert "energy" not in sentence
    assert sentence.endswith("--effort standard measures that, with --resume only what is missing or wide.")


def test_rows_that_were_only_glimpsed_at_are_counted() -> None:
    records = synthetic_records("cuda")
    (session,) = records.sessions
    runs = (*map(glimpsed, records.runs[:4]), *records.runs[4:])
    quickly = replace(records, sessions=(replace(session, effort=Effort.QUICK),), runs=runs)
    story = analyse(quickly).story
    assert story.lacks is not None
    assert story.lacks.without_energy_count == 4
    assert f"4 of {story.lacks.summary_count} rows have no valid energy" in effort_sentence(story)


@pytest.mark.parametrize(("effort", "sentence"), [(None, ""), (Effort.STANDARD, "Effort standard.")])
def test_other_efforts_lack_nothing(effort: Effort | None, sentence: str) -> None:
    story = analyse(with_effort(effort)).story
    assert (story.effort, story.lacks, effort_sentence(story)) == (effort, None, sentence)


def test_a_number_has_the_effort_of_the_least_careful_of_its_two_arms() -> None:
    records = with_effort(Effort.QUICK)
    later = replace(
        records.sessions[0], session_id="later", started_at="2026-11-23T12:00:00+00:00", effort=Effort.STANDARD
    )
    refined = tuple(
        replace(run, session_id="later") if run.workload.phase is Phase.TRAIN else run for run in records.runs
    )
    one = tuple(
        replace(run, session_id="later") if run.workload.spec.layer == "transformer" else run for run in records.runs
    )
    both = (records.sessions[0], later)
    story = analyse(replace(records, sessions=both, runs=refined)).story
    assert [told.effort for told in story.phases] == [Effort.STANDARD, Effort.QUICK, Effort.QUICK]
    assert story.effort is Effort.QUICK
    assert {told.effort for told in analyse(replace(records, sessions=both, runs=one)).story.phases} == {Effort.QUICK}
    # 9 of the 45 rows are of training.
    trained = sum(run.workload.phase is Phase.TRAIN for run in records.runs)
    assert (len(records.runs), trained) == (45, 9)
    assert effort_sentence(story).startswith("Effort quick in 36 of 45 rows: ")


def test_page_head_tiles_markdown_and_table_name_the_effort() -> None:
    records = with_effort(Effort.QUICK)
    view = build_view(records)
    assert view.effort == clean(effort_sentence(analyse(records).story))
    assert {tile.basis for tile in view.tiles if not tile.reason} == {"measured, quick"}
    markdown = render_markdown(view)
    assert "Effort quick: " in markdown
    assert markdown.count("| measured, quick |") >= 3
    rows = list(csv.DictReader(io.StringIO(measurements_csv(records, analyse(records)))))
    assert {row["effort"] for row in rows} == {"quick"}
    assert list(rows[0])[-2:] == ["effort", "unreadable_line_count"]


def test_an_incomplete_comparison_names_its_budget_and_the_command_that_goes_on() -> None:
    records = with_effort(Effort.QUICK, time_budget_seconds=30.0)
    view = build_view(replace(records, runs=records.runs[:-2]))
    assert view.alerts[0] == (
        "Incomplete: 2 of 45 planned points were not reached (time budget: 30 s). What was measured before stands "
        "below; `pamprof compare --preset tiny --device cpu --dtype float32 --output-dir THIS-FOLDER --resume` "
        "measures the rest."
    )
