"""Kernels by class on the page, in Markdown and in ``kernels.csv``: shares, and ceilings derived by hand."""

import csv
import io
from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.kernel_classes import kernel_class_times, least_seconds
from pamprof.records import Execution, KernelClass, KernelUse, Phase, StepKernels
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.formats.kernels import kernels_csv
from pamprof.render.formats.markdown import render_markdown
from tests.synthetic import synthetic_ceilings


def use(kernel_class, seconds, **changes):
    known = KernelUse(
        operator="aten::mm", kernel="nvjet", kernel_class=kernel_class, shapes=((4, 8), ()), dtype="bfloat16",
        call_count=2, kernel_count=3, matrix_flop_count=0, elementwise_flop_count=0, byte_count=None, seconds=seconds,
    )  # fmt: skip
    return replace(known, **changes)


# Ceilings: products 7.9e14 FLOP/s, reads 4.6e12 and copies 4.2e12 bytes/s.
PRODUCT = use(KernelClass.MATRIX_PRODUCT, 4e-3, matrix_flop_count=1_580_000_000_000, byte_count=4_600_000_000)  # 2 ms
WEIGHTS = use(
    KernelClass.MATRIX_PRODUCT, 4e-3, matrix_flop_count=790_000_000, byte_count=4_600_000_000
)  # 1 ms of reads
ADDITION = use(KernelClass.ELEMENTWISE, 1e-3, operator="=add", byte_count=2_100_000_000)  # 0.5 ms of copying
LOST = use(KernelClass.OTHER, 1e-3, operator="lost", dtype=None, matrix_flop_count=None, kernel_count=1)
KERNELS = StepKernels(uses=(PRODUCT, WEIGHTS, ADDITION, LOST), execution=Execution.EAGER, busy_seconds=9.5e-3)


@pytest.fixture(scope="module")
def records(gpu_records):
    runs = tuple(
        replace(run, kernels=KERNELS) if run.workload.phase is Phase.DECODE else run for run in gpu_records.runs
    )
    return replace(gpu_records, runs=runs, ceilings=(synthetic_ceilings(gpu_records),))


@pytest.fixture(scope="module")
def roof(records):
    return analyse(records).roofs[0]


def test_the_least_time_of_a_kernel_is_that_of_its_flops_or_of_its_bytes(roof):
    assert least_seconds(PRODUCT, roof) == pytest.approx(2e-3)
    assert least_seconds(WEIGHTS, roof) == pytest.approx(1e-3)
    assert least_seconds(ADDITION, roof) == pytest.approx(0.5e-3)
    assert least_seconds(LOST, roof) is None
    assert least_seconds(replace(PRODUCT, dtype="float32"), roof) is None  # whose peak is another
    assert least_seconds(replace(WEIGHTS, matrix_flop_count=None), roof) is None
    assert least_seconds(ADDITION, None) is None


def test_classes_have_their_share_and_what_of_their_ceiling_they_reach(roof):
    products, *others = kernel_class_times(KERNELS, roof)
    assert products.kernel_class is KernelClass.MATRIX_PRODUCT
    assert (products.share_ratio, products.ceiling_ratio) == (pytest.approx(0.8), pytest.approx(3 / 8))
    assert (products.count, products.matrix_flop_count) == (6, 1_580_790_000_000)
    by_class = {each.kernel_class: each for each in others}
    assert by_class[KernelClass.ELEMENTWISE].ceiling_ratio == pytest.approx(0.5)
    lost = by_class[KernelClass.OTHER]
    assert (lost.ceiling_ratio, lost.matrix_flop_count, lost.byte_count) == (None, None, None)


@pytest.mark.usefixtures("undrawn")
def test_the_page_and_the_summary_show_the_arms_of_a_phase_with_kernels(records, gpu_records):
    view = build_view(records)
    table = view.kernel_table
    labels = {row[0].split(":")[0] for row in table.rows}
    assert len(labels) == 1
    assert next(iter(labels)).startswith("Decode, ")
    assert [row[1:] for row in table.rows[:3]] == [
        ("matrix products", "80\u202f%", "8.00 ms", "6", "1.58T", "8.57 GiB", "38\u202f%"),
        ("elementwise", "10.0\u202f%", "1.00 ms", "3", "–", "1.96 GiB", "50\u202f%"),
        ("other", "10.0\u202f%", "1.00 ms", "1", "–", "–", "–"),
    ]
    assert "(9.50 ms of kernels in a step of " in table.rows[0][0]
    assert "| matrix products | 80\u202f% |" in render_markdown(view)
    assert "<summary>Kernels by class</summary>" in render_html(view)
    without = build_view(gpu_records)
    assert without.kernel_table is None
    assert "Kernels by class" not in render_markdown(without) + render_html(without)


def test_kernels_csv_has_a_row_a_use_and_no_formula(records, roof):
    runs = [run for run in records.runs if run.kernels][:1]
    rows = list(csv.DictReader(io.StringIO(kernels_csv([*runs, records.runs[0]], [roof]))))
    assert len(rows) == 4
    first, _, addition, lost = rows
    assert first["shapes"] == "4x8 scalar"
    assert (first["kernel_class"], first["call_count"], first["kernel_count"]) == ("matrix-product", "2", "3")
    assert float(first["ceiling_ratio"]) == pytest.approx(0.5)
    assert addition["operator"] == "'=add"
    assert (lost["matrix_flop_count"], lost["byte_count"], lost["ceiling_ratio"]) == ("", "", "")
