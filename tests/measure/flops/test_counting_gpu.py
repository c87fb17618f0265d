"""The counter and the memory parts on a CUDA device: other attention kernels, the real allocator, compiled steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch.nn.attention import SDPBackend, sdpa_kernel

from pamprof.measure.flops.counter import count_flops
from pamprof.measure.memory.breakdown import decompose
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition
from pamprof.workloads.steps import PreparedStep

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
)
def test_every_attention_kernel_counts_causal_and_dense(backend):
    q, k, v = (torch.randn(2, 3, 128, 64, device=CUDA, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    with sdpa_kernel(backend):
        count = count_flops(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward())
    assert count.complete, count.uncounted_operators
    assert count.matrix_flop_count == 3 * 2 * 128 * 6 * (128 * 129 // 2)
    assert count.matrix_dense_flop_count == 3 * 2 * 128 * 6 * 128 * 128


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_count_and_parts_of_every_layer(layer, phase, scope, dtype):
    found = definition(layer)
    spec = replace(found.preset("100m"), depth=1)
    for implementation in found.implementations:
        if not found.supports(implementation, dtype):
            continue
        point = {"phase": phase, "scope": scope, "batch_size": 2, "sequence_length": 512}
        # The previous implementation's step may be garbage in a cycle: counted here, freed later.
        before = torch.cuda.memory_allocated()
        workload = Workload(spec=spec, implementation=implementation, execution=Execution.EAGER, dtype=dtype, **point)
        step = PreparedStep(workload, found, device=CUDA, seed=0)
        count = count_flops(step.eager)
        closed = found.implementation_flop_count(spec, implementation=implementation, dtype=dtype, **point)
        assert count.complete, (implementation, count.uncounted_operators)
        assert count.matrix_flop_count == closed.matrix_flop_count, implementation
        assert count.matrix_dense_flop_count == closed.matrix_dense_flop_count, implementation
        memories = [
            decompose(
                step.eager,
                device=CUDA,
                module=step.module,
                optimizer=step.optimizer,
                state=step.state,
                inputs=step.kept_tensors,
                allocated_before_bytes=before,
            )
            for _ in range(2)
        ]
        assert memories[0].transient_bytes >= 0, implementation
        assert memories[1].peak_bytes == pytest.approx(memories[0].peak_bytes, rel=0.01)
        assert memories[0].reserved_bytes >= memories[0].peak_bytes
        if phase is Phase.TRAIN:
            assert memories[0].saved_activation_bytes + memories[0].gradient_bytes > 0
        else:
            assert memories[0].state_bytes == step.state.byte_count()
        del step


@pytest.mark.parametrize("phase", Phase)
def test_compiled_step_is_taken_apart_too(phase):
    found = definition("transformer")
    spec = replace(found.preset("100m"), depth=1)
    before = torch.cuda.memory_allocated()
    workload = Workload(
        spec=spec,
        implementation=found.implementations[0],
        execution=Execution.COMPILED,
        phase=phase,
        scope=Scope.MODEL,
        batch_size=2,
        sequence_length=512,
        dtype=Dtype.BFLOAT16,
    )
    step = PreparedStep(workload, found, device=CUDA, seed=0)
    eager = count_flops(step.eager)
    step.compile()
    assert count_flops(step.eager).matrix_flop_count == eager.matrix_flop_count
    memory = decompose(
        step.eager,
        device=CUDA,
        module=step.module,
        optimizer=step.optimizer,
        state=step.state,
        inputs=step.kept_tensors,
        allocated_before_bytes=before,
        compiled=True,
    )
    assert memory.peak_bytes > memory.parameter_bytes
    assert memory.transient_bytes >= 0
    if phase is Phase.TRAIN:
        assert memory.saved_activation_bytes > 0


def test_wrapped_triton_launch_without_a_formula_is_uncounted_and_with_one_counted():
    triton = pytest.importorskip("triton")
    import triton.language as tl

    from pamprof.workloads.kernel_flops import OperatorWork, register_kernel_flops

    @triton.jit
    def double(x_pointer, y_pointer, size, BLOCK: tl.constexpr):  # noqa: N803  # Triton's own convention
        index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        mask = index < size
        tl.store(y_pointer + index, 2 * tl.load(x_pointer + index, mask=mask), mask=mask)

    @torch.library.triton_op("pamprof_gpu_test::double", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        y = torch.empty_like(x)
        torch.library.wrap_triton(double)[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
        return y

    x = torch.randn(1000, device=CUDA)
    before = count_flops(lambda: doubled(x))
    assert [item.operator for item in before.uncounted_operators] == ["pamprof_gpu_test::double"]
    register_kernel_flops(
        torch.ops.pamprof_gpu_test.double,
        lambda values, *, output: OperatorWork(elementwise_flop_count=values.numel()),
    )
    after = count_flops(lambda: doubled(x))
    assert after.complete
    assert after.elementwise_flop_count == 1000
