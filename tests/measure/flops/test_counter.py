"""The FLOP counter against arithmetic done by hand."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from pamprof.errors import UsageError
from pamprof.measure.flops.attention import attended_pairs
from pamprof.measure.flops.counter import count_flops, register_kernel_flops
from pamprof.workloads.kernel_flops import OperatorWork

N = 6


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_a_checkpoint_computes_again_is_told_apart(reentrant):
    x, a, b = (torch.randn(N, N, requires_grad=True) for _ in range(3))

    def step():
        checkpoint(lambda y: ((y @ a).relu() @ b).relu(), x, use_reentrant=reentrant).sum().backward()

    flops = count_flops(step)
    product = 2 * N**3
    assert flops.matrix_flop_count == (2 + 4 + 2) * product
    assert flops.recomputed_matrix_flop_count == flops.recomputed_matrix_dense_flop_count == 2 * product
    assert flops.model_matrix_flop_count == 3 * 2 * product


def test_a_gradient_of_a_gradient_is_nothing_computed_again():
    x, a = (torch.randn(N, N, requires_grad=True) for _ in range(2))

    def step():
        (gradient,) = torch.autograd.grad((x @ a).pow(2).sum(), x, create_graph=True)
        gradient.sum().backward()

    assert count_flops(step).recomputed_matrix_flop_count == 0


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def real(*shape, **options):
    return torch.randn(*shape, **options)


def cplx(*shape, **options):
    return torch.randn(*shape, dtype=torch.complex64, **options)


def matrix(step) -> int:
    count = count_flops(step)
    assert count.complete, count.uncounted_operators
    return count.matrix_flop_count


def elementwise(step) -> int:
    count = count_flops(step)
    assert count.complete, count.uncounted_operators
    assert count.matrix_flop_count == 0
    return count.elementwise_flop_count


@pytest.mark.parametrize(("make", "per_multiply_add"), [(real, 2), (cplx, 8)])
class TestProducts:
    def test_matrix_product(self, make, per_multiply_add):
        assert matrix(lambda: make(3, 4) @ make(4, 5)) == per_multiply_add * 3 * 4 * 5

    def test_batched_product_and_einsum(self, make, per_multiply_add):
        left, right = make(2, 3, 4), make(2, 4, 5)
        assert matrix(lambda: torch.bmm(left, right)) == per_multiply_add * 2 * 3 * 4 * 5
        assert matrix(lambda: torch.einsum("bij,bjk->bik", left, right)) == per_multiply_add * 2 * 3 * 4 * 5

    def test_vector_products(self, make, per_multiply_add):
        m, v, w = make(3, 4), make(4), make(3)
        assert matrix(lambda: torch.mv(m, v)) == per_multiply_add * 12
        assert matrix(lambda: torch.addmv(w, m, v)) == per_multiply_add * 12
        assert matrix(lambda: torch.dot(v, v)) == per_multiply_add * 4
        assert matrix(lambda: torch.vdot(v, v)) == per_multiply_add * 4
        assert matrix(lambda: torch.addr(m, w, v)) == per_multiply_add * 12

    def test_products_with_an_addend(self, make, per_multiply_add):
        left, right = make(2, 3, 4), make(2, 4, 5)
        flops = per_multiply_add * 2 * 3 * 4 * 5
        assert matrix(lambda: torch.baddbmm(make(2, 3, 5), left, right)) == flops
        assert matrix(lambda: torch.addbmm(make(3, 5), left, right)) == flops
        assert matrix(lambda: make(2, 3, 5).baddbmm_(left, right)) == flops
        assert matrix(lambda: torch.addmm(make(3, 5), left[0], right[0])) == flops // 2

    def test_addend_is_elementwise_work(self, make, per_multiply_add):
        addition = per_multiply_add // 4 or 1
        left, right, addend = make(3, 4), make(4, 5), make(3, 5)
        assert count_flops(lambda: torch.addmm(addend, left, right)).elementwise_flop_count == 15 * addition
        assert count_flops(lambda: torch.addmm(addend, left, right, beta=0)).elementwise_flop_count == 0
        assert count_flops(lambda: torch.addmm(addend, left, right, beta=2)).elementwise_flop_count == 30 * addition

    def test_linear_forward_and_backward_is_three_products(self, make, per_multiply_add):
        x = make(7, 4, requires_grad=True)
        linear = nn.Linear(4, 5, bias=False, dtype=x.dtype)
        once = per_multiply_add * 7 * 4 * 5
        assert matrix(lambda: linear(x)) == once
        assert matrix(lambda: linear(x).abs().sum().backward()) == 3 * once

    def test_input_without_gradient_saves_one_product(self, make, per_multiply_add):
        x = make(7, 4)
        linear = nn.Linear(4, 5, dtype=x.dtype)
        assert matrix(lambda: linear(x).abs().sum().backward()) == 2 * per_multiply_add * 7 * 4 * 5

    def test_meta_counts_what_the_cpu_counts(self, make, per_multiply_add):
        del per_multiply_add
        counts = []
        for device in ("cpu", "meta"):
            x = make(7, 4, device=device, requires_grad=True)
            linear = nn.Linear(4, 5, dtype=x.dtype, device=device)
            counts.append(count_flops(lambda x=x, linear=linear: linear(x).abs().sum().backward()))
        assert counts[0] == counts[1]


def test_split_real_product_counts_eight_and_three_multiplications_count_six():
    a, b, c, d = (real(N, N) for _ in range(4))

    def four():
        return a @ c - b @ d, a @ d + b @ c

    def three():
        shared = (a + b) @ c
        return shared - b @ (c + d), shared + a @ (d - c)

    assert matrix(four) == 8 * N**3
    assert matrix(three) == 6 * N**3
    assert matrix(lambda: torch.complex(a, b) @ torch.complex(c, d)) == 8 * N**3


def test_outer_product_by_broadcasting_is_elementwise():
    assert elementwise(lambda: torch.outer(real(4), real(5))) == 20
    assert elementwise(lambda: cplx(4)[:, None] * cplx(5)[None]) == 6 * 20


def test_grouped_convolution_forward_and_backward():
    x, weight = real(2, 4, 9, requires_grad=True), real(8, 2, 3, requires_grad=True)
    once = 2 * (2 * 8 * 7) * (2 * 3)
    assert matrix(lambda: F.conv1d(x, weight, groups=2)) == once
    assert matrix(lambda: F.conv1d(x, weight, groups=2).abs().sum().backward()) == 3 * once


def test_complex_convolution_counts_the_three_real_ones_torch_runs():
    x, weight = cplx(2, 4, 9), cplx(8, 4, 3)
    assert matrix(lambda: F.conv1d(x, weight)) == 3 * 2 * (2 * 8 * 7) * (4 * 3)


def test_transposed_convolution_counts_input_positions():
    x, weight = real(1, 3, 5), real(3, 4, 2)
    assert matrix(lambda: F.conv_transpose1d(x, weight, stride=2)) == 2 * 1 * 3 * 5 * 4 * 2


@pytest.mark.parametrize(
    ("queries", "keys", "mask"),
    [(q, k, m) for q in (1, 3, 5) for k in (1, 3, 5) for m in ("dense", "top-left", "bottom-right")],
)
def test_attended_pairs_equal_the_ones_of_the_mask(queries, keys, mask):
    ones = torch.ones(queries, keys)
    kept = {"dense": ones, "top-left": ones.tril(), "bottom-right": ones.tril(keys - queries)}[mask]
    assert attended_pairs(queries, keys, mask) == int(kept.sum())


@pytest.mark.parametrize("device", ["cpu", "meta"])
class TestAttention:
    def test_causal_forward_and_backward(self, device):
        q, k, v = (real(2, 3, 8, 4, device=device, requires_grad=True) for _ in range(3))
        forward = count_flops(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
        both = count_flops(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward())
        heads, pairs = 2 * 3, 8 * 9 // 2
        assert forward.matrix_flop_count == 2 * (4 + 4) * heads * pairs
        assert forward.matrix_dense_flop_count == 2 * (4 + 4) * heads * 64
        assert forward.elementwise_flop_count == 6 * heads * pairs
        assert both.matrix_flop_count == 3 * forward.matrix_flop_count
        assert both.matrix_dense_flop_count == 3 * forward.matrix_dense_flop_count
        assert both.complete

    def test_grouped_heads_do_the_products_of_all_query_heads(self, device):
        q, k = real(1, 4, 8, 4, device=device), real(1, 2, 8, 4, device=device)
        count = count_flops(lambda: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
        assert count.matrix_flop_count == count.matrix_dense_flop_count == 2 * 8 * 4 * 64

    def test_one_query_over_a_cache(self, device):
        q, k = real(2, 4, 1, 4, device=device), real(2, 4, 9, 4, device=device)
        assert matrix(lambda: F.scaled_dot_product_attention(q, k, k)) == 2 * 8 * 8 * 9

    def test_explicit_mask_is_computed_in_full(self, device):
        q = real(1, 1, 8, 4, device=device)
        mask = torch.ones(8, 8, dtype=torch.bool, device=device).tril()
        assert matrix(lambda: F.scaled_dot_product_attention(q, q, q, attn_mask=mask)) == 2 * 8 * 64

    def test_inference_mode_counts_the_same(self, device):
        q = real(1, 2, 8, 4, device=device)
        plain = count_flops(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True))
        with torch.inference_mode():
            assert count_flops(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True)) == plain


def test_routing_of_experts_is_free_and_whole_division_one_operation():
    experts = torch.tensor([0, 2, 1, 1, 0, 2])
    assert elementwise(lambda: torch.histc(experts.float(), bins=3, min=0, max=2)) == 0
    assert elementwise(lambda: experts // 2) == 0
    assert elementwise(lambda: experts.float() // 2) == 6


# With dropout a CPU computes the dense products; no kernel there skips what is masked.
@pytest.mark.parametrize(
    ("place", "dropout"), [("cpu", 0.0), ("meta", 0.0), ("meta", 0.1), ("fake", 0.0), ("fake", 0.1)]
)
def test_causal_attention_of_a_module_of_torch_counts_the_pairs_it_keeps(place, dropout):
    with FakeTensorMode() if place == "fake" else nullcontext(), torch.device("meta" if place == "meta" else "cpu"):
        module = nn.MultiheadAttention(8, 2, bias=False, dropout=dropout, batch_first=True)
        x, mask = real(3, 5, 8), torch.ones(5, 5, dtype=torch.bool).triu(1)
        count = count_flops(lambda: module(x, x, x, attn_mask=mask, is_causal=True, need_weights=False))
    products = 2 * 3 * 5 * 8 * 4 * 8
    assert count.matrix_flop_count == products + 2 * (4 + 4) * 3 * 2 * 15
    assert count.matrix_dense_flop_count == products + 2 * (4 + 4) * 3 * 2 * 25
    assert F.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"


def test_causal_bias_of_a_continued_prompt_counts_its_prefix_on_meta():
    q, k = real(1, 1, 3, 4, device="meta"), real(1, 1, 10, 4, device="meta")
    last_aligned, first_aligned = causal_lower_right(3, 10), causal_upper_left(3, 10)
    lower = count_flops(lambda: F.scaled_dot_product_attention(q, k, k, attn_mask=last_aligned))
    upper = count_flops(lambda: F.scaled_dot_product_attention(q, k, k, attn_mask=first_aligned))
    assert lower.matrix_flop_count == 2 * 8 * (3 * 7 + 6)
    assert upper.matrix_flop_count == 2 * 8 * 6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("_scaled_dot_product_flash_attention", (0.0, True)),
        ("_scaled_dot_product_efficient_attention", (None, True, 0.0, True)),
        ("_scaled_dot_product_cudnn_attention", (None, True, 0.0, True)),
    ],
)
def test_cuda_attention_operators_count_causal_both_ways(name, options):
    q, k, v = (real(2, 3, 8, 16, device="meta", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    operator = getattr(torch.ops.aten, name)
    count = count_flops(lambda: operator(q, k, v, *options)[0].sum().backward())
    assert count.complete
    assert count.matrix_flop_count == 3 * 2 * 32 * 6 * 36
    assert count.matrix_dense_flop_count == 3 * 2 * 32 * 6 * 64


@pytest.mark.parametrize(
    ("mask_type", "pairs"), [(0, 3 * 5), (1, 1 + 2 + 3), (2, 3 + 4 + 5)], ids=["dense", "top-left", "bottom-right"]
)
def test_time_first_attention_reads_its_mask_type(mask_type, pairs):
    q, k = real(1, 3, 2, 8, device="meta"), real(1, 5, 2, 8, device="meta")
    count = count_flops(
        lambda: torch.ops.aten._efficient_attention_forward(q, k, k, None, None, None, None, None, 0.0, mask_type)
    )
    assert count.matrix_flop_count == 2 * 16 * 2 * pairs


def test_ragged_attention_is_uncounted_rather_than_guessed():
    q, offsets = real(10, 2, 8, device="meta"), torch.zeros(3, dtype=torch.int32, device="meta")
    count = count_flops(
        lambda: torch.ops.aten._flash_attention_forward(q, q, q, offsets, offsets, 5, 5, 0.0, True, False)
    )
    assert [item.operator for item in count.uncounted_operators] == ["aten::_flash_attention_forward"]
    assert not count.complete


@pytest.mark.parametrize(
    ("step", "flops"),
    [
        (lambda: real(10) + real(10), 10),
        (lambda: torch.add(real(10), real(10), alpha=2), 20),
        (lambda: real(10).exp(), 10),
        (lambda: real(10).add_(1).mul_(2), 20),
        (lambda: torch.addcmul(real(10), real(10), real(10)), 20),
        (lambda: cplx(10) * cplx(10), 60),
        (lambda: cplx(10) + cplx(10), 20),
        (lambda: cplx(10) * real(10), 20),
        (lambda: real(10) * cplx(10), 20),
        (lambda: cplx(10) * 2.0, 20),
        (lambda: cplx(10) * 2j, 60),
        (lambda: real(10) * 2j, 20),
        (lambda: cplx(10) / cplx(10), 110),
        (lambda: cplx(10) / real(10), 20),
        (lambda: cplx(10).abs(), 40),
        (lambda: torch.polar(real(10), real(10)), 40),
        (lambda: real(4, 5).sum(0), 20),
        (lambda: real(4, 5).mean(0), 25),
        (lambda: cplx(4, 5).sum(0), 40),
        (lambda: real(4, 5).cumsum(0), 20),
        (lambda: cplx(4, 5).cumsum(0), 40),
        (lambda: real(4, 5).softmax(-1), 100),
        (lambda: F.layer_norm(real(4, 5), (5,)), 140),
        (lambda: torch.fft.fft(cplx(3, 8)), 3 * 5 * 8 * 3),
        (lambda: torch.fft.rfft(real(3, 8)), 3 * 5 * 8 * 3 // 2),
        (lambda: torch.fft.irfft(cplx(3, 5)), 3 * 5 * 8 * 3 // 2),
        (lambda: torch._foreach_add([real(3), real(4)], [real(3), real(4)]), 7),
        (lambda: torch._foreach_mul_([real(3), real(4)], 2.0), 7),
        (lambda: torch._foreach_mul([cplx(3), real(4)], [cplx(3), real(4)]), 18 + 4),
        (lambda: torch._foreach_norm([real(3), real(4)]), 14),
        (lambda: torch.zeros(6).index_add_(0, torch.tensor([1, 1, 2]), real(3)), 3),
        (lambda: real(6).max(), 6),
        (lambda: torch.maximum(real(6), real(6)), 6),
    ],
)
def test_elementwise_convention(step, flops):
    assert elementwise(step) == flops


@pytest.mark.parametrize(
    "step",
    [
        lambda: real(4, 5).t().reshape(2, 10)[:, 1:].unsqueeze(0).expand(3, 2, 9).permute(2, 0, 1),
        lambda: real(4, 5).to(torch.bfloat16).clone().contiguous(),
        lambda: torch.cat([real(3), real(3)]).roll(1),
        lambda: torch.stack([real(3), real(3)]).flip(0),
        lambda: cplx(4).conj().resolve_conj().real,
        lambda: torch.complex(real(3), real(3)),
        lambda: torch.view_as_complex(real(3, 2)).imag,
        lambda: real(4) > 0,
        lambda: torch.where(real(4) > 0, real(4), real(4)),
        lambda: torch.arange(5) + 3,
        lambda: real(4, 5).tril().masked_fill(torch.ones(4, 5, dtype=torch.bool), 0.0),
        lambda: F.embedding(torch.tensor([1, 2]), real(4, 5)),
        lambda: real(9).sort(),
        lambda: real(9).gather(0, torch.tensor([1])),
        lambda: F.pad(real(4), (1, 1)),
        lambda: torch.zeros(4).index_put_((torch.tensor([1]),), real(1)),
        lambda: torch.zeros(4).copy_(real(4)),
        lambda: torch.empty(4).bernoulli_(0.5).normal_(),
        lambda: real(2).new_zeros(4).fill_(2),
    ],
)
def test_movement_and_selection_count_nothing_and_are_not_uncounted(step):
    assert elementwise(step) == 0


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_optimizer_step_is_counted(options):
    parameter = nn.Parameter(real(1000))
    parameter.grad = real(1000)
    optimizer = torch.optim.AdamW([parameter], **options)
    optimizer.step()
    flops = elementwise(optimizer.step)
    assert 10_000 <= flops <= 16_000


def test_cross_entropy_layer_norm_gelu_and_embedding_train_completely():
    table = nn.Embedding(11, 8)
    block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 11), nn.GELU(), nn.RMSNorm(11), nn.Dropout(0.5))
    ids = torch.tensor([[1, 2, 3]])

    def step():
        F.cross_entropy(block(table(ids)).flatten(0, 1), ids.flatten()).backward()
        nn.utils.clip_grad_norm_(block.parameters(), 1.0)

    assert matrix(step) == 3 * 2 * 3 * 8 * 11


def test_unknown_operator_makes_the_count_incomplete():
    @torch.library.custom_op("pamprof_test::mystery", mutates_args=())
    def mystery(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    count = count_flops(lambda: (mystery(real(3, 3)), mystery(real(3, 3)), real(3, 3) @ real(3, 3)))
    assert [(item.operator, item.count) for item in count.uncounted_operators] == [("pamprof_test::mystery", 2)]
    assert not count.complete
    assert count.matrix_flop_count == 54


def test_unsupported_arithmetic_of_torch_is_uncounted():
    count = count_flops(lambda: torch.linalg.qr(real(3, 3)))
    assert [item.operator for item in count.uncounted_operators] == ["aten::linalg_qr"]


@pytest.mark.parametrize("by_name", [True, False])
def test_registered_kernel_is_counted_in_both_columns(by_name):
    name = f"pamprof_test::kernel_{'name' if by_name else 'operator'}"

    @torch.library.custom_op(name, mutates_args=())
    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y

    def formula(x, y, *, output):
        flops = 2 * x.numel() * y.shape[1]
        return OperatorWork(
            matrix_flop_count=flops // 2, matrix_dense_flop_count=flops, elementwise_flop_count=output.numel()
        )

    packet = getattr(torch.ops.pamprof_test, name.split("::")[1])
    register_kernel_flops(name if by_name else packet, formula)
    count = count_flops(lambda: kernel(real(3, 4), real(4, 5)))
    assert (count.matrix_flop_count, count.matrix_dense_flop_count, count.elementwise_flop_count) == (60, 120, 15)
    assert count.complete
    with pytest.raises(UsageError, match="already has a FLOP formula"):
        register_kernel_flops(packet.default, formula)


def test_kernel_name_without_a_namespace_is_refused():
    with pytest.raises(UsageError, match="namespace::name"):
        register_kernel_flops("kernel", lambda *_, **__: OperatorWork())


def test_formula_registered_with_torch_itself_is_honoured():
    @torch.library.custom_op("pamprof_test::torch_side", mutates_args=())
    def torch_side(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    @register_flop_formula(torch.ops.pamprof_test.torch_side)
    def _formula(x_shape, *_, out_shape=None, **__):
        assert out_shape is not None
        return 2 * x_shape[0] ** 3

    assert matrix(lambda: torch_side(cplx(3, 3))) == 54


def test_private_surface_of_torch_is_as_the_counter_expects():
    registry = FlopCounterMode(display=False).flop_registry
    x = real(3, 3)
    assert registry[torch.ops.aten.mm](x, x, out_val=x @ x) == 54
    schema = torch.ops.aten.add_.Tensor._schema
    assert schema.name == "aten::add_"
    assert [argument.name for argument in schema.arguments] == ["self", "other", "alpha"]
    assert schema.arguments[2].default_value == 1
    assert torch.ops.aten.view.default.is_view
    assert not torch.ops.aten.add_.Tensor.is_view
    assert torch.Tag.pointwise in torch.ops.aten.mul.Tensor.tags


def test_compiled_module_counts_as_its_eager_code():
    linear = nn.Linear(4, 5)
    compiled = torch.compile(linear, backend="eager")
    x = real(7, 4)
    assert count_flops(lambda: compiled(x)) == count_flops(lambda: linear(x))


def test_count_is_deterministic_silent_and_passes_the_closed_form_through(capsys):
    step = lambda: (real(3, 4) @ real(4, 5)).softmax(-1)  # noqa: E731
    first, second = (count_flops(step, closed_form_matrix_flop_count=120) for _ in range(2))
    assert first == second
    assert first.closed_form_matrix_flop_count == first.matrix_flop_count == 120
    assert first.operator_count == 4  # two factories, a product, a softmax
    assert capsys.readouterr() == ("", "")


def test_recurrence_step_in_both_representations():
    """State decay, rank-1 write and read of one token: H heads of d x d."""
    heads, d = 2, 4
    gamma, q, k, v, state = real(heads), cplx(heads, d), cplx(heads, d), cplx(heads, d), cplx(heads, d, d)

    def step():
        new = gamma[:, None, None] * state + v[:, :, None] * k.conj()[:, None, :]
        return torch.bmm(new, q[:, :, None])

    count = count_flops(step)
    assert count.matrix_flop_count == heads * 8 * d * d
    # Decay of a complex state by a real 2, complex outer product 6, complex addition 2.
    assert count.elementwise_flop_count == heads * d * d * (2 + 6 + 2)


def test_counting_a_failing_step_leaves_no_mode_behind():
    def step():
        raise ValueError("broken step")

    with pytest.raises(ValueError, match="broken step"):
        count_flops(step)
    assert math.isfinite(float(real(2, 2).sum()))
    assert torch._C._len_torch_dispatch_stack() == 0
