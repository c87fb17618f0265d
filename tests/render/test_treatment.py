"""What the report says of an arm's kernels: the last rung, the objection first, what each arm had, from its records."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from pamprof import units
from pamprof.analysis import analyse
from pamprof.records import Execution, Phase
from pamprof.render.comparison.treatment import attention, logits_columns, logits_policy
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.html import render_html
from tests.synthetic import synthetic_ceilings, with_fused, with_references


@pytest.fixture(scope="module")
def fused_records(gpu_records):
    return with_fused(gpu_records)


@pytest.fixture(scope="module")
def fused_view(fused_records):
    return build_view(fused_records)


def test_the_ladder_ends_in_hand_written_kernels_with_their_dollars(fused_view):
    for ladder in fused_view.ladders:
        assert ladder.rows[-1].label == "hand-written kernels"
        assert ladder.rows[-1].price.startswith("$")
        assert ladder.unit == "US dollars per million tokens"
    assert "PAM fused · graph costs" in fused_view.chart("ladder").title


def test_a_rung_costs_what_its_arm_costs_and_a_counted_one_a_multiple_of_the_baseline(fused_view):
    ladder = fused_view.ladders[0]
    dollars = [float(row.price.split(" ")[0].removeprefix("$")) for row in ladder.rows]
    factors = [float(row.cumulative.split("×")[0]) for row in ladder.rows]
    assert [d / dollars[0] for d in dollars] == pytest.approx(factors, rel=0.02)


def test_the_objection_to_hand_written_kernels_stands_first_and_quotes_decode_at_batch_1(fused_view, gpu_view):
    first = fused_view.fairness.objections[0]
    assert first.startswith("PAM fused runs kernels hand-written for this model; transformer · graph is run by torch")
    assert "at batch 1 at 2k context PAM fused costs 0.65" in first
    assert "PAM planar · graph, without such kernels, costs 1.3" in first
    assert not any("hand-written" in text for text in gpu_view.fairness.objections)


@pytest.mark.parametrize(
    ("configurations", "whose"),
    [
        (("attention: cuDNN 12 µs for one layer, forward, replayed, before flash 14 µs",), "chosen by timing"),
        (("attention: torch's own choice, no kernel could be timed",), "torch's own"),
        (("core: chunk 64",), "torch's own"),
        (None, "torch's own"),
    ],
)
def test_whose_attention_it_is_follows_from_how_the_kernel_was_chosen(fused_records, configurations, whose):
    """Timing may choose an operator of torch's: its name says nothing of who chose it."""
    runs = tuple(
        replace(
            run,
            kernel_configurations=configurations,
            flops=replace(run.flops, attention_operators=("aten::_scaled_dot_product_cudnn_attention",)),
        )
        for run in fused_records.runs
    )
    first = build_view(replace(fused_records, runs=runs)).fairness.objections[0]
    assert f"its attention {whose} (cuDNN)" in first


def test_without_decode_the_objection_quotes_another_point(fused_records):
    runs = tuple(run for run in fused_records.runs if run.workload.phase is Phase.TRAIN)
    first = build_view(replace(fused_records, runs=runs)).fairness.objections[0]
    assert "at batch 3 × 2k tokens PAM fused costs" in first
    assert "batch 1 that counts" not in first


def test_planar_is_left_to_the_same_compiler_only_where_both_were_compiled(fused_records):
    graph, compiled = Execution.GRAPH, Execution.COMPILED_GRAPH

    def renamed(run):
        if run.workload.execution is not graph or run.workload.implementation == "fused":
            return run
        return replace(run, workload=replace(run.workload, execution=compiled))

    first = build_view(replace(fused_records, runs=tuple(map(renamed, fused_records.runs)))).fairness.objections[0]
    assert "left to the same compiler" in first
    assert "compiled by torch" in first


def test_attention_is_that_of_the_counted_operators(gpu_records):
    run = gpu_records.runs[0]

    def seen(phase, operators):
        return replace(
            run,
            workload=replace(run.workload, phase=phase),
            flops=replace(run.flops, attention_operators=operators),
        )

    cudnn, flash = "aten::_scaled_dot_product_cudnn_attention", "aten::_scaled_dot_product_flash_attention"
    assert attention([seen(Phase.TRAIN, None)]) == "not recorded"
    assert attention([seen(Phase.TRAIN, ())]) == "none"
    assert attention([seen(Phase.TRAIN, (cudnn,)), seen(Phase.DECODE, (cudnn,))]) == "cuDNN"
    assert attention([seen(Phase.TRAIN, (cudnn,)), seen(Phase.DECODE, (flash,))]) == "cuDNN (training), flash (decode)"


def test_padding_is_the_recorded_width_less_the_vocabulary(gpu_records):
    run = gpu_records.runs[0]
    assert logits_columns([run]) == "not recorded"
    assert logits_columns([replace(run, logits_width=50304)]) == "50304, 47 of them padding"
    assert logits_columns([replace(run, logits_width=50257)]) == "50257, not padded"


def test_logits_are_spoken_of_only_for_phases_that_were_measured(gpu_records):
    train = [run for run in gpu_records.runs if run.workload.phase is Phase.TRAIN]
    decode = [run for run in gpu_records.runs if run.workload.phase is Phase.DECODE]
    assert logits_policy(train) == "Logits are made, on every arm, in training of every position."
    assert logits_policy(decode) == "Logits are made, on every arm, in decode of the last one alone."
    assert logits_policy([]) == ""


def test_the_opening_sentences_say_what_the_kernels_won(fused_view):
    assert any("Hand-written kernels take 0.5" in sentence for sentence in fused_view.sentences)


@pytest.mark.usefixtures("undrawn")
def test_launches_and_refusals_stand_in_page_and_csv(fused_records, fused_view):
    assert any("refused: core: chunk 128" in word.meaning for word in fused_view.launches)
    page = render_html(fused_view)
    assert "How kernels were chosen and launched" in page
    assert "core: chunk 64, value block 32" in page
    header, *lines = measurements_csv(fused_records, analyse(fused_records)).splitlines()
    for name in ("kernel_configurations", "refused_configurations", "kernel_byte_count_per_step", "ladder_rung"):
        assert name in header.split(",")
    (line,) = (x for x in lines if ",fused,graph,train," in x and "B18" in x)
    assert "core: chunk 64, value block 32" in line
    assert ",hand-written kernels," in line


@pytest.mark.usefixtures("undrawn")
def test_a_report_without_such_kernels_has_no_launches(gpu_view):
    assert gpu_view.launches == ()
    assert "How kernels were chosen and launched" not in render_html(gpu_view)


def test_bytes_of_kernels_by_hand_stand_beside_the_roofline_with_their_rate(fused_view, gpu_view):
    caption = fused_view.chart("roofline").caption
    # 10^9 bytes a step in half of 130 ms, 3.5 ms and 1.40 ms
    for phase, rate in (("training", "15."), ("prefill", "57"), ("decode", "1.4")):
        assert f"{phase} 1.00 GB a step, {rate}" in caption.replace("\u202f", " ")
    assert "Hand-written" not in gpu_view.chart("roofline").caption


def test_missing_executions_point_at_skips_only_where_there_are_any(fused_records):
    def said(records):
        return next(text for text in build_view(records).fairness.objections if text.startswith("Not every arm"))

    assert "see the skipped points" not in said(replace(fused_records, skips=()))
    (skip, *_) = fused_records.skips
    skip = replace(skip, workload=replace(skip.workload, implementation="fused"))
    assert said(replace(fused_records, skips=(skip,))).endswith("missing; see the skipped points.")


@pytest.fixture(scope="module")
def references_records(fused_records):
    """Three references with tables of learned positions; the Llama has none, and weights of its own."""

    def built(run):
        spec, decodes = run.workload.spec, run.workload.phase is Phase.DECODE
        if spec.layer not in {"transformer", "wide_head_transformer"}:
            bytes_kept = int(run.memory.parameter_bytes * (1.1 if run.workload.implementation == "fused" else 1))
            return replace(run, memory=replace(run.memory, parameter_bytes=bytes_kept))
        rows = max(2048, run.workload.sequence_length + decodes)
        return replace(
            run,
            workload=replace(run.workload, spec=replace(spec, maximum_sequence_length=2048)),
            position_parameter_count=rows * spec.model_dim,
        )

    records = with_references(fused_records)
    return replace(records, runs=tuple(built(run) for run in records.runs), ceilings=(synthetic_ceilings(records),))


def test_learned_positions_are_named_at_each_length(references_records):
    matched = build_view(references_records).fairness.matched
    counted = next(run for run in references_records.runs if run.workload.spec.layer == "transformer").parameter_count
    longer = f"{counted + 672 * (16385 - 2048):,}".replace(",", "\u202f")
    assert f"{counted:,} with 2,048 positions".replace(",", "\u202f") in matched
    assert f"{longer} with 16\u202f385 positions" in matched
    positions = matched[matched.index("Arms that learn positions") :]
    assert "wide-head transformer" in positions
    assert "Llama" not in positions


def test_records_without_a_table_of_positions_say_nothing_of_one(fused_view):
    assert "learn positions" not in fused_view.fairness.matched


def test_inference_weights_are_those_in_memory_beside_the_sessions_reference(references_records):
    view = build_view(references_records)
    place = view.fairness.given_headings.index("Weights at inference")
    given = {line[0]: line[place] for line in view.fairness.given}
    assert given["transformer"].endswith("B")
    assert "%" not in given["transformer"]
    assert "(+" in given["PAM fused"]
    objection = next(text for text in view.fairness.objections if text.startswith("Weights kept for inference"))
    assert "not those of the transformer though sizes were matched" in objection
    assert "PAM fused (+" in objection


def test_the_floor_stands_beside_decode_in_table_tile_and_csv(references_records):
    view = build_view(references_records)
    assert any(column.heading == "Floor" for column in view.columns)
    for row in view.rows:
        cell = next(cell for cell in row.cells if cell.name == "floor")
        measured = row.phase == "Decode" and row.dtype == "bfloat16"
        assert (cell.text != units.UNKNOWN) is measured
        assert ("taken" in cell.detail) is measured
        assert bool(cell.reason) is not measured
    tile = next(tile for tile in view.tiles if tile.heading == "Decode cost")
    assert "× the floor of the Llama" in tile.second
    table = list(csv.DictReader(io.StringIO(measurements_csv(references_records, analyse(references_records)))))
    assert {bool(row["decode_floor_seconds"]) for row in table if row["phase"] == "decode"} == {True}
    assert {row["decode_floor_seconds"] for row in table if row["phase"] == "train"} == {""}


@pytest.mark.usefixtures("undrawn")
def test_what_each_attention_was_chosen_from_stands_beside_our_own_kernels(references_records):
    html = render_html(build_view(references_records))
    assert "attention: cuDNN for llama" in html
    assert "refused: attention: FlashAttention-4: flash-attn-4 is not installed" in html


def test_the_page_names_all_references(references_records):
    view = build_view(references_records)
    assert "against transformer 100M, wide-head transformer 100M and Llama 100M" in view.title
    tile = next(tile for tile in view.tiles if tile.heading == "Training cost")
    assert "against wide-head transformer · graph" in tile.subject
    assert "against transformer · graph" in tile.second
    assert "as published against the transformer at equal execution" in tile.second
    ladder = view.chart("ladder").title
    assert re.search(r"at equal execution \S+ the transformer, eager \S+ the wide-head transformer$", ladder)


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("pamprof::flash_attention_4", "FlashAttention-4"),
        ("pamprof::flex_decoding_attention", "flex decoding"),
        ("aten::_scaled_dot_product_cudnn_attention", "cuDNN"),
    ],
)
def test_kernels_of_attention_have_names(gpu_records, operator, name):
    run = gpu_records.runs[0]
    assert attention([replace(run, flops=replace(run.flops, attention_operators=(operator,)))]) == name
