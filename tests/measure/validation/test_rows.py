"""Rows of a validation: verdicts, tiles, kernels beside products, windows of known loads, memory."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.hardware.device import open_device
from pamprof.hardware.nvml.device import NvmlDevice
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.validation import counted_tasks, load_rows as load_rows_module, memory_rows
from pamprof.measure.validation.closed_form_rows import closed_form_rows
from pamprof.measure.validation.counted_rows import byte_rows, flop_rows, split_at_markers
from pamprof.measure.validation.counted_tasks import CountedTask, byte_tasks, flop_tasks
from pamprof.measure.validation.counters import CountedKernel, NsightCompute
from pamprof.measure.validation.judge import judged
from pamprof.measure.validation.load_rows import LoadWindow, energy_rows, load_rows, run_loads, utilisation_rows
from pamprof.measure.validation.memory_rows import host_memory_rows, training_rows
from pamprof.measure.validation.product_trace import Product, find_products, run_with
from pamprof.measure.validation.tiles import GemmTile, executed_range, tile_of
from pamprof.records import Energy, Memory, Monitor, Scope, Series, Unknown
from pamprof.records.validation import Agreement, ValidationGroup, ValidationVerdict
from pamprof.workloads.registry import definition

TENSOR = "sm__ops_path_tensor_src_bf16_dst_fp32"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on"
MARKER = "void at::native::(anonymous namespace)::tril_indices_kernel<long>(long *, long)"
GPU = SimpleNamespace(kind="cuda", torch_device="cuda:0")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def row(ours, witness, agreement=Agreement.RELATIVE, tolerance=0.01, explained=None):
    return judged(
        ValidationGroup.FLOPS,
        "subject",
        unit="FLOP",
        ours=ours,
        ours_source="us",
        witness=witness,
        witness_source="them",
        tolerance=tolerance,
        agreement=agreement,
        explained=explained,
    )


@pytest.mark.parametrize(
    ("ours", "witness", "agreement", "verdict", "deviation"),
    [
        (100.9, 100.0, Agreement.RELATIVE, "agrees", 0.009),
        (98.9, 100.0, Agreement.RELATIVE, "disagrees", -0.011),
        (0.0, 0.0, Agreement.RELATIVE, "agrees", None),
        (1.0, 0.0, Agreement.RELATIVE, "disagrees", None),
        (0.009, 0.0, Agreement.ABSOLUTE, "agrees", 0.009),
        (0.5, 0.4, Agreement.ABSOLUTE, "disagrees", 0.1),
        (10.0, 100.0, Agreement.LOWER_BOUND, "agrees", -0.9),
        (102.0, 100.0, Agreement.LOWER_BOUND, "disagrees", 0.02),
        (900.0, 100.0, Agreement.UPPER_BOUND, "agrees", 8.0),
        (98.0, 100.0, Agreement.UPPER_BOUND, "disagrees", -0.02),
    ],
)
def test_the_verdict_follows_from_the_tolerance(ours, witness, agreement, verdict, deviation):
    found = row(ours, witness, agreement)
    assert found.verdict == verdict
    assert found.deviation == (None if deviation is None else pytest.approx(deviation))


def test_a_deviation_is_explained_only_where_the_computed_range_holds_the_witness():
    assert row(100, 115, explained=(112, 114)).verdict is ValidationVerdict.EXPLAINED
    assert row(100, 116, explained=(112, 114)).verdict is ValidationVerdict.DISAGREES
    assert row(100, 100.5, explained=(112, 114)).verdict is ValidationVerdict.AGREES


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNN", GemmTile(128, 256, 64)),
        (
            "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x128x32_warpgroupsize1x1x1_kernel",
            GemmTile(64, 128, 32),
        ),
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_32x6_tn", GemmTile(128, 64, 32)),
        ("void cutlass::Kernel2<cutlass_80_simt_cgemm_64x32_8x3_nn_align1>(T1::Params)", GemmTile(64, 32, 8)),
        (
            "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x64_4x1x1_x",
            GemmTile(64, 128, 64),
        ),
        ("void flash_fwd_kernel<Flash_fwd_kernel_traits<(int)64, (int)128, (int)96, (int)4,", GemmTile(128, 96, 64)),
        ("ampere_sgemm_128x64_nn", GemmTile(128, 64, 1)),
        ("void gemvNSP_kernel<float>", None),
    ],
)
def test_the_tile_is_read_from_the_names_libraries_give(name, tile):
    assert tile_of(name) == tile


def product(rows, columns, inner, *, batch=1, each=2, attention=False, causal=False):
    dense = each * batch * rows * columns * inner * (2 if attention else 1)
    flops = dense * (rows + 1) // (2 * rows) if causal else dense
    return Product(
        operator="aten::mm",
        batch=batch,
        rows=rows,
        columns=columns,
        inner=inner,
        attention=attention,
        flop_count=flops,
        dense_flop_count=dense,
    )


def test_a_product_that_fits_its_tiles_is_executed_as_it_is():
    aligned = product(2048, 768, 4608)
    assert executed_range(aligned, GemmTile(128, 256, 64)) == (aligned.flop_count, aligned.flop_count)


def test_a_ragged_product_is_executed_in_whole_tiles():
    ragged = product(2048, 672, 672)
    low, high = executed_range(ragged, GemmTile(128, 256, 64))
    assert low == high * 672 / 704 == 2 * 2048 * 768 * 672


def test_causal_attention_is_executed_to_the_end_of_the_diagonal_tile():
    attention = product(2048, 2048, 64, batch=12, attention=True, causal=True)
    low, high = executed_range(attention, GemmTile(128, 128, 64))
    assert low == high == attention.dense_flop_count * 17 / 32
    wider = product(2048, 2048, 56, batch=12, attention=True, causal=True)
    assert executed_range(wider, GemmTile(128, 128, 64)) == (high * 56 / 64, high)


def test_a_kernel_without_a_tile_explains_nothing():
    ragged = product(2048, 672, 672)
    assert executed_range(ragged, None) == (ragged.flop_count, ragged.flop_count)


def test_products_are_found_where_they_are_and_met_again_in_the_second_run():
    left, right, bias = torch.randn(5, 7), torch.randn(7, 3), torch.randn(3)
    query = torch.randn(2, 3, 8, 4)
    entered = []

    def step():
        left.relu()
        torch.addmm(bias, left, right).exp()
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
        left[None] @ right[None]

    @contextmanager
    def around():
        entered.append(len(entered))
        yield

    found = list(find_products(step).values())
    assert [(one.batch, one.rows, one.columns, one.inner) for one in found] == [
        (1, 5, 3, 7),
        (6, 8, 8, 4),
        (1, 5, 3, 7),
    ]
    assert [one.attention for one in found] == [False, True, False]
    assert found[1].flop_count < found[1].dense_flop_count
    assert sum(one.flop_count for one in found) == count_flops(step).matrix_flop_count
    assert run_with(step, find_products(step), around) == 3
    assert entered == [0, 1, 2]


def test_the_counted_program_finds_every_product_of_every_block(monkeypatch, tmp_path):
    monkeypatch.setattr(counted_tasks, "_BFLOAT16_SIZE", 32)
    monkeypatch.setattr(counted_tasks, "_COMPLEX_SIZE", 32)
    ranges = []

    @contextmanager
    def around():
        ranges.append(None)
        yield

    tasks = flop_tasks(torch.device("cpu"), around, sequence_length=96)
    assert len(ranges) == sum(len(task.products) for task in tasks)
    assert [task.ours for task in tasks[:2]] == [2 * 32**3, 8 * 32**3]
    missing = [task.subject for task in tasks if task.unsupported_reason]
    assert missing == ["PAM fused, one block, prefill 3 × 96"]  # kernels need a GPU
    for task in tasks:
        if task.subject in missing:
            continue
        assert sum(one.flop_count for one in task.products) == task.ours, task.subject
        assert all(one.rows for one in task.products)
    path = tmp_path / "tasks.json"
    path.write_bytes(msgspec.json.encode(tasks))
    assert counted_tasks.read_tasks(path) == tuple(tasks)


def test_the_byte_tasks_know_what_they_move(monkeypatch):
    monkeypatch.setattr(counted_tasks, "_COPY_BYTES", 2**20)
    monkeypatch.setattr(counted_tasks, "_TRAFFIC_BATCH_SIZE", 1)
    monkeypatch.setattr(counted_tasks, "_SEQUENCE_LENGTH", 64)
    ranges = []

    @contextmanager
    def around():
        ranges.append(None)
        yield

    copy, *reads, write, largest, block = byte_tasks(torch.device("cpu"), around)
    assert len(ranges) == 4 + len(reads)
    assert copy.ours == 2 * 2**20
    assert [(task.subject, task.ours) for task in reads] == [
        (f"read 0 GiB: torch.{name}", 2**20) for name in ("amax of int32", "sum of float32", "dot of float32")
    ]
    assert (write.ours, write.lower_bound) == (2**20, False)
    assert largest.ours == 2 * (64 * 768 + 768 * 4608 + 64 * 4608)
    parameters = definition("pam").parameter_count(definition("pam").preset("100m"), Scope.LAYER)
    assert block.ours > 2 * parameters  # bfloat16 weights at least, and the complex ones twice as blocks
    assert (copy.lower_bound, largest.lower_bound, block.lower_bound) == (False, True, True)


def test_each_load_is_watched_in_a_window_of_its_own(monkeypatch):
    for name, value in (("WINDOW_SECONDS", 0.05), ("_MATRIX_SIZE", 16), ("_ONE_BLOCK_LENGTH", 64)):
        monkeypatch.setattr(load_rows_module, name, value)
    windows = run_loads(open_device("cpu"), NvmlDevice(None, absent_reason="no driver"))
    assert [one.name for one in windows] == ["idle", "one block", "bfloat16 product"]
    assert all(one.window.steps and one.window.window_seconds >= 0.05 for one in windows)
    rows = utilisation_rows(windows, multiprocessor_count=132, compute_capability="9.0")
    assert rows[0].note == "the device is a CPU"


def kernel(name, **counters):
    return CountedKernel(name, {f"{metric}.sum": value for metric, value in counters.items()})


def test_kernels_before_the_first_marker_belong_to_nobody():
    with pytest.raises(UnsupportedError, match="saw copy before the first marker"):
        split_at_markers([kernel("copy"), kernel(MARKER)])
    assert [len(group) for group in split_at_markers([kernel(MARKER), kernel("a"), kernel("b"), kernel(MARKER)])] == [
        2,
        0,
    ]


@pytest.fixture
def counting_ncu(tmp_path):
    """An ``ncu`` that writes prepared tasks where the program under it would, and prepared kernels as its table."""

    def make(tasks, kernels, existing):
        metrics = sorted({name for one in kernels for name in one.counters})
        lines = [",".join(f'"{title}"' for title in ("ID", "Kernel Name", *metrics))]
        lines.append(",".join(['""'] * (2 + len(metrics))))
        for number, one in enumerate(kernels):
            values = ["n/a" if one.counters.get(name) is None else f"{one.counters[name]:,.0f}" for name in metrics]
            lines.append(",".join(f'"{cell}"' for cell in (number, one.name, *values)))
        (tmp_path / "table").write_text("\n".join(lines))
        (tmp_path / "tasks").write_bytes(msgspec.json.encode(tasks))
        path = tmp_path / "ncu"
        path.write_text(
            f"#!{sys.executable}\nimport sys, shutil\n"
            f"if '--query-metrics' in sys.argv:\n    print({chr(10).join(existing)!r})\n    sys.exit()\n"
            f"shutil.copy({str(tmp_path / 'tasks')!r}, sys.argv[-1])\n"
            f"shutil.copy({str(tmp_path / 'table')!r}, sys.argv[sys.argv.index('--log-file') + 1])\n"
        )
        path.chmod(0o755)
        return NsightCompute(str(path))

    return make


def test_flops_of_a_task_are_those_of_the_kernels_behind_its_markers(counting_ncu):
    aligned, ragged, single = product(2048, 768, 768), product(2048, 672, 672), product(512, 512, 512, each=8)
    causal = product(2048, 2048, 64, batch=12, attention=True, causal=True)
    tasks = (
        CountedTask(subject="aligned", ours=aligned.flop_count, products=(aligned,)),
        CountedTask(subject="odd", ours=0, unsupported_reason="needs another GPU"),
        CountedTask(subject="ragged", ours=ragged.flop_count + causal.flop_count, products=(ragged, causal)),
        CountedTask(subject="complex", ours=single.flop_count, products=(single,)),
        CountedTask(subject="wrong", ours=2 * aligned.flop_count, products=(aligned,)),
    )
    marker = kernel(MARKER, **{TENSOR: 0, FFMA: 0})
    wide = kernel("nvjet_tst_128x256_64x4_1x2_h", **{TENSOR: aligned.flop_count, FFMA: 999})
    kernels = [
        marker,
        wide,
        marker,
        kernel("nvjet_tst_128x256_64x4_1x2_h", **{TENSOR: 2 * 2048 * 768 * 704, FFMA: 7}),
        marker,
        kernel("sdpa_fprop_knob_7_64x128x64_4x1x1_k", **{TENSOR: causal.dense_flop_count * 17 / 32, FFMA: 10**9}),
        marker,
        kernel("cutlass_80_simt_cgemm_64x64_8x3_nn_align1", **{TENSOR: 0, FFMA: 4 * 512**3}),
        marker,
        wide,
    ]
    found = flop_rows(GPU, counting_ncu(tasks, kernels, (TENSOR, FFMA)), "", 20.0)
    odd = found.pop(1)
    assert (odd.verdict, odd.note) == (ValidationVerdict.NOT_AVAILABLE, "needs another GPU")
    assert [one.verdict.value for one in found] == ["agrees", "explained", "agrees", "disagrees"]
    assert found[0].witness == found[0].ours
    assert found[2].witness == 8 * 512**3
    assert "attention executed 0.531 of the dense count" in found[1].note
    assert "hardware +19.7% for aten::mm 1 × [2048 × 672 × 672] in nvjet_tst_128x256" in found[1].note
    assert "products add up to" in found[3].note
    assert TENSOR in found[0].witness_source


def test_bytes_of_a_task_are_summed_over_its_kernels(counting_ncu):
    tasks = (
        CountedTask(subject="copy", ours=2000),
        CountedTask(subject="bound", ours=100, lower_bound=True),
    )
    read, write = "dram__bytes_read", "dram__bytes_write"
    kernels = [
        kernel(MARKER, **{read: 9, write: 9}),
        kernel("invert", **{read: 1010, write: 1000}),
        kernel(MARKER, **{read: 9, write: 9}),
        kernel("a", **{read: 500, write: 0}),
        kernel("b", **{read: 0, write: 400}),
    ]
    copy, bound = byte_rows(GPU, counting_ncu(tasks, kernels, (read, write)), "", 20.0)
    assert (copy.witness, copy.verdict) == (2010, ValidationVerdict.AGREES)
    assert (bound.witness, bound.agreement, bound.verdict) == (900, Agreement.LOWER_BOUND, ValidationVerdict.AGREES)


@pytest.mark.parametrize(
    ("kernels", "existing", "said"),
    [
        ([kernel(MARKER, **{TENSOR: 0, FFMA: 0})], ("gpu__time_duration",), "none of the counters asked for: sm__ops"),
        ([kernel(MARKER, **{TENSOR: 0, FFMA: 0})] * 3, (TENSOR, FFMA), "ncu saw 3 of 1 markers"),
        (
            [kernel(MARKER, **{TENSOR: 0, FFMA: 0}), kernel("gemm", **{TENSOR: None, FFMA: 1})],
            (TENSOR, FFMA),
            f"ncu gave no value of {TENSOR} for gemm",
        ),
    ],
    ids=["no such counter", "markers", "no value"],
)
def test_what_the_counters_cannot_say_is_not_available(counting_ncu, kernels, existing, said):
    tasks = (CountedTask(subject="one", ours=1, products=(product(2, 2, 2),)),)
    (found,) = flop_rows(GPU, counting_ncu(tasks, kernels, existing), "", 20.0)
    assert found.verdict is ValidationVerdict.NOT_AVAILABLE
    assert found.witness is None
    assert said in found.note


def test_without_a_gpu_or_ncu_the_reason_is_said():
    assert "a CPU" in flop_rows(open_device("cpu"), None, "", 1.0)[0].note
    assert byte_rows(GPU, None, "no ncu on the PATH", 1.0)[0].note == "no ncu on the PATH"
    absent = NvmlDevice(None, absent_reason="no driver")
    rows = load_rows(open_device("cpu"), absent, frozenset(ValidationGroup))
    assert {one.group for one in rows} == {ValidationGroup.ENERGY, ValidationGroup.UTILISATION}
    assert {one.verdict for one in rows} == {ValidationVerdict.NOT_AVAILABLE}


def window(name, *, energy=None, unknowns=(), throttle=(), steps=1, **signals):
    """A window of 4 s whose signals read 0.5 while they settle and their own value afterwards."""
    times = (10.5, 11.5, 12.5, 13.5)
    return LoadWindow(
        name=name,
        window=Monitor(
            start_seconds=10.0,
            window_seconds=4.0,
            steps=steps,
            series=tuple(
                Series(signal=signal, source="s", times_seconds=times, values=(0.5, value, value, value))
                for signal, value in signals.items()
            ),
            energy=energy,
            throttle_reasons=throttle,
            other_process_count=0,
        ),
        unknowns=unknowns,
    )


def loads(**product_signals):
    return (
        window("idle", gpu_busy_ratio=0.0, sm_activity_ratio=0.0, tensor_activity_ratio=0.0),
        window("one block", gpu_busy_ratio=1.0, sm_activity_ratio=1 / 132, tensor_activity_ratio=0.0),
        window("bfloat16 product", **{"gpu_busy_ratio": 1.0, "sm_clock_hertz": 1.5e9} | product_signals),
    )


def utilisation(windows, compute_capability="9.0"):
    return utilisation_rows(windows, multiprocessor_count=132, compute_capability=compute_capability)


def test_known_loads_are_judged_by_their_settled_samples():
    steps = 2000  # of 2 · 8192³ FLOP in 4 s: 549.8 TFLOP/s of the 811.0 that 132 · 4096 · 1.5 GHz allow
    *_, product_window = loads(tensor_activity_ratio=0.66)

    def with_tensor_activity(value):
        return (*loads()[:2], window("bfloat16 product", steps=steps, **{
            "gpu_busy_ratio": 1.0, "sm_clock_hertz": 1.5e9, "tensor_activity_ratio": value,
        }))  # fmt: skip

    rows = utilisation(with_tensor_activity(0.66))
    assert [one.verdict for one in rows] == [ValidationVerdict.AGREES] * 8
    assert rows[0].ours == 0
    assert rows[4].witness == 1 / 132
    assert rows[7].witness == pytest.approx(2000 * 2 * 8192**3 / 4 / (132 * 4096 * 1.5e9))
    assert utilisation(with_tensor_activity(0.9))[7].verdict is ValidationVerdict.AGREES  # active is not filled
    assert utilisation(with_tensor_activity(0.6))[7].verdict is ValidationVerdict.DISAGREES
    assert product_window.mean("tensor_activity_ratio") == pytest.approx(0.66)


def test_one_block_is_told_from_none_and_from_two():
    idle, _, product = loads()
    for share in (0.0, 2 / 132):
        block = window("one block", gpu_busy_ratio=1.0, sm_activity_ratio=share)
        assert utilisation((idle, block, product))[4].verdict is ValidationVerdict.DISAGREES


def test_a_busy_idle_disagrees_and_says_what_held_the_clocks():
    windows = (window("idle", gpu_busy_ratio=0.3, throttle=("power cap",)), *loads()[1:])
    rows = utilisation(windows)
    assert rows[0].verdict is ValidationVerdict.DISAGREES
    assert rows[0].note == "clocks held down: power cap"


def test_a_signal_that_is_missing_is_not_available_for_its_own_reason():
    why = Unknown(field="monitor.series.gpu_busy_ratio", reason="MIG: meaningless")
    rows = utilisation((window("idle", unknowns=(why,)), *loads()[1:]), compute_capability="8.0")
    assert rows[0].note == "MIG: meaningless"
    assert rows[1].note == "no sample fell into the settled part of the window"
    assert rows[7].note == "no tensor peak per clock is listed (compute capability 8.0)"
    assert all(rows[i].verdict is ValidationVerdict.NOT_AVAILABLE for i in (0, 1, 7))


def energy(counter, integrated, reasons=()):
    return Energy(
        counter_joules=counter,
        integrated_joules=integrated,
        counter_updates=36,
        valid=not reasons,
        invalid_reasons=reasons,
    )


def test_energy_is_the_counter_against_integrated_power():
    missing = Unknown(field="monitor.energy.counter_joules", reason="no counter")
    rows = energy_rows(
        (
            window("good", energy=energy(1000, 1040)),
            window("bad", energy=energy(1000, 1100, ("counter and integrated power differ by 10 %",))),
            window("none", energy=energy(None, 1000), unknowns=(missing,)),
            window("nothing", unknowns=(Unknown(field="monitor.energy", reason="no probe"),)),
        )
    )
    assert [one.verdict.value for one in rows] == ["agrees", "disagrees", "not available", "not available"]
    assert rows[1].note == "marked invalid: counter and integrated power differ by 10 %"
    assert [one.note for one in rows[2:]] == ["no counter", "no probe"]


def memory(peak, reserved):
    return Memory(
        peak_bytes=peak,
        parameter_bytes=1,
        gradient_bytes=1,
        optimizer_bytes=1,
        saved_activation_bytes=1,
        state_bytes=0,
        state_kind=None,
        input_bytes=1,
        reserved_bytes=reserved,
        device_used_bytes=None,
        process_peak_bytes=None,
    )


def test_a_training_step_is_held_against_allocator_and_driver():
    rows = training_rows(
        "step",
        memory(1000, 1500),
        allocated_bytes=1010,
        reserved_before_bytes=100,
        nvml_rise_bytes=1410,
        nvml_reason="",
    )
    assert [one.verdict for one in rows] == [ValidationVerdict.AGREES] * 3
    assert [one.ours for one in rows] == [1000, 1400, 1000]
    unknown = training_rows(
        "step",
        memory(1000, 1500),
        allocated_bytes=900,
        reserved_before_bytes=0,
        nvml_rise_bytes=None,
        nvml_reason="NVML is not there",
    )
    assert [one.verdict.value for one in unknown] == ["disagrees", "not available"]
    assert unknown[1].note == "NVML is not there"


def test_the_storage_tracker_agrees_with_the_resident_set_of_a_fresh_process():
    rows = host_memory_rows()
    assert [one.verdict for one in rows] == [ValidationVerdict.AGREES] * len(rows)
    assert rows[0].ours == rows[0].witness == 3 * 128 * 2**20


def test_a_process_that_cannot_allocate_is_a_reason(monkeypatch):
    monkeypatch.setattr(memory_rows.sys, "executable", "/bin/false")
    (found,) = host_memory_rows()
    assert found.note == "the process ended with status 1: it said nothing"


def test_every_built_in_layer_counts_its_closed_form():
    rows = closed_form_rows()
    missing = [one for one in rows if one.verdict is ValidationVerdict.NOT_AVAILABLE]
    assert [one.subject.split(",")[0] for one in missing] == ["PAM fused"]  # kernels need a GPU
    agreeing = [one for one in rows if one not in missing]
    assert {one.verdict for one in agreeing} == {ValidationVerdict.AGREES}
    assert {one.deviation for one in agreeing} == {0.0}
    subjects = " ".join(one.subject for one in rows)
    for name in ("complex64", "PAM planar", "PAM published", "real twin", "transformer"):
        assert name in subjects
    assert json.loads(msgspec.json.encode(rows))[1]["ours"] == 8 * 64**3
