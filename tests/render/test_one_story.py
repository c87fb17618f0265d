"""No two places of a report disagree, whatever the records: sentence, tiles, ladder, pictures, terminal, Markdown, CSV.

Record sets are drawn at random: several lengths and batches, implementations and executions, a layer from elsewhere
beside PAM or in its place, missing phases, skipped points, a second session and a second device, and some workloads
measured again in windows by fresh processes.
"""

from __future__ import annotations

import csv
import io
import random
import re
from dataclasses import dataclass, replace
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from rich.console import Console

from pamprof import units
from pamprof.analysis import analyse
from pamprof.analysis.comparison.names import crossover_phrase, protocol_label
from pamprof.analysis.comparison.pairing import fastest, time_ratio
from pamprof.analysis.comparison.results import Direction
from pamprof.records import Effort, Execution, LayerFacts, Phase
from pamprof.records.store import RecordFile
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.terminal import render_terminal
from pamprof.render.text import PHASE_NAMES, brackets, clean
from pamprof.statistics import QuotedRatio
from tests.synthetic import REFERENCE_FACTORS, synthetic_quote, synthetic_records, with_fused, with_references
from tests.synthetic_windows import in_processes

FOREIGN = LayerFacts(layer="mamba", title="Mamba-2", fixed_state=True, complex_valued=False)


def renamed(run_or_skip, foreign):
    """The record with PAM's place taken by a layer from elsewhere, which declares nothing but its name."""
    workload = run_or_skip.workload
    if not foreign or workload.spec.layer != "pam":
        return run_or_skip
    return replace(run_or_skip, workload=replace(workload, spec=replace(workload.spec, layer=FOREIGN.layer)))


def slower(run, factor):
    samples = tuple(factor * sample for sample in run.timing.wall_time_seconds)
    return replace(run, timing=replace(run.timing, wall_time_seconds=samples))


@st.composite
def record_sets(draw):
    device = draw(st.sampled_from(["cuda", "cpu"]))
    records = synthetic_records(device, draw(st.integers(0, 2)))
    if draw(st.booleans()):
        records = with_fused(records, draw(st.floats(0.2, 3.0)))
    if draw(st.booleans()):
        factors_by_phase = st.fixed_dictionaries({phase: st.floats(0.5, 2.0) for phase in Phase})
        records = with_references(records, {layer: draw(factors_by_phase) for layer in REFERENCE_FACTORS})
    phases = draw(st.sets(st.sampled_from(list(Phase)), min_size=1))
    executions = draw(st.sets(st.sampled_from(list(Execution)), min_size=1)) | {Execution.EAGER}
    arms = sorted({(run.workload.spec.layer, run.workload.implementation) for run in records.runs})
    gone = draw(st.sets(st.sampled_from(arms), max_size=3))
    foreign = draw(st.booleans())
    second_session, second_device = draw(st.booleans()), draw(st.booleans())
    factors = draw(st.lists(st.floats(0.5, 2.0), min_size=5, max_size=5))
    runs = []
    for number, run in enumerate(records.runs):
        workload = run.workload
        arm = (workload.spec.layer, workload.implementation)
        if workload.phase not in phases or workload.execution not in executions or arm in gone:
            continue
        changed = renamed(slower(run, factors[number % 5]), foreign)
        if second_session and number % 3 == 0:
            changed = replace(changed, session_id="second", group_id=f"{run.group_id}-again")
        if second_device and number % 7 == 0:
            changed = replace(changed, environment=replace(run.environment, device_name="NVIDIA L4"))
        runs.append(changed)
    (session,) = records.sessions
    if foreign:
        session = replace(
            session,
            arms=tuple(
                replace(arm, title=FOREIGN.title, spec=replace(arm.spec, layer=FOREIGN.layer))
                if arm.spec.layer == "pam"
                else arm
                for arm in session.arms
            ),
            layers=tuple(FOREIGN if facts.layer == "pam" else facts for facts in session.layers),
        )
    efforts = st.sampled_from([None, *Effort])
    session = replace(
        session,
        sequence_length=draw(st.sampled_from([512, 2048, 8192])),
        quote=synthetic_quote("cuda"),
        effort=draw(efforts),
    )
    later = replace(session, session_id="second", started_at="2026-11-22T13:00:00+00:00", effort=draw(efforts))
    made = RecordFile(
        sessions=(session, later) if second_session else (session,),
        runs=tuple(runs),
        skips=tuple(renamed(skip, foreign) for skip in records.skips),
        problems=(),
    )
    measured_again = draw(st.sampled_from(["nothing", "everything", "eager", "graph of one phase"]))
    if measured_again == "nothing" or not runs:
        return made
    phase = draw(st.sampled_from(list(Phase)))
    return in_processes(
        made,
        random.Random(draw(st.integers(0, 99))),
        processes=draw(st.integers(1, 4)),
        coupling=draw(st.sampled_from([0.0, 0.03])),
        with_alone=draw(st.booleans()),
        chosen={
            "everything": lambda _: True,
            "eager": lambda run: run.workload.execution is Execution.EAGER,
            "graph of one phase": lambda run: (run.workload.execution, run.workload.phase) == (Execution.GRAPH, phase),
        }[measured_again],
    )


def shown(interval):
    """A ratio as the report writes it, with its interval."""
    return clean(f"{units.ratio(interval.median)} {brackets(interval)}".rstrip())


def terminal_text(view):
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    render_terminal(view, console)
    return console.file.getvalue()


def plain(text):
    """Text without the differences that formats make on purpose: thin spaces, escapes, line breaks."""
    return re.sub(r"\s+", "", text.replace("\\", "")).replace(",", "")


@dataclass(frozen=True, repr=False)
class Drawn:
    """A set of records whose text is short: hypothesis writes down every example, and records print megabytes."""

    records: RecordFile

    def __repr__(self):
        keys = sorted({run.workload.key for run in self.records.runs})
        return f"Drawn({len(self.records.runs)} runs: {', '.join(keys)})"


DRAWN = record_sets().map(Drawn)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(DRAWN)
def test_no_two_places_disagree(drawn):
    check(drawn.records)


@pytest.mark.sweep
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(DRAWN)
def test_no_two_places_disagree_in_a_broad_sweep(drawn):
    check(drawn.records)


def check(records):
    analysis = analyse(records)
    story, view = analysis.story, build_view(records, analysis=analysis)
    markdown, terminal = plain(render_markdown(view)), plain(terminal_text(view))
    table = {row["key"]: row for row in csv.DictReader(io.StringIO(measurements_csv(records, analysis)))}
    tiles = {tile.heading: tile for tile in view.tiles}
    told = [phase for phase in story.phases if phase.best is not None]
    if story.effort is not None:
        head = plain(f"Effort {story.effort}")
        assert plain(view.effort).startswith(head)
        assert plain(view.effort) in markdown
        assert head in terminal
    if told:
        assert shown(told[0].best.time_ratio) in view.sentences[0]
        compared = {c.subject.spec.layer for c in told[0].point.comparisons} - {told[0].best.baseline.spec.layer}
        others = [best.subject.spec.layer for best in told[0].other_subjects]
        assert others == [layer for layer in story.roles.other_subjects if layer in compared]
    for phase in told:
        agree_on(phase, view, markdown=markdown, terminal=terminal, table=table)
    for best in told[0].other_subjects if told else ():
        arms = [c for c in told[0].point.comparisons if c.subject.spec.layer == best.subject.spec.layer]
        assert best.time_ratio.median == min(c.time_ratio.median for c in arms)
        name = clean(story.names.in_sentence(best.subject))
        assert f"{name} costs {shown(best.time_ratio)} there." in view.sentences[0]
    agree_on_the_crossover(story, view, tiles["Decode crossover"], markdown=markdown, terminal=terminal)
    for phase in set(Phase) - {phase.phase for phase in told}:
        assert tiles[f"{PHASE_NAMES[phase]} cost"].reason
    if told:
        title = view.chart("ladder").title
        assert not view.chart("ladder").panels or any(units.ratio(p.best.time_ratio.median) in title for p in told)
    for point in analysis.points:
        holds_its_own_interval(point, view)
        agree_on_the_processes(point, table)
    agree_on_the_family(view, {session.session_id: session.effort for session in records.sessions}, analysis)
    if story.roles.layers.get("mamba"):
        assert "PAM" not in " ".join((view.title, *view.sentences, *(tile.subject for tile in view.tiles)))


def agree_on(phase, view, *, markdown, terminal, table):
    """One phase's number, wherever it stands."""
    best = phase.best
    summary = phase.point.summary_of(best.subject)
    tile = next(tile for tile in view.tiles if tile.heading == f"{PHASE_NAMES[phase.phase]} cost")
    assert f"{tile.value} {tile.interval}".rstrip() == shown(best.time_ratio)
    processes = best.processes
    effort = phase.effort if processes is None else protocol_label(processes.process_count)
    assert tile.basis == ("measured" if effort is None else f"measured, {effort}")
    assert table[best.subject.key]["effort"] in {"", *Effort}
    if phase.effort is not None:
        assert str(phase.effort) in {table[best.subject.key]["effort"], table[best.baseline.key]["effort"]}
    assert plain(shown(best.time_ratio)) in markdown
    assert plain(shown(best.time_ratio)) in terminal
    rows = [row for row in view.rows if row.of_headline and row.is_subject and row.phase == PHASE_NAMES[phase.phase]]
    assert min(row.cell("cost").sort for row in rows) == best.time_ratio.median
    assert any(f"{row.cell('cost').text} {row.cell('cost').detail}".rstrip() == shown(best.time_ratio) for row in rows)
    written = table[best.subject.key]
    assert float(written["cost_against_baseline_median_ratio"]) == pytest.approx(best.time_ratio.median, rel=1e-9)
    assert written["baseline_key"] == best.baseline.key
    assert float(written["step_median_seconds"]) == pytest.approx(summary.step_seconds.median, rel=1e-9)
    if phase.point.ladder is not None:
        steps = {step.workload: step for step in phase.point.ladder.steps if step.workload is not None}
        for workload, step in steps.items():
            comparison = phase.point.comparison_of(workload)
            assert comparison is None or step.cumulative == comparison.time_ratio
        assert best.subject in steps


def agree_on_the_crossover(story, view, tile, *, markdown, terminal):
    """From where on decode is cheaper, wherever it stands; "always" and "never" where no length is the first."""
    crossover = story.summed_up_by(Phase.DECODE)
    if crossover is None:
        return
    cheaper = []
    for point in story.points_of(Phase.DECODE):
        if point.point.batch_size == crossover.batch_size and point.point.sequence_length in crossover.contexts:
            runs = [summary.run for summary in point.summaries]
            subject = fastest(run for run in runs if run.workload.spec.layer == crossover.subject_layer)
            reference = fastest(run for run in runs if run.workload.spec.layer in crossover.reference_layers)
            cheaper.append(time_ratio(subject, reference).interval.median < 1)
    assert len(cheaper) == len(crossover.contexts)
    named = plain(clean(story.names.fastest_of(crossover.reference_layers)))
    assert f"againstthe{named}:" in plain(view.sentences[0])
    assert crossover.direction is Direction.UNDECIDED or f"the{named}batch" in plain(tile.subject)
    match crossover.direction:
        case Direction.ALWAYS_CHEAPER:
            assert tile.value == "always"
            assert all(cheaper)
        case Direction.NEVER_CHEAPER:
            assert tile.value == "never"
            assert not any(cheaper)
        case Direction.UNDECIDED:
            assert tile.reason == clean(crossover.reason)
            return
        case Direction.CHEAPER_ABOVE:
            assert tile.value == clean(f"{units.significant(crossover.tokens.median)} tokens")
    assert plain(clean(crossover_phrase(crossover))) in plain(view.sentences[0])
    assert plain(f"{tile.value} {tile.interval}") in markdown
    assert plain(f"{tile.value} {tile.interval}") in terminal


def holds_its_own_interval(point, view):
    """Tokens per second and dollars of two rows divide to the ratio shown, up to their three digits."""
    rows = [row for row in view.rows if row.point and (row.phase, row.batch_size, row.sequence_length, row.dtype) == (
        PHASE_NAMES[point.point.phase], point.point.batch_size, point.point.sequence_length, str(point.point.dtype)
    )]  # fmt: skip
    baseline = next(row for row in rows if row.is_baseline)
    for row in rows:
        if row.is_baseline:
            continue
        comparison = min(
            (c for c in point.comparisons), key=lambda c: abs(c.time_ratio.median - row.cell("cost").sort), default=None
        )
        low, high = (comparison.time_ratio.low, comparison.time_ratio.high) if comparison else (0, inf)
        assert row.cell("price").sort / baseline.cell("price").sort == pytest.approx(row.cell("cost").sort, rel=1e-9)
        tokens = baseline.cell("tokens_per_second").sort / row.cell("tokens_per_second").sort
        assert tokens == pytest.approx(row.cell("cost").sort, rel=1e-9)
        ends = [number(end) for end in row.cell("cost").detail.split(",")] if row.cell("cost").detail else [0, inf]
        assert ends[0] <= number(row.cell("cost").text) <= ends[1]
        dollars = number(row.cell("price").text) / number(baseline.cell("price").text)
        assert low * 0.985 <= dollars <= high * 1.015


def agree_on_the_processes(point, table):
    """Both ratios of arms of windows, and how many processes stand behind the one that is shown."""
    for comparison in point.comparisons:
        written, found = table[comparison.subject.key], comparison.processes
        shown_ratio = float(written["cost_against_baseline_median_ratio"])
        if found is None:
            assert written["paired_ratio"] == written["alone_ratio"] == written["power_coupled"] == ""
            continue
        assert int(written["processes"]) == found.process_count
        assert (written["power_coupled"] == "True") is found.power_coupled
        ratios = {QuotedRatio.PAIRED: written["paired_ratio"], QuotedRatio.ALONE: written["alone_ratio"]}
        if found.quoted is not None:
            assert float(ratios[found.quoted]) == pytest.approx(shown_ratio, rel=1e-9)
        assert found.power_coupled or found.quoted is QuotedRatio.PAIRED
        assert (found.spread_ratio is None) is (written["process_spread_ratio"] == "")


def agree_on_the_family(view, efforts, analysis):
    """Every figure of the table of all layers stands in the row of its arm, and a layer without one has no such row."""
    if view.family is None:
        assert len({row.arm.layer for row in view.rows}) < 3
        return
    assert {row.layer for row in view.family.rows} >= {row.arm.layer for row in view.rows}
    dtype = analysis.points[0].point.dtype  # the table is of one
    speeds = [column for column in view.family.columns if column.heading.split()[0] in PHASE_NAMES.values()]
    for layer in view.family.rows:
        measured = {}
        for column, cell in zip(speeds, layer.cells, strict=False):
            phase, batch, length = column.name.split("-")
            rows = [
                row
                for row in view.rows
                if (row.arm.layer, row.phase, row.batch_size, row.sequence_length, row.dtype)
                == (layer.layer, PHASE_NAMES[Phase(phase)], int(batch), int(length), dtype)
            ]
            if cell.reason:
                assert not rows
                assert cell.text == units.UNKNOWN
                assert cell.detail
                continue
            order = [Effort.REFERENCE, Effort.STANDARD, None, Effort.QUICK]
            rank = {
                s.tokens_per_second.median: order.index(efforts.get(s.run.session_id))
                for point in analysis.points
                for s in point.summaries
            }
            best = min(rows, key=lambda row: (rank[speed := row.cell("tokens_per_second").sort], -speed))
            measured.setdefault(phase, []).append(best)
            assert cell.text == best.cell("tokens_per_second").text
            ratio, effort = cell.detail.split(", ")
            assert ratio == ("baseline" if best.is_baseline else best.cell("cost").text)
            assert effort in {"older", *Effort}
        for column, cell in zip(view.family.columns[len(speeds) :], layer.cells[len(speeds) :], strict=True):
            name, phase = column.name.split("-")
            if not cell.reason and name != "state":
                assert cell.text in {row.cell(name).text for row in measured[phase]}


def number(text):
    return float(re.sub(r"[^0-9.]", "", text))
