"""What a model costs by operator and by module, forward and backward, against arithmetic done by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import nn
from torch.utils.checkpoint import checkpoint

import pamprof
from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.model_flops import OUTSIDE, FlopSum, total

FIELDS = ("matrix_flop_count", "matrix_dense_flop_count", "elementwise_flop_count")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def matrix(amount) -> int:
    return amount.matrix_flop_count


def by_name(flops):
    return {row.name: row for row in flops.by_module}


def sums_hold(flops):
    """Rows of operators and of modules add up to the totals, forward and backward; the model holds all inside it."""
    whole = FlopSum(**flops.fields())
    for rows in (flops.by_operator, flops.by_module):
        assert total(FlopSum(**row.fields()) for row in rows) == whole
        assert total(row.backward for row in rows) == flops.backward
    rows = by_name(flops)
    if "" in rows:
        outside = rows.get(OUTSIDE)
        assert rows[""].within.plus(outside.within if outside else FlopSum()) == whole
        assert rows[""].within_backward.plus(outside.within_backward if outside else FlopSum()) == flops.backward


def needing(*shape, **options):
    return torch.randn(*shape, requires_grad=True, **options)


@pytest.mark.parametrize(("dtype", "per_multiply_add"), [(torch.float32, 2), (torch.complex64, 8)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_linear_goes_backward_at_twice_its_forward_cost(dtype, per_multiply_add, device):
    linear = nn.Linear(4, 5, dtype=dtype, device=device)
    flops = pamprof.count_flops(linear, needing(7, 4, dtype=dtype, device=device), backward=True)
    assert flops.complete
    assert matrix(flops.forward) == per_multiply_add * 7 * 4 * 5
    assert matrix(flops.backward) == 2 * matrix(flops.forward)
    assert matrix(flops) == 3 * matrix(flops.forward)
    assert flops.parameter_count == (4 * 5 + 5) * (2 if dtype.is_complex else 1)
    sums_hold(flops)


def test_forward_alone_has_no_backward_part():
    flops = pamprof.count_flops(nn.Linear(4, 5), torch.randn(7, 4))
    assert matrix(flops) == matrix(flops.forward) == 280
    assert flops.backward == FlopSum()


def test_input_without_a_gradient_saves_one_product():
    flops = pamprof.count_flops(nn.Linear(4, 5), torch.randn(7, 4), backward=True)
    assert (matrix(flops.forward), matrix(flops.backward)) == (280, 280)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x):
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, dim=2))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_causal_attention_counts_the_pairs_it_keeps_under_the_module_that_attends(device):
    flops = pamprof.count_flops(Attention(12, 3).to(device), needing(2, 8, 12, device=device), backward=True)
    rows = by_name(flops)
    pairs, heads = 8 * 9 // 2, 2 * 3
    assert matrix(rows[""]) == 3 * 2 * (4 + 4) * heads * pairs
    assert rows[""].matrix_dense_flop_count == 3 * 2 * (4 + 4) * heads * 64
    assert matrix(rows[""].backward) * 3 == 2 * matrix(rows[""])
    assert matrix(rows["project"]) == 3 * 2 * (2 * 8) * 12 * 36
    sums_hold(flops)


def test_grouped_convolution():
    flops = pamprof.count_flops(nn.Conv1d(4, 8, 3, groups=2), needing(2, 4, 9), backward=True)
    once = 2 * (2 * 8 * 7) * (2 * 3)
    assert (matrix(flops.forward), matrix(flops.backward)) == (once, 2 * once)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.block = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU())
        self.out = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        return self.out(checkpoint(self.block, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_of_a_checkpoint_is_backward_work_of_the_module_recomputed(reentrant):
    flops = pamprof.count_flops(Checkpointed(reentrant), needing(10, 8), backward=True)
    rows, once = by_name(flops), 2 * 10 * 8 * 8
    assert matrix(flops.forward) == 2 * once
    assert matrix(flops.backward) == 2 * 2 * once + once
    assert (matrix(rows["block.0"]), matrix(rows["block.0"].backward)) == (4 * once, 3 * once)
    assert (matrix(rows["out"]), matrix(rows["out"].backward)) == (3 * once, 2 * once)
    assert rows["block.0"].call_count == 2
    assert rows["block"].within == FlopSum(**rows["block.0"].fields()).plus(FlopSum(**rows["block.1"].fields()))
    sums_hold(flops)


def test_checkpointed_function_without_modules_belongs_to_the_module_that_calls_it():
    class Caller(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 8, bias=False)
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return checkpoint(lambda y: (y @ self.weight).relu(), self.first(x), use_reentrant=True)

    flops = pamprof.count_flops(Caller(), needing(10, 8), backward=True)
    rows, once = by_name(flops), 2 * 10 * 8 * 8
    assert (matrix(rows[""]), matrix(rows[""].backward)) == (4 * once, 3 * once)
    assert (matrix(rows["first"]), matrix(rows["first"].backward)) == (3 * once, 2 * once)
    sums_hold(flops)


class Holder(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_module_under_two_parents_is_counted_under_the_one_that_calls_it():
    shared = nn.Linear(8, 8, bias=False)
    model = nn.ModuleDict({"encoder": Holder(shared), "decoder": Holder(shared)})

    def run(x):
        return model["decoder"](model["decoder"](model["encoder"](x)))

    model.forward = run
    flops = pamprof.count_flops(model, needing(10, 8), backward=True)
    rows, once = by_name(flops), 2 * 10 * 8 * 8
    assert flops.parameter_count == 64
    assert (matrix(rows["encoder.inner"]), rows["encoder.inner"].call_count) == (3 * once, 1)
    assert (matrix(rows["decoder.inner"]), rows["decoder.inner"].call_count) == (6 * once, 2)
    assert rows["decoder.inner"].other_names == ("encoder.inner",)
    sums_hold(flops)


def test_module_with_two_names_in_one_parent_is_counted_under_the_first():
    shared = nn.Linear(8, 8, bias=False)
    flops = pamprof.count_flops(nn.Sequential(shared, nn.ReLU(), shared), needing(10, 8), backward=True)
    rows, once = by_name(flops), 2 * 10 * 8 * 8
    assert "2" not in rows
    assert (matrix(rows["0"]), rows["0"].call_count, rows["0"].other_names) == (6 * once, 2, ("2",))
    # Its weight's two gradients are added.
    assert flops.parameter_count == 64
    sums_hold(flops)


def test_tied_weight_is_one_parameter_and_each_use_its_own_work():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, ids):
            return self.head(self.embedding(ids))

    flops = pamprof.count_flops(Tied(), torch.zeros(2, 5, dtype=torch.int64), backward=True)
    rows = by_name(flops)
    assert flops.parameter_count == 160
    assert matrix(rows["head"]) == matrix(flops) == 3 * 2 * 10 * 8 * 20
    assert matrix(rows["embedding"].within) == 0
    sums_hold(flops)


def test_module_without_a_name_is_called_by_its_type():
    class Unnamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Sequential(nn.Linear(8, 8, bias=False))]

        def forward(self, x):
            return self.hidden[0](x)

    flops = pamprof.count_flops(nn.Sequential(Unnamed()), needing(10, 8), backward=True)
    assert matrix(by_name(flops)["0.Sequential.0"]) == matrix(flops) == 3 * 2 * 10 * 8 * 8
    sums_hold(flops)


def test_module_that_holds_its_parent_is_counted():
    outer, inner = nn.Sequential(nn.Linear(8, 8, bias=False)), Holder(nn.ReLU())
    outer.append(inner)
    inner.add_module("back", outer)
    assert matrix(pamprof.count_flops(outer, torch.randn(10, 8))) == 2 * 10 * 8 * 8


def test_what_runs_outside_of_any_module_is_named():
    linear, x = nn.Linear(8, 8, bias=False), needing(10, 8)
    flops = pamprof.count_flops(lambda x: (linear(x) @ x.T).sum(), x, backward=True)
    rows = by_name(flops)
    assert flops.parameter_count is None
    assert matrix(rows["Linear"]) == 3 * 2 * 10 * 8 * 8
    assert matrix(rows[OUTSIDE]) == 3 * 2 * 10 * 8 * 10
    assert OUTSIDE in str(flops)
    sums_hold(flops)


def test_inputs_may_be_positional_or_by_name():
    class Product(nn.Module):
        def forward(self, left, right):
            return left @ right

    left, right = torch.randn(2, 3), torch.randn(3, 4)
    for inputs in ((left, right), {"right": right, "left": left}):
        assert matrix(pamprof.count_flops(Product(), inputs)) == 2 * 2 * 3 * 4


def test_backward_begins_at_a_loss_at_the_output_shaped_like_the_input_or_at_all():
    x = needing(10, 8)
    linear, wide = nn.Linear(8, 8, bias=False), nn.Linear(8, 3, bias=False)

    def flops_of(run):
        return matrix(pamprof.count_flops(run, x, backward=True).backward)

    once, narrow = 2 * 10 * 8 * 8, 2 * 10 * 8 * 3
    assert flops_of(lambda x: {"logits": wide(x), "loss": linear(x).sum()}) == 2 * once
    assert flops_of(lambda x: (wide(x), linear(x))) == 2 * once
    assert flops_of(lambda x: (wide(x), wide(x)[:5])) == 4 * narrow


def test_output_without_a_gradient_is_refused():
    with pytest.raises(UnsupportedError, match="no output has a gradient"):
        pamprof.count_flops(lambda x: x > 0, torch.randn(3), backward=True)


def test_counting_leaves_gradients_buffers_and_random_numbers_alone():
    model = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 8))
    x = needing(10, 8)
    model(x).sum().backward()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in (*model.parameters(), x)]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    pamprof.count_flops(model, x, backward=True)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    for parameter, gradient in zip((*model.parameters(), x), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_encoder_layer_without_gradients_counts_what_it_does_with_them():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True).eval()
    x = torch.randn(1, 5, 16)
    with torch.no_grad():
        silent = pamprof.count_flops(layer, x)
    assert silent.complete
    assert silent.matrix_dense_flop_count == 2 * 5 * (16 * 48 + 16 * 16 + 2 * 16 * 32) + 2 * 2 * 5 * 5 * 16
    assert silent.by_operator == pamprof.count_flops(layer, x).by_operator
    assert torch.backends.mha.get_fastpath_enabled()


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(12))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def test_tables_show_numbered_modules_that_cost_the_same_in_one_row():
    flops = pamprof.count_flops(Stack(), needing(10, 8), backward=True)
    lines = str(flops).splitlines()
    row = next(line for line in lines if "layers.[0-11].0" in line).split()
    assert row[1:5] == ["Linear", "12", f"{12 * 1280:,}", f"{24 * 1280:,}"]
    assert sum("layers.[" in line for line in lines) == 3
    assert f"{matrix(flops):,}" in lines[1]
    page = flops._repr_html_()
    assert page.count("<table>") == 3
    assert "layers.[0-11].0" in page


def test_html_shows_names_and_does_not_act_on_them():
    model = nn.Sequential(nn.Linear(2, 2))
    model.add_module("<b>", nn.Linear(2, 2))
    assert "&lt;b&gt;" in pamprof.count_flops(model, torch.randn(1, 2))._repr_html_()


def test_frame_has_the_rows_and_adds_up():
    flops = pamprof.count_flops(Stack(), needing(10, 8), backward=True)
    for by, key, rows in (("operator", "operator", flops.by_operator), ("module", "name", flops.by_module)):
        frame = flops.to_frame(by)
        assert list(frame[key]) == [getattr(row, key) for row in rows]
        for field in FIELDS:
            assert frame[field].sum() == getattr(flops, field)
            assert frame[f"backward_{field}"].sum() == getattr(flops.backward, field)


NUMBER = Counter()


def new_operator():
    """A new operator of the form x [n, k], w [k, m] -> [n, m], which no counter knows."""
    NUMBER["operators"] += 1
    name = f"pamprof_tests::product_{NUMBER['operators']}"

    @torch.library.custom_op(name, mutates_args=())
    def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return x @ w

    return name, product


class TestFormulas:
    x, w = torch.randn(3, 4), torch.randn(4, 5)

    def count(self, operator):
        return pamprof.count_flops(lambda: operator(self.x, self.w))

    def test_operator_without_a_formula_is_named_and_the_count_incomplete(self):
        name, operator = new_operator()
        flops = self.count(operator)
        assert not flops.complete
        assert [(each.operator, each.count) for each in flops.uncounted] == [(name, 1)]
        assert f'pamprof.flops_of("{name}", formula)' in str(flops)

    def test_formula_completes_the_count(self):
        name, operator = new_operator()
        pamprof.flops_of(name, lambda x, w, *, output: 2 * output.numel() * x.shape[1])
        flops = self.count(operator)
        assert flops.complete
        assert flops.matrix_flop_count == flops.matrix_dense_flop_count == 2 * 3 * 4 * 5

    def test_formula_may_decorate_name_the_operator_itself_and_be_replaced(self):
        name, operator = new_operator()
        pamprof.flops_of(name, lambda *args, output: 1)

        @pamprof.flops_of(operator)
        def work(x, w, *, output):
            return pamprof.OperatorWork(matrix_flop_count=7, elementwise_flop_count=x.numel())

        flops = self.count(operator)
        assert [getattr(flops, field) for field in FIELDS] == [7, 7, 12]
        assert work(self.x, self.w, output=None).matrix_flop_count == 7

    @pytest.mark.parametrize("found", [-1, 2.5, None, True])
    def test_formula_that_returns_no_count_is_refused(self, found):
        name, operator = new_operator()
        pamprof.flops_of(name, lambda *args, output: found)
        with pytest.raises(UsageError, match=f"{name} returned {found}; return a whole number"):
            self.count(operator)

    @pytest.mark.parametrize("name", ["product", "my::", "::product", "a::b::c", "pamprof::scan"])
    def test_name_without_namespace_or_of_pamprofs_own_is_refused(self, name):
        with pytest.raises(UsageError):
            pamprof.flops_of(name, lambda *args, output: 1)
