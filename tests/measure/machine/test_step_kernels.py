"""The kernels of a step: whose they are, of which class, what they compute and move, and that the sums add up."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, record_function

from pamprof.hardware.device import open_device
from pamprof.measure.flops.counter import count_flops, counting
from pamprof.measure.flops.operator_bytes import least_bytes
from pamprof.measure.machine.kernels.classes import kernel_name_class, operator_class
from pamprof.measure.machine.kernels.compiled import compiled_calls
from pamprof.measure.machine.kernels.profile import Span, device_spans, host_spans, profiling
from pamprof.measure.machine.kernels.rows import Call, launched_kernels
from pamprof.measure.machine.kernels.step import in_order, profile_operators
from pamprof.measure.session.arm.profile import ArmProfile
from pamprof.measure.session.arm.ready import ReadyArm
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.wire import GroupRequest
from pamprof.records import Dtype, Execution, KernelClass, Phase, Scope
from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep
from tests.synthetic import synthetic_workload

ARMS = (("llama", "sdpa"), ("pam", "planar"), ("pam", "complex"))
MM = Call(operator="aten::mm", kernel_class=KernelClass.MATRIX_PRODUCT, matrix_flop_count=8)
ADD = Call(operator="aten::add", kernel_class=KernelClass.ELEMENTWISE, elementwise_flop_count=4, byte_count=48)


@pytest.mark.parametrize(("layer", "implementation"), ARMS)
@pytest.mark.parametrize("phase", list(Phase))
def test_kernels_sum_to_the_steps_count_and_to_the_time_in_which_operators_ran(layer, implementation, phase):
    workload = replace(
        synthetic_workload(), spec=definition(layer).preset("tiny"), implementation=implementation, phase=phase,
        scope=Scope.LAYER, batch_size=1, sequence_length=16, dtype=Dtype.FLOAT32, execution=Execution.EAGER,
    )  # fmt: skip
    step = PreparedStep(workload, definition(layer), device=torch.device("cpu"), seed=0)
    step.eager()  # makes tables of angles
    step.reset()
    flops = count_flops(step.eager)
    step.reset()
    kernels = profile_operators(step.eager, on_cuda=False)
    assert flops.complete
    assert sum(use.matrix_flop_count for use in kernels.uses) == flops.matrix_flop_count
    assert sum(use.elementwise_flop_count for use in kernels.uses) == flops.elementwise_flop_count
    assert sum(use.call_count for use in kernels.uses) == flops.operator_count
    assert sum(use.seconds for use in kernels.uses) == pytest.approx(kernels.busy_seconds)
    assert kernels.execution is Execution.EAGER
    assert {KernelClass.MATRIX_PRODUCT, KernelClass.ELEMENTWISE} <= {use.kernel_class for use in kernels.uses}
    assert (KernelClass.ATTENTION in {use.kernel_class for use in kernels.uses}) is (layer == "llama")


def test_calls_on_the_same_shapes_are_one_use_and_have_shapes_dtype_and_bytes():
    left, right = torch.randn(128, 512), torch.randn(512, 256)
    kernels = profile_operators(lambda: [left @ right for _ in range(3)], on_cuda=False)
    (use,) = kernels.uses
    assert (use.operator, use.kernel, use.kernel_class) == ("aten::mm", None, KernelClass.MATRIX_PRODUCT)
    assert (use.shapes, use.dtype, use.call_count) == (((128, 512), (512, 256)), "float32", 3)
    assert use.matrix_flop_count == 3 * 2 * 128 * 512 * 256
    assert use.byte_count == 3 * 4 * (128 * 512 + 512 * 256 + 128 * 256)


def test_a_kernel_belongs_to_the_operator_in_whose_time_the_host_launched_it():
    marks = [(200, 300, ADD), (0, 100, MM), (400, 500, MM)]
    device = [
        Span(name="void gemm<1>(x)", start=1000, end=1400, launched_at=10),
        Span(name="splitKreduce", start=1400, end=1500, launched_at=20),
        Span(name="elementwise", start=1450, end=1600, launched_at=299),
        Span(name="void gemm<1>(x)", start=1600, end=1900, launched_at=400),
        Span(name="Memset (Device)", start=2000, end=2010, launched_at=300),  # between two marks
        Span(name="lost", start=2010, end=2020, launched_at=None),
    ]
    found = launched_kernels(device, marks, Execution.EAGER)
    rows = {use.operator: use for use in found.uses}
    product = rows["aten::mm"]
    assert (product.kernel, product.call_count, product.kernel_count) == ("gemm", 2, 3)
    assert product.seconds == pytest.approx(800e-9)
    assert product.matrix_flop_count == 16
    assert product.byte_count is None
    assert (rows["aten::add"].seconds, rows["aten::add"].byte_count) == (pytest.approx(150e-9), 48)
    assert rows["Memset"].kernel_class is KernelClass.COPY
    assert rows["lost"].kernel_class is KernelClass.OTHER
    assert found.busy_seconds == pytest.approx(920e-9)  # two overlapped for 50 ns
    assert launched_kernels([], marks, Execution.EAGER) == "the profiler saw no kernel on the device"


def event(name, start, end, *, number=0, linked=0, device=DeviceType.CPU, annotation=False, hidden=False):
    return SimpleNamespace(
        name=lambda: name, start_ns=lambda: start, end_ns=lambda: end, device_type=lambda: device,
        correlation_id=lambda: number, linked_correlation_id=lambda: linked,
        is_user_annotation=lambda: annotation, is_hidden_event=lambda: hidden,
    )  # fmt: skip


def test_operators_are_found_in_the_order_in_which_they_were_counted():
    spans = [
        Span(name="aten::linear", start=0, end=30),  # a composite, which nobody counts
        Span(name="aten::mm", start=5, end=25),
        Span(name="aten::add", start=6, end=9),  # a part of the product's own
        Span(name="aten::add", start=40, end=50),
    ]
    assert in_order(reversed(spans), [MM, ADD]) == [(5, 25, MM), (40, 50, ADD)]
    assert in_order(spans, [ADD, MM]) is None
    assert in_order(spans, [MM, ADD, MM]) is None


def test_where_counter_and_profiler_disagree_the_times_are_those_beside_the_counter(monkeypatch):
    monkeypatch.setattr("pamprof.measure.machine.kernels.step.host_spans", lambda profiler: [])
    matrix = torch.ones(64, 64)
    (use,) = profile_operators(lambda: matrix @ matrix, on_cuda=False).uses
    assert use.seconds > 0
    assert use.matrix_flop_count == 2 * 64**3


def test_what_the_profiler_recorded_is_read_from_its_own_events():
    left, right = torch.ones(4, 8), torch.ones(8, 2)
    with profiling(ProfilerActivity.CPU, record_shapes=True) as profiler, record_function("a mark"):
        left @ right
    spans = {span.name: span for span in host_spans(profiler)}
    mark, product = spans["a mark"], spans["aten::mm"]
    assert (product.shapes, product.dtypes) == (((4, 8), (8, 2)), ("float", "float"))
    assert mark.start <= product.start < product.end <= mark.end
    assert device_spans(profiler) == []


def test_the_moment_of_a_launch_is_that_of_cudas_call_else_of_the_operator():
    events = [
        event("aten::mm", 10, 50, number=7),
        event("cudaLaunchKernel", 30, 35, number=7, linked=7),  # CUDA numbers its calls by itself
        event("gemm", 100, 200, number=7, linked=7, device=DeviceType.CUDA),
        event("add", 200, 300, number=8, linked=7, device=DeviceType.CUDA),
        event("hidden", 300, 350, linked=7, device=DeviceType.CUDA, hidden=True),
        event("unknown", 300, 400, number=9, device=DeviceType.CUDA),
        event("Optimizer.step", 100, 400, linked=7, device=DeviceType.CUDA, annotation=True),
    ]
    profiler = SimpleNamespace(profiler=SimpleNamespace(kineto_results=SimpleNamespace(events=lambda: events)))
    assert [(span.name, span.launched_at) for span in device_spans(profiler)] == [
        ("gemm", 30), ("add", 10), ("unknown", None),
    ]  # fmt: skip


def test_a_compiled_steps_operators_have_the_work_of_their_eager_twins():
    linear = Call(operator="aten::addmm", shapes=((8,), (4, 16), (16, 8)), matrix_flop_count=1024)
    product = Call(operator="aten::bmm", shapes=((2, 4, 4), (2, 4, 4)), matrix_flop_count=256)
    first, second = (Call(operator="aten::_fused_adamw_", shapes=((n,),), byte_count=n) for n in (10, 20))
    own = Call(operator="pamprof::fused_core", shapes=((2, 4), (), (3,)), matrix_flop_count=99)
    hosts = [
        Span(name="aten::mm", start=0, end=9, shapes=((4, 16), (16, 8), (4, 8))),  # out=; the bias is fused elsewhere
        Span(name="aten::bmm", start=10, end=19, shapes=((2, 4, 4), (2, 4, 4), (2, 4, 4))),
        Span(name="aten::fill_", start=12, end=14, shapes=((2, 4, 4), ())),
        Span(
            name="triton_poi_fused_add_0",
            start=20,
            end=29,
            shapes=((4, 8), (4, 8), ()),
            dtypes=("c10::BFloat16", "float", "Scalar"),
        ),
        Span(name="aten::_fused_adamw_", start=30, end=39, shapes=((), (), ())),
        Span(name="aten::_fused_adamw_", start=40, end=49, shapes=((), (), ())),
        Span(name="pamprof::fused_core", start=50, end=59, shapes=((2, 4), (), (3,))),
        Span(name="aten::zero_", start=60, end=61, shapes=((5,),)),
    ]
    found = {start: call for start, _, call in compiled_calls(hosts, (linear, product, first, second, own))}
    fused = found.pop(20)
    assert found == {0: linear, 10: product, 30: first, 40: second, 50: own}
    assert (fused.kernel_class, fused.dtype, fused.byte_count) == (
        KernelClass.ELEMENTWISE, "bfloat16", 4 * 8 * 2 + 4 * 8 * 4,
    )  # fmt: skip
    assert fused.matrix_flop_count is None


def test_a_compiled_kernel_that_writes_a_row_of_a_cache_does_not_move_the_cache():
    row, cache = (16, 1152), (2, 16, 3, 2049, 64)
    spans = [
        Span(
            name=f"triton_poi_fused_{name}_1",
            start=start,
            end=start + 1,
            shapes=(row, cache),
            dtypes=("float", "float"),
        )
        for start, name in ((0, "cat_copy_slice"), (10, "add"))
    ]
    (_, _, written), (_, _, added) = compiled_calls(spans, ())
    assert written.byte_count == 2 * 4 * 16 * 1152
    assert added.byte_count == 4 * (16 * 1152 + 2 * 16 * 3 * 2049 * 64)


PRODUCT, POINTWISE = (
    OperatorWork(matrix_flop_count=2, matrix_dense_flop_count=2), OperatorWork(elementwise_flop_count=1),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "work", "moved", "expected"),
    [
        ("aten::mm", PRODUCT, 8, KernelClass.MATRIX_PRODUCT),
        ("pamprof::fused_decode_project", PRODUCT, 8, KernelClass.MATRIX_PRODUCT),
        ("pamprof::fused_core_backward", PRODUCT, 8, KernelClass.MEMORY_CORE),
        ("pamprof::fused_decode_memory", PRODUCT, 8, KernelClass.MEMORY_CORE),
        ("other::chunk_scan", PRODUCT, 8, KernelClass.MEMORY_CORE),
        ("aten::_scaled_dot_product_flash_attention_backward", PRODUCT, 8, KernelClass.ATTENTION),
        ("pamprof::flex_decoding_attention", PRODUCT, 8, KernelClass.ATTENTION),
        ("pamprof::fused_norm_backward", POINTWISE, 8, KernelClass.REDUCTION),
        ("pamprof::fused_add_norm_gates", PRODUCT, 8, KernelClass.REDUCTION),
        ("aten::_softmax", POINTWISE, 8, KernelClass.REDUCTION),
        ("aten::cumsum", POINTWISE, 8, KernelClass.REDUCTION),
        ("pamprof::fused_gate_unit", POINTWISE, 8, KernelClass.ELEMENTWISE),
        ("aten::mul_", POINTWISE, 8, KernelClass.ELEMENTWISE),
        ("aten::_to_copy", OperatorWork(), 8, KernelClass.COPY),
        ("aten::view", OperatorWork(), 0, KernelClass.OTHER),
        ("other::unknown", None, 8, None),
    ],
)
def test_an_operator_has_a_class(name, work, moved, expected):
    assert operator_class(name, work, moved) is expected


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTN", KernelClass.MATRIX_PRODUCT),
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90>", KernelClass.ATTENTION),
        ("triton_per_fused_add_mean_1", KernelClass.REDUCTION),
        ("triton_poi_fused_mul_0", KernelClass.ELEMENTWISE),
        ("triton_poi_fused__scaled_dot_product_cudnn_attention_cat_1", KernelClass.ELEMENTWISE),
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float>", KernelClass.REDUCTION),
        ("Memcpy DtoD (Device -> Device)", KernelClass.COPY),
        ("void at::native::vectorized_elementwise_kernel<4, x>", KernelClass.ELEMENTWISE),
        ("a_kernel_of_somebody", KernelClass.OTHER),
    ],
)
def test_a_kernel_without_an_operator_has_a_class_by_its_name(kernel, expected):
    assert kernel_name_class(kernel) is expected


X = torch.ones(4, 8)  # 128 bytes


def fused_adamw():
    """Reads parameter, gradient, moments and the step's number; writes parameter and moments."""
    lists = [[X.clone()], [X], [torch.zeros(4, 8)], [torch.zeros(4, 8)], [], [torch.ones(())]]
    torch._fused_adamw_(*lists, lr=1e-3, beta1=0.9, beta2=0.99, weight_decay=0.0, eps=1e-8, amsgrad=False,
                        maximize=False)  # fmt: skip


ROWS = torch.tensor([1, 2])  # 16 bytes


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (lambda: X + X, 3 * 128),
        (lambda: X.clone().mul_(2.0), 2 * 128 + 2 * 128),
        (lambda: X.clone().copy_(X.clone()), 3 * 2 * 128),
        (lambda: torch.empty(4, 8).fill_(1.0), 128),
        (lambda: X.view(8, 4), 0),
        (lambda: X + torch.ones(8).expand(4, 8), 32 + 128 + 32 + 128),
        (X.sum, 128 + 4),
        (lambda: torch.nn.functional.embedding(ROWS, X), 16 + 2 * 64),
        (lambda: X.index_select(0, ROWS), 16 + 2 * 64),
        (lambda: X.clone().index_copy_(0, ROWS, torch.ones(2, 8)), 2 * 128 + 64 + 16 + 2 * 64),
        (lambda: torch._foreach_mul_([X.clone(), X.clone()], 2.0), 2 * 2 * 128 + 2 * 2 * 128),
        (fused_adamw, 2 * 128 + 2 * 128 + 4 + 7 * 128 + 4),
        (lambda: torch.mm(X, X.T, out=torch.empty(4, 4)), 2 * 128 + 64),
    ],
)
def test_bytes_are_those_read_and_written(action, expected):
    moved = []
    with counting(lambda name, work, call: moved.append(least_bytes(call))):
        action()
    assert sum(moved) == expected


def test_a_shorter_window_leaves_the_kernels_out():
    settings = Settings(monitor_seconds=2.0)
    assert settings.with_window(2.0).kernels
    assert not settings.with_window(0.3).kernels
    assert settings.with_window(0.3).monitor_seconds == 0.3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"settings": Settings(kernels=False)}, "a quick comparison records the kernels of the best arms"),
        ({"settings": Settings(longest_profiled_step_seconds=0.05)}, "with this effort no step of more than 50.0 ms"),
        ({"deadline_seconds": 0.0}, "the time budget had ended"),
    ],
)
def test_an_arm_without_kernels_says_why(changes, expected, tmp_path):
    workload = synthetic_workload()
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=(workload,), done=(),
        settings=Settings(), ceilings=False, folder=str(tmp_path),
    )  # fmt: skip
    arms = ArmProfile(open_device("cpu"), replace(request, **changes))
    matrix = torch.ones(64, 64)
    step = SimpleNamespace(
        workload=workload, eager=lambda: matrix @ matrix, run=None, reset=lambda: None, optimizer=None
    )
    arm = ReadyArm(step=step, steps_per_sample=1, step_seconds=0.1)
    found = arms.kernels(arm, in_sweep=False, is_reference=False)
    if expected is None:
        assert found.uses[0].matrix_flop_count == 2 * 64**3
    else:
        assert found.startswith(expected)
    if not changes.get("settings", Settings()).kernels:
        assert arms.kernels(arm, in_sweep=False, is_reference=True).uses  # of the reference in any case
    assert arms.kernels(arm, in_sweep=True, is_reference=True).startswith("a sweep records no")


def test_a_step_that_fails_under_the_profiler_costs_its_kernels_alone():
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=(), done=(), settings=Settings(),
        ceilings=False, folder=".",
    )  # fmt: skip
    step = SimpleNamespace(
        workload=synthetic_workload(), eager=lambda: 1 / 0, run=None, reset=lambda: None, optimizer=None
    )
    found = ArmProfile(open_device("cpu"), request).kernels(
        ReadyArm(step=step, steps_per_sample=1, step_seconds=0.1), in_sweep=False, is_reference=True
    )
    assert found.startswith("the profiled step failed: ")
    assert "ZeroDivisionError" in found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("layer", "implementation"), [("llama", "sdpa"), ("pam", "planar"), ("pam", "fused")])
@pytest.mark.parametrize("phase", list(Phase))
def test_on_a_gpu_every_kernel_has_its_operator_and_products_sum_to_the_count(layer, implementation, phase):
    workload = replace(
        synthetic_workload(), spec=definition(layer).preset("tiny"), implementation=implementation, phase=phase,
        batch_size=2, sequence_length=256, dtype=Dtype.BFLOAT16, execution=Execution.EAGER,
    )  # fmt: skip
    step = PreparedStep(workload, definition(layer), device=torch.device("cuda"), seed=0)
    for _ in range(2):
        step.eager()
    flops = count_flops(step.eager)
    kernels = profile_operators(step.eager, on_cuda=True)
    assert sum(use.matrix_flop_count or 0 for use in kernels.uses) == flops.matrix_flop_count
    assert [use.operator for use in kernels.uses if "::" not in use.operator] == []
    assert sum(use.seconds for use in kernels.uses) == pytest.approx(kernels.busy_seconds, rel=0.02)
    assert all(use.kernel_count >= 1 for use in kernels.uses)
