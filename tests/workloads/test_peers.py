"""Layers of other libraries: what their kernels compute and cost, and what is said where they cannot run."""

from dataclasses import replace

import pytest
import torch

from pamprof.api.texts import layers_with_sources
from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, ImplementationKind, Phase, Scope
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.layers.foreign.source import load, parse_source
from pamprof.workloads.layers.peers import factories, tuning
from pamprof.workloads.layers.peers.recurrence import recurrence
from pamprof.workloads.layers.peers.work import RecurrenceWork, told
from pamprof.workloads.registry import PEER_LAYERS, definition

CPU = torch.device("cpu")
INSTALLED = (
    "gla",
    "simple_gla",
    "retnet",
    "delta_net",
    "gated_deltanet",
    "kda",
    "rwkv7",
    "mla",
    "mlstm",
)  # by the extra ``peers``
DECODING = tuple(name for name in INSTALLED if name != "mla")


def peer(name, arguments=""):
    return ForeignDefinition(name, PEER_LAYERS[name] + arguments, LocalInspector())


def vectors(*values):
    """[1, T, 1, channels] of a list of vectors."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


# What is computed, by hand.


def test_a_decaying_state_is_read_after_it_is_written():
    ones, values = vectors([1.0], [1.0], [1.0]), vectors([1.0], [2.0], [4.0])
    decay = torch.full((1, 3, 1, 1), 0.5).log()
    output, state = recurrence(ones, ones, values, decay=decay, scale=2.0)
    assert output.flatten().tolist() == pytest.approx([2.0, 2 * 2.5, 2 * 5.25])  # 1; 0.5 + 2; 1.25 + 4
    assert state.item() == pytest.approx(5.25)
    resumed, _ = recurrence(
        ones[:, 2:], ones[:, 2:], values[:, 2:], decay=decay[:, 2:], scale=2.0, state=state * 0 + 2.5
    )
    assert resumed.item() == pytest.approx(output[0, 2, 0, 0].item())


def test_the_delta_rule_replaces_what_a_key_held():
    first, second = [1.0, 0.0], [0.0, 1.0]
    keys, values = vectors(first, second, first), vectors([3.0, 5.0], [7.0, 9.0], [1.0, 2.0])
    output, state = recurrence(keys, keys, values, beta=torch.ones(1, 3, 1), scale=1.0)
    assert output[0, :, 0].tolist() == [[3.0, 5.0], [7.0, 9.0], [1.0, 2.0]]
    assert state[0, 0].tolist() == [[1.0, 2.0], [7.0, 9.0]]
    half, _ = recurrence(keys, keys, values, beta=torch.full((1, 3, 1), 0.5), scale=1.0)
    assert half[0, 2, 0].tolist() == pytest.approx([0.75 + 0.5, 1.25 + 1.0])  # half of 3, 5 was held; half way to 1, 2


def test_the_delta_rule_is_a_low_rank_transition_of_rwkv7():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 7, 3, 4, dtype=torch.float64) for _ in range(3))
    beta = torch.rand(2, 7, 3, dtype=torch.float64)
    decay = -torch.rand(2, 7, 3, 4, dtype=torch.float64)
    expected, _ = recurrence(q, k, v, beta=beta, decay=decay, scale=0.5)
    low_rank, _ = recurrence(
        q, k, v * beta[..., None], decay=decay, remove=k * decay.exp(), add=-k * beta[..., None], scale=0.5
    )
    assert torch.allclose(expected, low_rank, atol=1e-12)


# What it costs, by hand.


def test_products_of_a_chunked_recurrence_are_counted_term_by_term():
    sizes = {"heads": 3, "key_dim": 8, "value_dim": 16, "chunk_size": 4}
    # 10 positions: chunks of 4, 4 and 2 have 10 + 10 + 3 causal pairs of 16 + 16 + 4.
    linear = RecurrenceWork(rule="linear", **sizes).forward(2, 10)
    assert linear.matrix_flop_count == 2 * 3 * (2 * 23 * (8 + 16) + 2 * 2 * 10 * 8 * 16)
    assert linear.matrix_dense_flop_count == 2 * 3 * (2 * 36 * (8 + 16) + 2 * 2 * 10 * 8 * 16)
    delta = RecurrenceWork(rule="delta", **sizes).forward(1, 10)
    inverse = 64 // 3 + 64 // 3 + 8 // 3
    assert delta.matrix_flop_count == 3 * (2 * 23 * (3 * 8 + 2 * 16) + 3 * 2 * 10 * 8 * 16 + inverse)


@pytest.mark.parametrize(("rule", "products"), [("linear", 2), ("delta", 3), ("diagonal_plus_low_rank", 4)])
def test_a_single_position_costs_the_recurrence_alone(rule, products):
    work = RecurrenceWork(rule=rule, heads=2, key_dim=8, value_dim=16, convolved_weights=5).forward(3, 1)
    assert work.matrix_flop_count == work.matrix_dense_flop_count == 3 * (products * 2 * 2 * 8 * 16 + 2 * 5)


def test_scores_that_heads_share_are_counted_once():
    alone, shared = (
        RecurrenceWork(rule="linear", heads=4, key_dim=8, value_dim=2, score_heads=heads).forward(1, 4)
        for heads in (None, 1)
    )
    assert alone.matrix_flop_count - shared.matrix_flop_count == 2 * 10 * 8 * 3


def test_kernels_that_no_operator_stands_for_are_told_forward_and_backward():
    work = RecurrenceWork(rule="linear", heads=1, key_dim=2, value_dim=2).forward(1, 3)
    x = torch.ones(1, 3, 2, requires_grad=True)
    assert count_flops(lambda: told(x, work)).matrix_flop_count == work.matrix_flop_count
    counted = count_flops(lambda: told(x, work).sum().backward())
    assert counted.matrix_flop_count == 3 * work.matrix_flop_count
    assert counted.complete


# Names, refusals, tuning.


def test_peers_are_known_by_name_and_take_arguments():
    names, sources = layers_with_sources(["transformer,gla"], ["gla.tuning_seconds=5"])
    assert names == ("transformer", "gla")
    assert sources == {"gla": "pamprof.workloads.layers.peers.factories:gla(tuning_seconds=5)"}
    names, sources = layers_with_sources(["pam,peers"], [])
    assert names == ("pam", *PEER_LAYERS)
    assert set(sources) == set(PEER_LAYERS)
    for source in sources.values():
        assert load(parse_source(source)).__pamprof_layer__.oracle is not None


def test_a_library_that_is_not_installed_is_named_with_its_remedy_whatever_the_width(monkeypatch):
    monkeypatch.setattr(factories, "find_spec", lambda module: None)
    extra = "which is not installed; pip install 'pamprof\\[peers\\]'$"
    for name in ("gla", "mla", "rwkv7"):
        with pytest.raises(UnsupportedError, match=f"^layer {name}: it needs flash-linear-attention, {extra}"):
            peer(name).preset("tiny")
    with pytest.raises(UnsupportedError, match=f"^layer mlstm: it needs mlstm-kernels, {extra}"):
        peer("mlstm").preset("tiny")
    with pytest.raises(
        UnsupportedError, match=r"^layer mamba2: it needs mamba-ssm, .*; build it with nvcc: pip install"
    ):
        peer("mamba2").preset("tiny")


def test_a_peers_name_cannot_be_taken_by_a_package(monkeypatch):
    from pamprof.workloads import registry

    point = registry.EntryPoint(name="gla", value="somewhere:gla", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point])
    assert registry.layer_sources()["gla"] == (PEER_LAYERS["gla"],)
    with pytest.raises(UsageError, match="no layer 'glaa'; did you mean gla"):
        definition("glaa")


class Autotuner:
    """What Triton's has, as far as it is limited: each trial takes a second of ``clock``."""

    clock = 0.0

    def __init__(self, function, configurations):
        self.base_fn, self.configs = function, configurations

    def prune_configs(self, given):
        del given
        return self.configs

    def _bench(self, *, config):
        Autotuner.clock += 1.0
        return 10.0 - len(config)

    def run(self):
        tried = self.prune_configs({})
        self.best_config = min(tried, key=lambda config: self._bench(config=config)) if len(tried) > 1 else tried[0]
        return self.best_config


def test_tuning_stops_at_its_limit_and_the_record_says_what_was_untried(monkeypatch):
    def kernel_of(module):
        def kernel():
            """Of a library."""

        kernel.__module__ = module
        return kernel

    monkeypatch.setattr(tuning, "perf_counter", lambda: Autotuner.clock)
    monkeypatch.setattr(tuning, "_TUNING", tuning._Tuning(layer="GatedLinearAttention", limit_seconds=3.0))
    tuning.limit(Autotuner)
    configurations = ["a", "bbb", "cc"]
    first, second = (Autotuner(kernel_of(f"fla.ops.{name}"), configurations) for name in ("one", "two"))
    own = Autotuner(kernel_of("pamprof.kernels"), configurations)
    assert (first.run(), second.run(), own.run()) == ("bbb", "a", "bbb")  # the second's time was up
    notes = tuning.kernel_notes()
    assert notes.configurations[0].startswith("kernels of flash-linear-attention")
    assert notes.configurations[1:] == ("kernel: bbb", "kernel: a")
    assert notes.refused == ("kernel: other configurations, untried because tuning took its 3 s",)
    assert tuning.kernel_notes().configurations == ()  # told once, of the workload that ran them


# With the libraries.


@pytest.fixture(scope="module")
def libraries():
    pytest.importorskip("fla", reason="needs the extra peers")
    pytest.importorskip("mlstm_kernels", reason="needs the extra peers")


@pytest.fixture
def on_cpu(libraries, monkeypatch):
    """Peers that are measured in plain torch, so that their checks run here."""
    from pamprof.workloads.layers.peers.module import Peer

    monkeypatch.setattr(Peer, "device_kind", "cpu")
    monkeypatch.setattr(Peer, "checked_length", 13)  # steps of plain torch take their time


@pytest.mark.parametrize("name", INSTALLED)
def test_the_librarys_layer_is_planned_without_a_gpu(libraries, name):
    made = peer(name)
    spec = made.preset("tiny")
    assert made.phases == (
        (Phase.TRAIN, Phase.PREFILL, Phase.DECODE) if name in DECODING else (Phase.TRAIN, Phase.PREFILL)
    )
    assert made.implementation_kinds == ({} if name == "mla" else {"module": ImplementationKind.KERNELS})
    sizes = {"phase": Phase.TRAIN, "scope": Scope.MODEL, "batch_size": 2, "sequence_length": 128}
    assert made.flop_count(spec, **sizes).matrix_flop_count > 0
    with pytest.raises(UnsupportedError, match=f"layer {name}: its kernels run on cuda, and this device is cpu"):
        made.build(spec, implementation="module", scope=Scope.MODEL, device=CPU, seed=0)


@pytest.mark.parametrize(
    ("name", "matrix", "convolved"),
    [  # of one sequence in one block at the tiny width: one head of each
        ("gla", 128 * 256, 0),
        ("simple_gla", 128 * 128, 3 * 128 * 4),
        ("retnet", 128 * 256, 0),
        ("delta_net", 128 * 128, 3 * 128 * 4),
        ("gated_deltanet", 128 * 256, (128 + 128 + 256) * 4),
        ("kda", 128 * 128, 3 * 128 * 4),
        ("mlstm", 128 * 256 + 128 + 1, 0),
    ],
)
def test_state_bytes_are_those_of_the_librarys_cache(libraries, name, matrix, convolved):
    made = peer(name)
    spec = made.preset("tiny")
    for dtype, width in ((Dtype.FLOAT32, 4), (Dtype.BFLOAT16, 2)):
        found = made.state_byte_count(spec, scope=Scope.LAYER, batch_size=3, context=512, dtype=dtype)
        assert found == 3 * (4 * matrix + width * convolved)  # the recurrence's state stays in float32


@pytest.mark.parametrize("name", INSTALLED)
def test_every_phase_agrees_with_the_reference(on_cpu, name):
    made = peer(name)
    spec = replace(made.preset("tiny"), depth=1)
    for phase in made.phases:
        error, oracle = made.oracle_error(
            spec, implementation="module", phase=phase, device=CPU, dtype=Dtype.FLOAT32, seed=0
        )
        assert oracle == f"the oracle of {name}"
        assert error < 1e-5


def test_the_recurrence_is_that_of_the_librarys_references(libraries):
    from fla.ops.delta_rule.naive import delta_rule_recurrence
    from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
    from fla.ops.gla.naive import naive_recurrent_gla
    from fla.ops.kda.naive import naive_recurrent_kda
    from fla.ops.retention.naive import naive_retention

    from pamprof.workloads.layers.peers.plain import _retention

    torch.manual_seed(0)
    q, k, v, a, b = (torch.randn(2, 9, 3, 4) / 2 for _ in range(5))
    decay, beta = -torch.rand(2, 9, 3, 4), torch.rand(2, 9, 3)
    by_head = [tensor.transpose(1, 2) for tensor in (q, k, v, a, b, decay)]
    expected = {
        "gla": (naive_recurrent_gla(q, k, v, decay)[0], {"decay": decay}),
        "kda": (naive_recurrent_kda(q, k, v, decay, beta)[0], {"decay": decay, "beta": beta}),
        "delta": (
            delta_rule_recurrence(*by_head[:3], beta.transpose(1, 2))[0].transpose(1, 2),
            {"beta": beta},
        ),
        "dplr": (dplr_recurrence(*by_head)[0].transpose(1, 2), {"remove": a, "add": b, "decay": decay}),
        "retention": (
            naive_retention(*by_head[:3]).transpose(1, 2),
            {"decay": _retention(q=q, k=k, v=v)["decay"]},
        ),
    }
    for name, (right, given) in expected.items():
        found, _ = recurrence(q, k, v, scale=0.5, **given)
        assert torch.allclose(found, right, atol=2e-6), name
