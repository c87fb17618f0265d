"""The choice of attention kernel: kernels that are torch's own in disguise, and packages that are fakes."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.attention import backends, choice, packages
from pamprof.workloads.attention.backends import BACKENDS, Backend, by_torch
from pamprof.workloads.attention.choice import AttentionShape, choose
from pamprof.workloads.base import ChoosesKernels, KernelNotes
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

CPU = torch.device("cpu")
SHAPE = AttentionShape(
    batch_size=1,
    heads=4,
    key_value_heads=2,
    head_dim=16,
    queries=48,
    keys=48,
    dtype=torch.float32,
    differentiates=True,
    dropout=0.0,
    replayed=True,
)


def workload(phase=Phase.TRAIN, layer="transformer", execution=Execution.EAGER, length=48):
    return Workload(
        spec=definition(layer).preset("tiny"),
        implementation="sdpa",
        execution=execution,
        phase=phase,
        scope=Scope.MODEL,
        batch_size=2,
        sequence_length=length,
        dtype=Dtype.FLOAT32,
    )


def able(*_):
    return None


def candidate(title, factor=1.0, reason=able, fails=False):
    def attend(query, key, value, causal, dropout):
        if fails:
            raise RuntimeError(f"{title} broke\nand said more")
        return factor * by_torch(query, key, value, causal, dropout)

    return Backend(title=title, attend=attend, unusable_reason=reason)


def timed(monkeypatch, seconds, **candidates):
    """A choice among ``candidates`` that take ``seconds`` in turn."""
    for name, backend in candidates.items():
        monkeypatch.setitem(BACKENDS, name, backend)
    taken = iter(seconds)

    def seconds_of(call, replayed):
        call()
        assert replayed is SHAPE.replayed
        return next(taken)

    return choose(SHAPE, CPU, backends=candidates, seconds_of=seconds_of)


def test_the_fastest_exact_kernel_is_chosen_and_all_are_noted(monkeypatch):
    found = timed(
        monkeypatch,
        [3e-3, 1e-3],
        slow=candidate("slow"),
        wrong=candidate("wrong", factor=1.1),
        broken=candidate("broken", fails=True),
        absent=candidate("absent", reason=lambda *_: "absent is not installed"),
        missing=candidate("missing", reason=lambda *_: "absent is not installed"),
        quick=candidate("quick"),
    )
    assert found.name == "quick"
    assert found.attend is BACKENDS["quick"].attend
    notes = found.notes()
    assert notes.configurations == (
        "attention: quick 1.00 ms for one layer, forward and backward, replayed, before slow 3.00 ms",
    )
    assert notes.refused == (
        "attention: wrong: differs from a float64 oracle by 1.0e-01 relative",
        "attention: broken: broken broke",
        "attention: absent, missing: absent is not installed",
    )


def test_a_kernel_that_is_wrong_at_the_full_shape_alone_is_refused(monkeypatch):
    def attend(query, key, value, causal, dropout):
        right = by_torch(query, key, value, causal, dropout)
        return right * 1.1 if query.shape[2] == SHAPE.queries else right

    wrong = Backend(title="wrong", attend=attend, unusable_reason=able)
    found = timed(monkeypatch, [1.0], wrong=wrong, slow=candidate("slow"))
    assert found.name == "slow"
    assert found.notes().refused[0].startswith("attention: wrong: differs from torch's own choice by 1.0e-01")


def test_a_kernel_that_is_wrong_when_replayed_is_refused(monkeypatch):
    def capture(step):
        def replay():
            found = step()
            return found if wrongs.pop(0) == "right" else (*found[:-1], 1.1 * found[-1])  # the values' gradient

        return replay

    wrongs = ["right", "right", "right", "wrong"]
    monkeypatch.setattr(choice, "_is_replayed", lambda call: call.shape.replayed)
    monkeypatch.setattr(choice, "capture_graph", capture)
    found = timed(monkeypatch, [1.0], right=candidate("right"), wrong=candidate("wrong"))
    assert found.name == "right"
    (refused,) = found.notes().refused
    assert refused.startswith("attention: wrong: differs, replayed from a graph, from torch's own choice by 1.0e-01")


def test_where_no_kernel_can_be_timed_torch_chooses(monkeypatch):
    found = timed(monkeypatch, [], broken=candidate("broken", fails=True))
    assert found.name is None
    assert found.attend is by_torch
    assert found.notes().configurations == ("attention: torch's own choice, no kernel could be timed",)


def test_a_kernel_whose_timing_fails_is_refused_with_the_fault(monkeypatch):
    monkeypatch.setitem(BACKENDS, "one", candidate("one"))

    def seconds_of(_call, _replayed):
        raise torch.OutOfMemoryError("no room in the graph's pool")

    found = choose(SHAPE, CPU, backends={"one": BACKENDS["one"]}, seconds_of=seconds_of)
    assert found.notes().refused == ("attention: one: no room in the graph's pool",)


def test_decode_is_timed_on_the_models_own_cache(monkeypatch):
    cache = torch.randn(2, 1, 2, 64, 16)
    seen = []

    def attend(query, key, value, causal, dropout):
        seen.append(key.untyped_storage().data_ptr())
        return by_torch(query, key, value, causal, dropout)

    monkeypatch.setitem(BACKENDS, "one", Backend(title="one", attend=attend, unusable_reason=able))
    shape = replace(SHAPE, queries=1, keys=33, differentiates=False)
    found = choose(
        shape, CPU, backends={"one": BACKENDS["one"]}, seconds_of=lambda call, _: float(call().numel()), cache=cache
    )
    assert found.name == "one"
    assert cache.untyped_storage().data_ptr() in seen
    assert "forward, replayed, the only one that can" in found.notes().configurations[0]


@pytest.mark.parametrize("phase", list(Phase))
def test_the_shape_is_that_of_one_layer(phase):
    shape = AttentionShape.of(workload(phase, "llama", Execution.COMPILED_GRAPH))
    assert (shape.heads, shape.key_value_heads) == (5, 1)
    assert shape.replayed is (phase is not Phase.TRAIN)
    assert (shape.queries, shape.keys) == ((1, 49) if phase is Phase.DECODE else (48, 48))
    assert shape.differentiates is (phase is Phase.TRAIN)


def test_torchs_attention_operators_take_the_arguments_they_are_called_with():
    names = {
        "_scaled_dot_product_flash_attention": ["query", "key", "value", "dropout_p", "is_causal"],
        "_scaled_dot_product_cudnn_attention": [
            *("query", "key", "value", "attn_bias", "compute_log_sumexp", "dropout_p", "is_causal")
        ],
        "_scaled_dot_product_efficient_attention": [
            *("query", "key", "value", "attn_bias", "compute_log_sumexp", "dropout_p", "is_causal")
        ],
        "_scaled_dot_product_attention_math": ["query", "key", "value", "attn_mask", "dropout_p", "is_causal"],
    }
    for name, expected in names.items():
        arguments = getattr(torch.ops.aten, name).default._schema.arguments
        assert [argument.name for argument in arguments][: len(expected)] == expected
    for check in ("can_use_flash_attention", "can_use_cudnn_attention", "can_use_efficient_attention"):
        assert callable(getattr(torch.backends.cuda, check))


def test_a_cpu_has_no_choice_and_keeps_torchs_own():
    layer = definition("llama")
    assert isinstance(layer, ChoosesKernels)
    assert layer.kernel_notes(workload(layer="llama"), CPU) == KernelNotes()
    step = PreparedStep(workload(layer="llama"), layer, device=CPU, seed=0)
    assert {block.attend for block in step.model.blocks} == {by_torch}


@pytest.mark.parametrize("layer", ["transformer", "wide_head_transformer", "llama"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_step_and_its_oracle_run_the_chosen_kernel(monkeypatch, layer, phase):
    calls = []

    def attend(query, key, value, causal, dropout):
        calls.append(query.shape)
        return by_torch(query, key, value, causal, dropout)

    chosen = SimpleNamespace(attend=attend, notes=lambda: KernelNotes(configurations=("attention: fake",)))
    given = []

    def attention_choice(_workload, _device, cache=None):
        given.append(cache)
        return chosen

    found = definition(layer)
    monkeypatch.setattr("pamprof.workloads.layers.transformer.definition.attention_choice", attention_choice)
    step = PreparedStep(workload(phase, layer), found, device=CPU, seed=0)
    assert (given[-1] is not None) is (phase is Phase.DECODE)
    assert given[-1] is None or bool(given[-1].abs().sum() > 0)  # a choice timed on zeros would be another
    step.eager()
    assert len(calls) == found.preset("tiny").depth
    error, _ = found.chosen_oracle_error(workload(phase, layer), CPU, 0)
    assert error < 1e-5
    assert len(calls) > found.preset("tiny").depth
    assert found.kernel_notes(workload(phase, layer), CPU).configurations == ("attention: fake",)


def test_a_wrong_chosen_kernel_fails_the_oracle(monkeypatch):
    wrong = SimpleNamespace(attend=candidate("wrong", factor=1.1).attend)
    monkeypatch.setattr(
        "pamprof.workloads.layers.transformer.definition.attention_choice", lambda *_arguments, **_keywords: wrong
    )
    assert definition("transformer").chosen_oracle_error(workload(), CPU, 0)[0] > 1e-3


@pytest.mark.parametrize("name", ["products", "flex"])
def test_kernels_of_a_single_query_leave_longer_ones_to_torch(monkeypatch, name):
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False, backend="aot_eager")
    monkeypatch.setattr(packages, "_compiled_flex", lambda: compiled)
    attend = BACKENDS[name].attend
    query, key = torch.randn(1, 4, 48, 16), torch.randn(1, 2, 48, 16)
    expected = by_torch(query, key, key, True, 0.0)
    torch.testing.assert_close(attend(query, key, key, True, 0.0), expected)
    torch.testing.assert_close(attend(query[:, :, -1:], key, key, False, 0.0), expected[:, :, -1:])
    assert BACKENDS[name].unusable_reason(query, key, key, True, 0.0) is not None
    assert BACKENDS[name].unusable_reason(query[:, :, -1:], key, key, False, 0.0) is None


def test_flex_decoding_is_counted_like_torchs_own_kernel(monkeypatch):
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False, backend="aot_eager")
    monkeypatch.setattr(packages, "_compiled_flex", lambda: compiled)
    query, key = torch.randn(2, 4, 1, 16), torch.randn(2, 2, 33, 16)
    found = count_flops(lambda: packages.flex_decoding(query, key, key))
    assert found.matrix_flop_count == 2 * 2 * 2 * 4 * 33 * 16
    assert found.complete
    assert found.attention_operators == ("pamprof::flex_decoding_attention",)


def _by_definition(query, key, value, causal):
    """Attention of time-first tensors, and the logarithms of its sums."""
    shared = query.shape[2] // key.shape[2]
    key, value = (part.repeat_interleave(shared, 2) for part in (key, value))
    scores = torch.einsum("bthd,bshd->bhts", query.float(), key.float()) / query.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    output = torch.einsum("bhts,bshd->bthd", scores.softmax(-1), value.float()).to(query.dtype)
    return output, scores.logsumexp(-1)


def _gradients(gradient, query, key, value, causal):
    """By hand: an operator runs below autograd."""
    heads, groups = query.shape[2], key.shape[2]
    wide_key, wide_value = (part.repeat_interleave(heads // groups, 2).float() for part in (key, value))
    wide_query, wide_gradient, scale = query.float(), gradient.float(), query.shape[-1] ** -0.5
    scores = torch.einsum("bthd,bshd->bhts", wide_query, wide_key) * scale
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    weights = scores.softmax(-1)
    into_weights = torch.einsum("bthd,bshd->bhts", wide_gradient, wide_value)
    into_scores = weights * (into_weights - (into_weights * weights).sum(-1, keepdim=True)) * scale
    found = (
        torch.einsum("bhts,bshd->bthd", into_scores, wide_key),
        torch.einsum("bhts,bthd->bshd", into_scores, wide_query).unflatten(2, (groups, -1)).sum(3),
        torch.einsum("bhts,bthd->bshd", weights, wide_gradient).unflatten(2, (groups, -1)).sum(3),
    )
    return tuple(part.to(query.dtype) for part in found)


@pytest.fixture
def fakes(monkeypatch):
    """The three packages with the functions that are called of them, after the sources of each."""

    def forward_4(q, k, v, *, softmax_scale, causal, return_lse):
        assert return_lse
        assert softmax_scale == q.shape[-1] ** -0.5
        return _by_definition(q, k, v, causal)

    def backward_4(q, k, v, out, dout, lse, *, softmax_scale, causal):
        del out, lse, softmax_scale
        return _gradients(dout, q, k, v, causal)

    def forward_2(q, k, v, dropout_p, softmax_scale, causal, window_size_left, window_size_right, **_):
        assert (dropout_p, window_size_left, window_size_right) == (0.0, -1, -1)
        del softmax_scale
        return (*_by_definition(q, k, v, causal), torch.empty(0), torch.empty(0))

    def backward_2(dout, q, k, v, out, lse, dq, dk, dv, dropout_p, softmax_scale, causal, *_):
        del out, lse, dropout_p, softmax_scale
        for target, found in zip((dq, dk, dv), _gradients(dout, q, k, v, causal), strict=True):
            target.copy_(found)

    four, two, three = (
        ModuleType(name)
        for name in ("flash_attn.cute.interface", "flash_attn.flash_attn_interface", "flash_attn_interface")
    )
    four._flash_attn_fwd, four._flash_attn_bwd = forward_4, backward_4
    two._wrapped_flash_attn_forward, two._wrapped_flash_attn_backward = forward_2, backward_2
    for name in ("flash_attn", "flash_attn.cute"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for module in (four, two, three):
        module.__spec__ = SimpleNamespace(name=module.__name__)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def forward_3(q, k, v, *, softmax_scale, is_causal):
        del softmax_scale
        return (*_by_definition(q, k, v, is_causal), None, None)

    def backward_3(dout, q, k, v, out, lse, dq, dk, dv, *, softmax_scale, is_causal):
        del softmax_scale
        backward_2(dout, q, k, v, out, lse, dq, dk, dv, 0.0, None, is_causal)

    monkeypatch.setattr(torch.ops, "flash_attn_3", SimpleNamespace(fwd=forward_3, bwd=backward_3), raising=False)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("name", list(packages.PACKAGES))
class TestAPackage:
    def test_computes_attention_and_its_gradients(self, name):
        found = choose(
            replace(SHAPE, dtype=torch.bfloat16), CPU, backends={name: BACKENDS[name]}, seconds_of=lambda call, _: 1.0
        )
        assert found.name == name, found.trials

    def test_is_called_whole_by_compiled_code(self, name):
        attend = BACKENDS[name].attend
        query = torch.randn(1, 48, 4, 16, dtype=torch.bfloat16).transpose(1, 2).requires_grad_(True)
        key = torch.randn(1, 48, 2, 16, dtype=torch.bfloat16).transpose(1, 2).requires_grad_(True)

        def call(query, key):
            return (attend(query, key, key, True, 0.0).float() * 2).sum()

        expected = torch.autograd.grad(call(query, key), (query, key))
        compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(torch.autograd.grad(compiled(query, key), (query, key)), expected)

    def test_is_counted_like_torchs_own_kernel(self, name):
        query = torch.randn(1, 4, 48, 16, dtype=torch.bfloat16, requires_grad=True)
        counts = []
        for attend in (BACKENDS[name].attend, by_torch):
            counted = count_flops(lambda attend=attend: attend(query, query, query, True, 0.0).sum().backward())
            assert counted.complete
            counts.append((counted.matrix_flop_count, counted.matrix_dense_flop_count))
        assert counts[0] == counts[1]

    def test_is_refused_where_it_cannot_serve(self, name, monkeypatch):
        half, single = (torch.randn(1, 2, 8, 16, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
        reason = BACKENDS[name].unusable_reason
        assert reason(half, half, half, True, 0.0) is None
        assert reason(half, half, half, True, 0.1) == "it has no dropout"
        assert reason(single, single, single, True, 0.0) == "it has no kernels of float32"
        for module in ("flash_attn.cute.interface", "flash_attn.flash_attn_interface", "flash_attn_interface"):
            monkeypatch.setitem(sys.modules, module, None)
        assert reason(half, half, half, True, 0.0) == f"{packages.PACKAGES[name].distribution} is not installed"


def test_calls_are_timed_in_samples_of_about_ten_milliseconds(monkeypatch):
    moments = iter(number * 1e-3 for number in range(1000))  # a step of the clock for each look
    monkeypatch.setattr(choice, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    calls = []
    found = choice.call_seconds(lambda: calls.append(1) or torch.zeros(1), replayed=False)
    assert len(calls) == 1 + 1 + 3 * 10
    assert found == pytest.approx(1e-3 / 10)


def test_a_replayed_call_is_timed_from_a_graph(monkeypatch):
    moments = iter(number * 1e-3 for number in range(1000))
    monkeypatch.setattr(choice, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    captured = []

    def capture(step):
        captured.append(step)
        return lambda: torch.zeros(1)

    monkeypatch.setattr(choice, "capture_graph", capture)
    calls = []
    found = choice.call_seconds(lambda: calls.append(1) or torch.zeros(1), replayed=True)
    assert len(calls) == 2
    captured[0]()
    assert len(calls) == 2 + 10
    assert found == pytest.approx(1e-3 / 10)


def test_every_backend_has_a_name_of_its_own():
    assert len({backend.title for backend in BACKENDS.values()}) == len(BACKENDS)
    assert backends.BACKENDS is BACKENDS


def test_a_choice_is_made_once_for_a_shape_and_device(monkeypatch):
    made = []

    def chosen(shape, device, *, cache):
        made.append((shape, device, cache))
        return SimpleNamespace(shape=shape)

    monkeypatch.setattr(choice, "choose", chosen)
    monkeypatch.setattr(choice, "_choices", {})
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    first = choice.attention_choice(workload(Phase.PREFILL, execution=Execution.GRAPH), torch.device("cuda:0"))
    again = choice.attention_choice(workload(Phase.PREFILL, execution=Execution.COMPILED_GRAPH), torch.device("cuda:0"))
    assert again is first
    choice.attention_choice(workload(Phase.PREFILL, execution=Execution.EAGER), torch.device("cuda:0"))
    choice.attention_choice(workload(Phase.PREFILL, execution=Execution.GRAPH), torch.device("cuda:1"))
    choice.attention_choice(workload(Phase.PREFILL, execution=Execution.GRAPH, length=49), torch.device("cuda:0"))
    assert len(made) == 4
