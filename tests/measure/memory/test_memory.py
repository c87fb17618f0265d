"""Peak storage against allocations done by hand, and the parts of small real steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from pamprof.errors import UnsupportedError
from pamprof.measure.memory.allocator_peak import record
from pamprof.measure.memory.breakdown import decompose, measure_peak, memory_unknowns, process_peak_bytes
from pamprof.measure.memory.storage_tracker import StorageSet, StorageTracker, held_bytes
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.units import MIB
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition
from pamprof.workloads.steps import PreparedStep

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mebibytes(count: int) -> torch.Tensor:
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_transient_of_three_buffers_is_found_to_the_byte():
    def step():
        first, second = mebibytes(64), mebibytes(64)
        third = mebibytes(64)
        del first, second, third
        return mebibytes(32)

    peaks = [measure_peak(step, CPU) for _ in range(3)]
    assert peaks == [192 * MIB] * 3


def test_views_and_in_place_operations_are_not_counted_again():
    def step():
        buffer = mebibytes(8)
        views = [buffer[:4], buffer.view(2, -1), buffer.view(torch.int32)]
        buffer.add_(1)
        return views

    assert measure_peak(step, CPU) == 8 * MIB


def test_freed_storage_leaves_and_a_view_keeps_its_base():
    with StorageTracker() as tracker:
        kept = mebibytes(4)[:1]
        mebibytes(2)
        assert tracker.live_bytes == 4 * MIB
        del kept
        assert tracker.live_bytes == 0
    assert tracker.peak_bytes == 6 * MIB


def test_resized_storage_is_measured_again():
    with StorageTracker() as tracker:
        buffer = mebibytes(1)
        buffer.resize_(3 * MIB)
        assert tracker.live_bytes == 3 * MIB
    assert tracker.peak_bytes == 3 * MIB


def test_what_was_held_before_is_part_of_the_peak():
    held = torch.ones(MIB)
    assert measure_peak(lambda: held + 1, CPU, held) == 8 * MIB
    assert measure_peak(lambda: held + 1, CPU) == 8 * MIB  # read by an operator, so it is held even if not announced


def test_inference_mode_hides_no_temporary():
    with torch.inference_mode():
        left, right = torch.ones(256, 256), torch.ones(256)
        plain = measure_peak(lambda: (left * right).softmax(-1) @ left, CPU, left, right)
    with torch.no_grad():
        assert measure_peak(lambda: (left * right).softmax(-1) @ left, CPU, left, right) == plain


def test_other_devices_are_refused_with_a_remedy():
    with pytest.raises(UnsupportedError, match="choose --device cpu"):
        measure_peak(lambda: None, torch.device("meta"))


def test_closing_a_storage_set_stops_the_following():
    storages, tensor = StorageSet(), torch.ones(4)
    storages.add(tensor.untyped_storage())
    storages.close()
    del tensor
    assert storages.live_bytes == 16


@dataclass
class Cache:
    """Keeps planes in a list, as a cache does."""

    planes: list
    kind: str = "kv-cache"

    def byte_count(self) -> int:
        return sum(plane.numel() * plane.element_size() for plane in self.planes)


class SlottedCache:
    __slots__ = ("planes",)

    def __init__(self, planes):
        self.planes = planes


class TestHeldBytes:
    def test_tied_and_viewed_tensors_count_once(self):
        base = torch.zeros(10)
        assert held_bytes([base, base[2:], {"again": base.view(2, 5)}]) == 40

    def test_module_counts_parameters_buffers_and_plain_tensor_attributes(self):
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False))
        module[0].fused = torch.zeros(5)
        module[0].weight.grad = torch.zeros(4, 3)
        expected = 4 * (12 + 4 + 4 + 4 + 5) + 8  # the number of batches tracked is an int64
        assert held_bytes(module) == expected

    def test_deep_modules_are_searched_whole(self):
        module: nn.Module = nn.Linear(2, 2, bias=False)
        for _ in range(12):
            module = nn.Sequential(module)
        assert held_bytes(module) == 16

    def test_objects_with_and_without_slots(self):
        assert held_bytes(Cache([torch.zeros(3), torch.zeros(3)])) == 24
        assert held_bytes(SlottedCache((torch.zeros(3),))) == 12

    def test_optimizer_counts_its_state_not_its_parameters(self):
        parameter = nn.Parameter(torch.zeros(100))
        parameter.grad = torch.ones(100)
        optimizer = torch.optim.AdamW([parameter])
        assert held_bytes(optimizer) == 0
        optimizer.step()
        assert held_bytes(optimizer) == 2 * 400 + 4

    def test_device_filter(self):
        assert held_bytes(torch.zeros(3), torch.zeros(5, device="meta"), device_type="meta") == 20

    def test_cycles_end(self):
        cache = Cache([torch.zeros(1)])
        cache.planes.append(cache)
        assert held_bytes(cache) == 4


def make_training(width: int = 32, rows: int = 512):
    module = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    inputs = torch.randn(rows, width)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = module(inputs).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    step()
    return module, optimizer, inputs, step


def test_training_step_parts_at_the_turn_to_the_backward_pass():
    width, rows = 32, 512
    module, optimizer, inputs, step = make_training(width, rows)
    memory = decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    parameters = sum(p.numel() for p in module.parameters())
    assert memory.parameter_bytes == 4 * parameters
    assert memory.optimizer_bytes == 4 * (2 * parameters + len(list(module.parameters())))
    assert memory.input_bytes == 4 * rows * width
    # GELU's input, GELU's output for the second product, the output for the square; inputs and weights are no
    # activations. The backward pass is fullest where GELU's gradient is formed: the square's operand is gone by then.
    assert memory.saved_activation_bytes == 4 * rows * (4 * width + 4 * width)
    assert memory.state_bytes == 0
    assert memory.state_kind is None
    assert memory.transient_bytes is not None
    assert 0 <= memory.transient_bytes < memory.peak_bytes


def test_step_that_peaks_in_the_optimizer_shows_gradients_instead_of_activations():
    module, optimizer, inputs, step = make_training(width=128, rows=1)
    memory = decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    assert memory.gradient_bytes == memory.parameter_bytes
    assert memory.transient_bytes >= 0


def test_repetition_agrees_to_the_byte():
    module, optimizer, inputs, step = make_training()
    peaks = {
        decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs]).peak_bytes
        for _ in range(3)
    }
    assert len(peaks) == 1


def test_gradient_of_the_input_is_a_gradient():
    inputs = torch.randn(64, 8, requires_grad=True)
    module = nn.Linear(8, 1, bias=False)

    def step():
        inputs.grad = None
        module.zero_grad()
        module(inputs).sum().backward()
        mebibytes(1)  # the fullest moment, after the gradients have arrived

    memory = decompose(step, device=CPU, module=module, optimizer=None, state=None, inputs=[inputs])
    assert memory.gradient_bytes == inputs.numel() * 4 + 8 * 4


def test_decode_step_with_a_cache():
    cache = Cache([torch.zeros(2, 4, 64, 8), torch.zeros(2, 4, 64, 8)])
    module = nn.Linear(32, 32)
    inputs = torch.randn(2, 32)

    @torch.no_grad()
    def step():
        key = module(inputs).view(2, 4, 8)
        cache.planes[0][:, :, 3] = key
        return torch.nn.functional.scaled_dot_product_attention(key[:, :, None], *cache.planes)

    memory = decompose(step, device=CPU, module=module, optimizer=None, state=cache, inputs=[inputs])
    assert memory.state_bytes == cache.byte_count()
    assert memory.state_kind == "kv-cache"
    assert memory.saved_activation_bytes == memory.gradient_bytes == memory.optimizer_bytes == 0
    assert 0 < memory.transient_bytes < memory.state_bytes


def test_replay_without_autograd_leaves_saved_activations_unknown_with_a_reason():
    module, optimizer, inputs, _ = make_training()
    memory = decompose(lambda: None, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    assert memory.saved_activation_bytes is None
    unknowns = memory_unknowns(memory, CPU, device_used_reason="a CPU's memory is the host's")
    reasons = {item.field: item.reason for item in unknowns}
    assert "replay" in reasons["memory.saved_activation_bytes"]
    assert set(reasons) == {
        f"memory.{name}_bytes" for name in ("saved_activation", "reserved", "device_used", "workspace")
    }


def test_compiled_step_on_a_cpu_has_a_peak_that_is_not_taken_apart():
    module, optimizer, inputs, eager = make_training()
    compiled = torch.compile(module, backend="aot_eager")

    def step():
        optimizer.zero_grad(set_to_none=True)
        compiled(inputs).square().mean().backward()
        optimizer.step()

    step()
    memory = decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs], compiled=True)
    plain = decompose(eager, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    assert memory.peak_bytes == pytest.approx(plain.peak_bytes, rel=0.3)
    assert memory.saved_activation_bytes > 0
    assert memory.short_lived_bytes is None
    assert memory.unaccounted_bytes is None
    assert "memory.short_lived_bytes" in {item.field for item in memory_unknowns(memory, CPU, device_used_reason="no")}


def test_the_allocator_counts_what_a_step_takes_and_no_more():
    kept = [mebibytes(8)]

    def step():
        first = mebibytes(64)
        del first
        kept.clear()  # allocated before, so that its end is none of the step's
        kept.append(mebibytes(4))

    assert record(step).cpu_peak_bytes == 64 * MIB


def test_the_allocator_sees_the_buffer_that_a_kernel_takes_inside_one_operator():
    values = torch.randn(MIB // 8)

    def step():
        return values.sort(stable=True).values.sum()

    tracked, allocated = measure_peak(step, CPU, values), held_bytes(values) + record(step).cpu_peak_bytes
    memory = decompose(step, device=CPU, module=nn.Identity(), optimizer=None, state=None, inputs=[values])
    assert allocated > tracked
    assert memory.peak_bytes == allocated
    assert memory.unaccounted_bytes == allocated - tracked


def test_constants_kept_elsewhere_are_part_of_the_peak():
    constant, inputs = torch.ones(MIB), torch.ones(MIB)
    memory = decompose(
        lambda: inputs + constant, device=CPU, module=nn.Identity(), optimizer=None, state=None, inputs=[inputs]
    )
    assert memory.peak_bytes == (4 + 4 + 4) * MIB
    assert memory.short_lived_bytes == 8 * MIB
    assert memory.unaccounted_bytes == 0


def test_records_from_before_the_rest_was_taken_apart_have_no_unaccounted_bytes():
    module, optimizer, inputs, step = make_training()
    memory = decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    assert replace(memory, short_lived_bytes=None).unaccounted_bytes is None
    assert replace(memory, short_lived_bytes=None).transient_bytes == memory.transient_bytes


def test_saved_activations_do_not_outlive_the_step():
    module, optimizer, inputs, step = make_training()
    decompose(step, device=CPU, module=module, optimizer=optimizer, state=None, inputs=[inputs])
    with StorageTracker(module, optimizer, inputs) as tracker:
        before = tracker.live_bytes
        step()
        gradients = held_bytes([p.grad for p in module.parameters()])
        assert tracker.live_bytes - before == gradients


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_parts_of_every_layer_fit_into_its_peak(layer, phase, scope):
    found = definition(layer)
    spec = found.preset("tiny")
    for implementation in found.implementations:
        if implementation == "fused":
            continue  # needs a GPU to compute; test_counting_gpu has the same claims for it
        workload = Workload(
            spec=spec,
            implementation=implementation,
            execution=Execution.EAGER,
            phase=phase,
            scope=scope,
            batch_size=1,
            sequence_length=32,
            dtype=Dtype.FLOAT32,
        )
        step = PreparedStep(workload, found, device=CPU, seed=0)
        step.eager()
        memory, again = (
            decompose(
                step.eager,
                device=CPU,
                module=step.module,
                optimizer=step.optimizer,
                state=step.state,
                inputs=step.kept_tensors,
            )
            for _ in range(2)
        )
        assert memory.short_lived_bytes >= 0, implementation
        assert abs(memory.unaccounted_bytes) <= 0.1 * memory.peak_bytes, implementation
        assert replace(again, process_peak_bytes=None) == replace(memory, process_peak_bytes=None)
        assert memory.parameter_bytes >= 4 * found.parameter_count(spec, scope)
        if phase is Phase.TRAIN:
            assert memory.optimizer_bytes >= 2 * 4 * found.parameter_count(spec, scope)
            assert memory.saved_activation_bytes + memory.gradient_bytes > 0
            assert memory.state_kind is None
        else:
            assert memory.state_bytes == step.state.byte_count()
            assert memory.state_kind == ("state" if found.fixed_state else "kv-cache")
            assert memory.saved_activation_bytes == memory.gradient_bytes == 0


@pytest.mark.parametrize(("layer", "implementation"), [("transformer", "sdpa"), ("pam", "planar")])
def test_gradients_that_autograd_sums_in_place_or_not_are_followed_to_the_byte(layer, implementation):
    """The tables are tied, so the peak is the sum of their two gradients: in place for one layer, not for the other."""
    found = definition(layer)
    workload = Workload(
        spec=replace(found.preset("tiny"), depth=1, vocabulary_size=20_000),
        implementation=implementation,
        execution=Execution.EAGER,
        phase=Phase.TRAIN,
        scope=Scope.MODEL,
        batch_size=1,
        sequence_length=8,
        dtype=Dtype.FLOAT32,
    )
    step = PreparedStep(workload, found, device=CPU, seed=0)
    step.eager()
    memory = decompose(
        step.eager, device=CPU, module=step.module, optimizer=step.optimizer, state=None, inputs=step.kept_tensors
    )
    assert memory.unaccounted_bytes == 0


@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_state_is_constant_and_cache_linear_in_the_context_to_the_byte(layer):
    found = definition(layer)
    spec = found.preset("tiny")

    def state_bytes(length: int) -> int:
        workload = Workload(
            spec=spec,
            implementation=found.implementations[0],
            execution=Execution.EAGER,
            phase=Phase.DECODE,
            scope=Scope.MODEL,
            batch_size=2,
            sequence_length=length,
            dtype=Dtype.FLOAT32,
        )
        step = PreparedStep(workload, found, device=CPU, seed=0)
        memory = decompose(
            step.eager, device=CPU, module=step.module, optimizer=None, state=step.state, inputs=step.kept_tensors
        )
        return memory.state_bytes

    short, double, triple = state_bytes(63), state_bytes(127), state_bytes(191)  # and one place for the new token
    assert short > 0
    assert (double, triple) == ((short, short) if found.fixed_state else (2 * short, 3 * short))


def test_process_peak_is_at_least_what_was_just_touched():
    before = process_peak_bytes()
    if before is None:
        pytest.skip("this system keeps no high-water mark")
    touched = torch.ones(64 * MIB, dtype=torch.uint8)
    assert process_peak_bytes() >= max(before, touched.numel())


@pytest.mark.gpu
def test_cuda_peak_is_the_allocators():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    foreign = torch.empty(8 * MIB, dtype=torch.uint8, device=device)
    before = torch.cuda.memory_allocated()
    module = nn.Linear(256, 256, bias=False).to(device)
    own = 256 * 256 * 4

    def step():
        return torch.empty(64 * MIB, dtype=torch.uint8, device=device).numel()

    assert measure_peak(step, device, module, allocated_before_bytes=before) == 64 * MIB + own
    memory = decompose(
        step, device=device, module=module, optimizer=None, state=None, inputs=[], allocated_before_bytes=before
    )
    assert memory.peak_bytes == 64 * MIB + own
    assert memory.transient_bytes == 64 * MIB
    assert memory.reserved_bytes >= memory.peak_bytes
    # A figure that counted what has been freed since would make the peak too small; it is not believed.
    del foreign
    assert measure_peak(step, device, module, allocated_before_bytes=before) == 64 * MIB + own
