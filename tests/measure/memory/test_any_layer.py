"""Memory of other people's layers: sparse and jagged tensors, resized storage, threads, code compiled inside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from pamprof.measure.memory.allocator_peak import record
from pamprof.measure.memory.breakdown import decompose, measure_peak
from pamprof.measure.memory.storage_tracker import StorageTracker, held_bytes
from pamprof.units import MIB

CPU = torch.device("cpu")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse [A-Z]+ tensor support is in beta:UserWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype:UserWarning"),
]


def parts_of(step, module, inputs=(), optimizer=None, **options):
    memory = decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=list(inputs), **options)
    assert memory.accounted_bytes + (memory.short_lived_bytes or 0) <= memory.peak_bytes
    return memory


class TestSparse:
    """Ten entries of 64 x 64."""

    @pytest.fixture
    def dense(self):
        dense = torch.zeros(64, 64)
        dense.view(-1)[torch.arange(10) * 7] = 1.0
        return dense

    def test_indices_and_values_are_what_is_held(self, dense):
        assert held_bytes(dense.to_sparse()) == 10 * (2 * 8 + 4)
        places, entries = torch.arange(10), torch.ones(10)
        starts = torch.tensor([0] + [10] * 64)
        for make in (torch.sparse_csr_tensor, torch.sparse_csc_tensor):
            compressed = make(starts, places, entries, (64, 64), check_invariants=True)
            assert held_bytes(compressed) == 65 * 8 + 10 * (8 + 4)

    @pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
    def test_a_training_step_over_a_sparse_matrix_is_taken_apart(self, dense, layout):
        module = nn.Linear(8, 8, bias=False)
        module.matrix = getattr(dense, layout)()
        inputs = torch.randn(64, 8)

        def step():
            module.zero_grad()
            torch.sparse.mm(module.matrix, module(inputs)).square().mean().backward()

        step()
        memory = parts_of(step, module, [inputs])
        assert memory.parameter_bytes == 8 * 8 * 4 + held_bytes(module.matrix)
        assert memory.saved_activation_bytes >= 64 * 8 * 4  # what the square needs

    def test_sparse_gradients_are_gradients(self):
        table = nn.Embedding(100, 16, sparse=True)
        ids = torch.tensor([3, 5, 7])

        def step():
            table.zero_grad()
            table(ids).sum().backward()
            torch.empty(MIB, dtype=torch.uint8)  # the fullest moment

        step()
        assert parts_of(step, table, [ids]).gradient_bytes == 3 * (8 + 16 * 4)


def test_a_jagged_batch_is_its_values_and_offsets():
    batch = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=torch.jagged)
    linear = nn.Linear(8, 4)
    assert held_bytes(batch) == 8 * 8 * 4 + 3 * 8

    def step():
        linear.zero_grad()
        linear(batch).values().square().sum().backward()

    step()
    memory = parts_of(step, linear, [batch])
    assert memory.input_bytes == 8 * 8 * 4 + 3 * 8
    assert memory.saved_activation_bytes + memory.gradient_bytes >= 8 * 4 * 4


def test_resized_storage_is_followed_up_and_down():
    shard = torch.zeros(MIB // 4)
    full = torch.empty(4 * MIB // 4)
    storage = full.untyped_storage()
    storage.resize_(0)
    module = nn.Module()
    module.shard, module.full = shard, full
    resize = torch.UntypedStorage.resize_

    def step():
        storage.resize_(4 * MIB)
        full.zero_()
        storage.resize_(0)
        return torch.empty(2 * MIB, dtype=torch.uint8)

    with StorageTracker(module) as tracker:
        storage.resize_(4 * MIB)
        assert tracker.live_bytes == 5 * MIB
        storage.resize_(0)
        assert tracker.live_bytes == MIB
    tracker.close()
    assert torch.UntypedStorage.resize_ is resize
    assert measure_peak(step, CPU, module) == 5 * MIB
    memory = parts_of(step, module)
    assert (memory.peak_bytes, memory.parameter_bytes, memory.short_lived_bytes) == (5 * MIB, MIB, 4 * MIB)


def test_memory_taken_in_worker_threads_belongs_to_the_step():
    def task():
        return torch.empty(4 * MIB, dtype=torch.uint8).numel()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()

        def step():
            kept = torch.empty(MIB, dtype=torch.uint8)
            pool.submit(task).result()
            return kept

        assert measure_peak(step, CPU) == 5 * MIB
        assert record(step).cpu_peak_bytes == 5 * MIB
        memory = parts_of(step, nn.Identity())
        assert (memory.peak_bytes, memory.short_lived_bytes) == (5 * MIB, 5 * MIB)


class _CompiledInside(nn.Module):
    """A chain that a compiler saves little of, compiled by the layer itself, in parts where ``broken``."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.broken = broken

        def chain(x):
            for _ in range(3):
                x = (x.sin() * x.cos()).exp().sin()
            return x

        self.chain = torch.compile(chain, backend="aot_eager_decomp_partition")

    def forward(self, x):
        x = self.chain(self.linear(x))
        if self.broken:
            torch._dynamo.graph_break()
        return self.chain(x.tanh())


@pytest.mark.parametrize("broken", [False, True])
def test_code_that_a_layer_compiles_itself_is_measured_as_it_runs(broken):
    torch._dynamo.reset()
    module, inputs = _CompiledInside(broken=broken), torch.randn(512, 16)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        module(inputs).square().mean().backward()
        optimizer.step()

    step()
    captured = torch._dynamo.utils.counters["frames"]["total"]
    assert record(step).ran_compiled
    memory = parts_of(step, module, [inputs], optimizer)
    assert memory.short_lived_bytes is None  # compiled code makes them unseen
    # Of each of two chains its input, of the layer what the square and the hyperbolic tangent need.
    assert 0 < memory.saved_activation_bytes <= 6 * 512 * 16 * 4
    assert record(step).ran_compiled, "measuring must not turn compiled code into eager code"
    assert torch._dynamo.utils.counters["frames"]["total"] == captured, "a hook was compiled as part of the step"


def test_following_storages_leaves_compiled_code_compiled():
    torch._dynamo.reset()
    module, inputs = _CompiledInside(broken=False), torch.randn(8, 16)
    module(inputs)
    measure_peak(lambda: module(inputs), CPU, module, inputs)
    assert record(lambda: module(inputs)).ran_compiled
