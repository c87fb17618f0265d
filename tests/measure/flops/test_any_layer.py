"""Operators of other people's layers, against arithmetic done by hand: a multiply-add is 2 FLOP, a complex one 8."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import nn
from torch._higher_order_ops.map import map as map_rows
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from pamprof.measure.flops.counter import count_flops

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse [A-Z]+ tensor support is in beta:UserWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def matrix(step) -> int:
    count = count_flops(step)
    assert count.complete, count.uncounted_operators
    return count.matrix_flop_count


def has(name: str):
    return pytest.mark.skipif(not hasattr(torch.ops.aten, name), reason=f"this torch has no aten::{name}")


class TestRecurrentLayers:
    B, T, N, H = 2, 3, 4, 5

    def layer(self, kind, **options):
        return kind(self.N, self.H, batch_first=True, **options)

    def inputs(self):
        return torch.randn(self.B, self.T, self.N, requires_grad=True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_lstm_forward_and_backward(self, dtype):
        layer, x = self.layer(nn.LSTM).to(dtype), self.inputs().to(dtype)
        forward = 2 * self.B * self.T * 4 * self.H * (self.N + self.H)
        assert matrix(lambda: layer(x)) == forward
        assert matrix(lambda: layer(x)[0].sum().backward()) == 3 * forward

    def test_lstm_of_two_layers_and_of_two_directions(self):
        x, once = self.inputs(), 2 * self.B * self.T * 4 * self.H
        deep, both = self.layer(nn.LSTM, num_layers=2), self.layer(nn.LSTM, bidirectional=True)
        assert matrix(lambda: deep(x)) == once * (self.N + self.H) + once * (self.H + self.H)
        assert matrix(lambda: both(x)) == 2 * once * (self.N + self.H)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_fused_lstm_does_the_elementwise_work_of_the_one_taken_apart(self, mode):
        with mode():
            fused = count_flops(lambda: self.layer(nn.LSTM)(torch.randn(self.B, self.T, self.N)))
            apart = count_flops(
                lambda: self.layer(nn.LSTM, device="meta")(torch.randn(self.B, self.T, self.N, device="meta"))
            )
        assert fused.matrix_flop_count == apart.matrix_flop_count
        # Initial weights are drawn, which is no arithmetic: 8 additions of biases, 4 of gates, 9 for cell and output.
        assert fused.elementwise_flop_count == apart.elementwise_flop_count == self.B * self.T * 21 * self.H

    def test_gru_is_complete(self):
        layer, x = self.layer(nn.GRU), self.inputs()
        assert matrix(lambda: layer(x)) == 2 * self.B * self.T * 3 * self.H * (self.N + self.H)
        cell = nn.GRUCell(self.N, self.H)
        assert matrix(lambda: cell(x[:, 0])) == 2 * self.B * 3 * self.H * (self.N + self.H)

    def test_packed_sequences_count_no_padding(self):
        layer = self.layer(nn.LSTM)
        packed = nn.utils.rnn.pack_padded_sequence(self.inputs(), [3, 2], batch_first=True)
        assert matrix(lambda: layer(packed)) == 2 * (3 + 2) * 4 * self.H * (self.N + self.H)

    @has("_cudnn_rnn")
    @pytest.mark.parametrize(("mode", "gates"), [(2, 4), (3, 3)])
    def test_cudnn_layer_on_meta(self, mode, gates):
        """Two layers and a bias, as cuDNN gets them."""
        rows, width = gates * self.H, [self.N, self.H]
        weights = [torch.empty(rows, n, device="meta") for i in width for n in (i, self.H)]
        weights = [w for i in (0, 2) for w in (*weights[i : i + 2], *(torch.empty(rows, device="meta"),) * 2)]
        x, state = torch.empty(self.T, self.B, self.N, device="meta"), torch.empty(2, self.B, self.H, device="meta")
        count = count_flops(
            lambda: torch.ops.aten._cudnn_rnn(
                x, weights, 4, None, state, state, mode, self.H, 0, 2, False, 0.0, True, False, [], None
            )
        )
        assert count.complete
        assert count.matrix_flop_count == 2 * self.B * self.T * rows * (self.N + self.H + 2 * self.H)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x.transpose_(0, 1).t_().unsqueeze_(0).squeeze_(0),
        lambda x: (x.unsafe_split(2), x.unsafe_chunk(2), x.chunk(2), x.unbind(), x.split(3), x.tensor_split(2)),
        lambda x: (torch.select_copy(x, 0, 1), torch.unbind_copy(x), torch.slice_copy(x, 0, 1), torch.detach_copy(x)),
        lambda x: x.to_sparse().coalesce().to_dense(),
        lambda x: x.to_sparse_csr().to_dense(),
        lambda x: F.max_pool2d(F.pad(x[None, None], (1, 1, 1, 1), mode="reflect"), 2),
        lambda x: (F.unfold(x[None, None], 2), F.interpolate(x[None, None], scale_factor=2, mode="nearest")),
    ],
    ids=["in place", "split", "copies", "coordinates", "compressed", "rim and pool", "windows"],
)
def test_views_copies_and_layouts_are_free(step):
    assert matrix(lambda: step(torch.ones(4, 4))) == 0


class TestGroupedAndQuantisedProducts:
    @has("_grouped_mm")
    def test_experts_multiply_the_rows_that_are_routed_to_them(self):
        tokens = torch.randn(16, 32, dtype=torch.bfloat16, requires_grad=True)
        experts = torch.randn(3, 32, 8, dtype=torch.bfloat16, requires_grad=True)
        offsets = torch.tensor([4, 10, 16], dtype=torch.int32)
        forward = 2 * 16 * 32 * 8
        assert matrix(lambda: torch._grouped_mm(tokens, experts, offs=offsets)) == forward
        assert matrix(lambda: torch._grouped_mm(tokens, experts, offs=offsets).abs().sum().backward()) == 3 * forward

    @has("_grouped_mm")
    def test_rows_beyond_the_last_offset_are_not_multiplied(self):
        tokens, experts = torch.randn(16, 32, dtype=torch.bfloat16), torch.randn(2, 32, 8, dtype=torch.bfloat16)
        offsets = torch.tensor([4, 8], dtype=torch.int32)
        assert matrix(lambda: torch._grouped_mm(tokens, experts, offs=offsets)) == 2 * 8 * 32 * 8
        on_meta = [item.to("meta") for item in (tokens, experts, offsets)]
        assert matrix(lambda: torch._grouped_mm(*on_meta[:2], offs=on_meta[2])) == 2 * 16 * 32 * 8

    @has("_int_mm")
    def test_integer_product(self):
        left, right = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)
        assert matrix(lambda: torch._int_mm(left, right)) == 2 * 32 * 16 * 8

    @has("_scaled_mm")
    def test_scaled_product(self):
        left, right = (torch.empty(32, 32, device="meta", dtype=torch.float8_e4m3fn) for _ in range(2))
        scale = torch.empty((), device="meta")
        step = lambda: torch._scaled_mm(left, right.t(), scale, scale, out_dtype=torch.bfloat16)  # noqa: E731
        assert matrix(step) == 2 * 32 * 32 * 32


class TestControlFlow:
    """w is [4, 4] and x [3, 4]: a product is 96 FLOP; training takes it three times."""

    PRODUCT = 2 * 3 * 4 * 4

    @pytest.fixture(params=["inference", "training"])
    def parts(self, request):
        training = request.param == "training"
        w, x = torch.randn(4, 4, requires_grad=training), torch.randn(5, 3, 4, requires_grad=training)

        def count(step) -> int:
            return matrix(lambda: step().sum().backward() if training else step())

        return w, x, count, 3 if training else 1

    @pytest.mark.parametrize(("chosen", "products"), [(True, 1), (False, 2)])
    def test_cond_counts_the_branch_taken(self, parts, chosen, products):
        w, x, count, passes = parts
        step = lambda: torch.cond(torch.tensor(chosen), lambda a: a @ w, lambda a: (a @ w) @ w, (x[0],))  # noqa: E731
        assert count(step) == passes * products * self.PRODUCT

    def test_while_loop_counts_its_trips(self, parts):
        w, x, count, passes = parts
        start = (torch.tensor(0), x[0])
        step = lambda: while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, a @ w), start)[1]  # noqa: E731
        assert count(step) == passes * 4 * self.PRODUCT

    def test_scan_counts_every_element(self, parts):
        w, x, count, passes = parts
        # torch 2.11 runs the body once more, forward, to learn its shapes; what runs is counted.
        once_more = torch.__version__.startswith("2.11.")
        counted = count(lambda: scan(lambda carry, a: (carry @ w, a * 2), x[0], x)[0])
        assert counted == (passes * 5 + once_more) * self.PRODUCT

    def test_map_counts_every_element(self, parts):
        w, x, count, passes = parts
        assert count(lambda: map_rows(lambda a: (a @ w,), x)[0]) == passes * 5 * self.PRODUCT

    def test_control_flow_is_torchs_own_again_afterwards(self):
        count_flops(lambda: None)
        kernel = torch.ops.higher_order.cond.py_kernels[torch._C.DispatchKey.Autograd]
        assert "pamprof" not in getattr(getattr(kernel, "func", kernel), "__module__", "")


class TestSparse:
    """64 x 64 with 205 entries, times 8 columns: 2·205·8 = 3,280 FLOP, where the dense formula says 65,536."""

    DENSE = 2 * 64 * 64 * 8
    STORED = 2 * 205 * 8

    @pytest.fixture(params=["coo", "csr", "csc"])
    def sparse(self, request):
        dense = torch.zeros(64 * 64)
        dense[torch.arange(205) * 19] = 1.5
        dense = dense.view(64, 64)
        layouts = {"coo": dense.to_sparse, "csr": dense.to_sparse_csr, "csc": dense.to_sparse_csc}
        return layouts[request.param]()

    def test_products_count_the_entries_stored(self, sparse):
        right = torch.randn(64, 8)
        assert matrix(lambda: right.to_sparse() @ torch.ones(8, 8)) == self.DENSE // 8
        assert matrix(lambda: sparse @ right) == self.STORED
        assert matrix(lambda: sparse @ right[:, 0]) == 2 * 205
        assert matrix(lambda: right.t() @ sparse.t()) == self.STORED
        if sparse.layout is not torch.sparse_csc:
            assert matrix(lambda: torch.sparse.mm(sparse, right)) == self.STORED
            assert matrix(lambda: torch.sparse.addmm(torch.zeros(64, 8), sparse, right)) == self.STORED

    def test_backward_of_a_dense_operand(self, sparse):
        if sparse.layout is torch.sparse_csc:
            pytest.skip("torch differentiates no product of this layout")
        right = torch.randn(64, 8, requires_grad=True)
        assert matrix(lambda: torch.sparse.mm(sparse, right).sum().backward()) == 2 * self.STORED

    def test_two_sparse_operands_count_the_pairs_that_meet(self):
        left, right = torch.zeros(3, 4), torch.zeros(4, 5)
        left[:, 0], left[1, 2], right[0, :3], right[2, 4] = 1.0, 1.0, 1.0, 1.0
        # Three entries in column 0 meet three in row 0, one in column 2 meets one in row 2.
        assert matrix(lambda: left.to_sparse() @ right.to_sparse()) == 2 * (3 * 3 + 1)

    def test_elementwise_work_is_that_of_the_entries(self, sparse):
        if sparse.layout is torch.sparse_csc:
            pytest.skip("torch scales no tensor of this layout")
        assert count_flops(lambda: sparse * 2.0).elementwise_flop_count == 205


class TestFlexAttention:
    """Two heads of 16: 4·16·2 = 128 FLOP a pair."""

    @pytest.fixture(params=["eager", "compiled"])
    def attend(self, request):
        return flex_attention if request.param == "eager" else torch.compile(flex_attention, backend="eager")

    @staticmethod
    def count(attend, length, mask_mod):
        q = torch.randn(1, 2, length, 16)
        mask = None if mask_mod is None else create_block_mask(mask_mod, None, None, length, length, device="cpu")
        with torch.no_grad():
            count = count_flops(lambda: attend(q, q, q, block_mask=mask))
        assert count.complete
        return count.matrix_flop_count, count.matrix_dense_flop_count

    def test_causal_mask(self, attend):
        # 128·129/2 pairs, in one block of 128 x 128.
        assert self.count(attend, 128, lambda b, h, q, k: q >= k) == (1_056_768, 2_097_152)

    def test_window_of_32(self, attend):
        # 32·256 - 32·31/2 pairs, in three of four blocks.
        found = self.count(attend, 256, lambda b, h, q, k: (q >= k) & (q - k < 32))
        assert found == (985_088, 3 * 2_097_152)

    def test_no_mask_is_dense(self, attend):
        assert self.count(attend, 128, None) == (2_097_152, 2_097_152)

    def test_blocks_are_cut_at_the_end_of_a_sequence(self, attend):
        assert self.count(attend, 130, lambda b, h, q, k: q >= k) == (128 * 130 * 131 // 2, 128 * (130 * 130 - 128 * 2))

    def test_mask_of_each_sequence_reads_its_captured_tensor(self, attend):
        documents = torch.tensor([[0] * 100 + [1] * 28, [0] * 128])
        q = torch.randn(2, 2, 128, 16)
        same = lambda b, h, i, j: documents[b, i] == documents[b, j]  # noqa: E731
        mask = create_block_mask(same, 2, None, 128, 128, device="cpu")
        with torch.no_grad():
            assert matrix(lambda: attend(q, q, q, block_mask=mask)) == 128 * (100**2 + 28**2 + 128**2)

    def test_backward_is_twice_the_forward(self):
        q = torch.randn(1, 2, 128, 16, requires_grad=True)
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device="cpu").as_tuple()
        score = lambda score, *_: score  # noqa: E731
        operator = torch.ops.higher_order.flex_attention
        count = count_flops(lambda: operator(q, q, q, score, mask, 0.25, {})[0].sum().backward())
        assert (count.complete, count.matrix_flop_count) == (True, 3 * 1_056_768)

    def test_mask_that_cannot_be_evaluated_leaves_the_count_incomplete(self):
        q = torch.empty(1, 2, 128, 16, device="meta")
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device="cpu").to("meta").as_tuple()
        operator = torch.ops.higher_order.flex_attention
        with torch.no_grad():
            count = count_flops(lambda: operator(q, q, q, lambda score, *_: score, mask, 0.25, {}))
        assert [item.operator for item in count.uncounted_operators] == ["higher_order::flex_attention"]


class TestJagged:
    """Sequences of 3 and 5 tokens of 8 numbers."""

    @pytest.fixture
    def batch(self):
        return torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=torch.jagged)

    def test_linear_and_matrix_product(self, batch):
        linear, right = nn.Linear(8, 4), torch.randn(8, 4)
        assert matrix(lambda: linear(batch)) == 2 * 8 * 8 * 4
        assert matrix(lambda: linear(batch).values().sum().backward()) == 2 * 2 * 8 * 8 * 4
        assert matrix(lambda: batch @ right) == 2 * 8 * 8 * 4

    @pytest.mark.parametrize(("causal", "pairs"), [(False, 9 + 25), (True, 6 + 15)])
    def test_attention_by_real_lengths(self, batch, causal, pairs):
        linear = nn.Linear(8, 8, bias=False)

        def attend():
            q = linear(batch).unflatten(-1, [2, 4]).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q, q, is_causal=causal)

        projection = 2 * 8 * 8 * 8
        assert matrix(attend) == projection + 4 * 8 * pairs
        count = count_flops(lambda: attend().transpose(1, 2).flatten(-2).values().sum().backward())
        assert count.complete
        assert count.matrix_flop_count == 2 * projection + 3 * 4 * 8 * pairs

    def test_nested_tensors_without_jagged_layout_are_uncounted(self):
        batch = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=torch.strided)
        count = count_flops(lambda: nn.Linear(8, 4)(batch))
        assert not count.complete


class TestThreads:
    PRODUCT = 2 * 4**3

    @staticmethod
    def product():
        return torch.ones(4, 4) @ torch.ones(4, 4)

    def test_tasks_of_a_pool_made_before_and_of_one_made_inside(self):
        with ThreadPoolExecutor(2) as kept:
            kept.submit(self.product).result()

            def step():
                with ThreadPoolExecutor(2) as own:
                    tasks = [pool.submit(self.product) for pool in (kept, own) for _ in range(8)]
                    return [task.result() for task in tasks]

            assert matrix(step) == 16 * self.PRODUCT
            assert kept.submit(torch._C._len_torch_dispatch_stack).result() == 0

    @pytest.mark.parametrize("before", [True, False], ids=["made before", "made inside"])
    def test_maps_over_a_thread_pool(self, before):
        pools = [ThreadPool(2)] if before else []

        def step():
            pool = pools[0] if pools else ThreadPool(2)
            pool.map(lambda _: self.product(), range(5))
            pool.starmap(lambda *_: self.product(), [(1, 2)] * 3)
            pool.apply(self.product)
            list(pool.imap(lambda _: self.product(), range(2)))
            pool.close()
            pool.join()

        assert matrix(step) == 11 * self.PRODUCT

    def test_bare_threads(self):
        def step():
            threads = [threading.Thread(target=self.product) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        before = threading.Thread.start, ThreadPoolExecutor.submit
        assert matrix(step) == 4 * self.PRODUCT
        assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


class TestComplexRecurrences:
    def test_linear_recurrent_unit(self):
        """u -> h = lambda h + B u -> y = Re(C h), in both of which a complex matrix of 4 x 6 meets each token."""
        batch, length, width, states = 2, 5, 4, 6
        into, out = (torch.randn(*s, dtype=torch.complex64) for s in ((width, states), (states, width)))
        decay = torch.polar(torch.full((states,), 0.9), torch.rand(states))
        parameters = [nn.Parameter(item) for item in (into, out, decay)]
        x = torch.randn(batch, length, width, requires_grad=True)

        def step():
            driven = x.to(torch.complex64) @ parameters[0]
            state, states_over_time = torch.zeros_like(driven[:, 0]), []
            for t in range(length):
                state = parameters[2] * state + driven[:, t]
                states_over_time.append(state)
            return (torch.stack(states_over_time, 1) @ parameters[1]).real

        forward = 2 * 8 * batch * length * width * states
        assert matrix(step) == forward
        assert matrix(lambda: step().sum().backward()) == 3 * forward

    def test_diagonal_state_space(self):
        """The kernel 2 Re(C exp(A l)) is a complex product of N terms for each of H channels and L places."""
        channels, states, length = 3, 4, 8
        a, c = (nn.Parameter(torch.randn(channels, states, dtype=torch.complex64)) for _ in range(2))
        x = torch.randn(2, channels, length, requires_grad=True)

        def step():
            powers = (a[..., None] * torch.arange(length)).exp()
            kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
            spectrum = torch.fft.rfft(x, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
            return torch.fft.irfft(spectrum, n=2 * length)[..., :length]

        forward = 8 * channels * states * length
        assert matrix(step) == forward
        assert matrix(lambda: step().sum().backward()) == 3 * forward
