"""Stored weights: layouts, sizes from shapes, the first key that does not fit, and files that are not run."""

import json
import pickle
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from pamprof.errors import SpecError, UsageError
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.flops.target.known import registered
from pamprof.measure.flops.target.request import CountedPhase, CountRequest
from pamprof.measure.serving.request import SWEEP, SweepRequest
from pamprof.measure.session.arm.runner import ArmRunner
from pamprof.measure.session.matched_arms import planned_arms
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.stored_sizes import stored_spec
from pamprof.measure.session.wire import GroupRequest, decode_request
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.checkpoints.files import identity, read_shapes, read_weights
from pamprof.workloads.checkpoints.weights import know_checkpoints, weights_of
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.registry import definition

SIZES = {
    "pam": {"model_dim": 12, "heads": 2, "head_dim": 4, "depth": 2, "hidden_dim": 20, "activation": "modrelu"},
    "vector_pam": {"model_dim": 12, "heads": 2, "head_dim": 4, "depth": 3, "hidden_dim": 20, "activation": "modswish"},
    "real_pam": {"model_dim": 12, "heads": 3, "head_dim": 2, "depth": 2, "hidden_dim": 20, "activation": "relu"},
    "transformer": {"model_dim": 24, "heads": 3, "head_dim": 8, "depth": 2, "hidden_dim": 40},
    "llama": {"model_dim": 24, "heads": 4, "head_dim": 6, "depth": 2, "hidden_dim": 40, "key_value_heads": 2},
}


def spec_of(layer):
    return replace(definition(layer).preset("tiny"), vocabulary_size=101, **SIZES[layer])


def model_of(spec, scope=Scope.MODEL, seed=7):
    layer = definition(spec.layer)
    implementation = "planar" if "planar" in layer.implementations else layer.implementations[0]
    return layer.build(spec, implementation=implementation, scope=scope, device=torch.device("cpu"), seed=seed)


def tensors_of(spec):
    """Weights unlike any initial value, so that one that is not loaded shows."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: 0.3 * torch.randn(value.shape, generator=generator) + 1
        for name, value in model_of(spec).state_dict().items()
    }


def arm_of(layer, path, **sizes):
    """The planned arm of ``layer`` with the weights in ``path``, known to this process as to a worker."""
    (arm,), _ = planned_arms(
        preset="tiny", sizes=sizes, layers=(layer,), match_axis="parameters", sequence_length=64,
        dtype=Dtype.FLOAT32, checkpoints={layer: path},
    )  # fmt: skip
    know_checkpoints({arm.spec.checkpoint: str(path)})
    return arm


def in_v6(tensors):
    """The same model as qllm2's v6 stores it, with the norm that it never uses."""
    found = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        number, _, part = rest.partition(".")
        if first != "blocks":
            changed = name.replace("output_norm", "backbone.pam_output_norm")
        elif part.startswith("norm1"):
            changed = f"backbone.feature_layers.{number}.{part.replace('norm1', 'norm')}"
        elif part.startswith("cgu."):
            changed = f"backbone.feature_layers.{number}.{part}"
        elif part.startswith("norm2"):
            changed = f"backbone.pam_norms.{number}.scale"
        elif part.startswith("pam."):
            changed = f"backbone.pam_layers.{number}.{part.removeprefix('pam.')}"
            found[f"backbone.pam_layers.{number}.norm.scale"] = torch.zeros(12)
        else:
            changed = f"backbone.{'feature' if part == 'cgu_scale' else 'pam'}_scales.{number}"
        if ".qkv_proj." in changed:
            for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                found[changed.replace("qkv", letter)] = piece
        else:
            found[changed] = tensor
    return found


def in_gpt2(tensors):
    """The same model as transformers stores GPT-2."""
    names = {
        "attention_norm": "ln_1", "query_key_value": "attn.c_attn", "attention_output": "attn.c_proj",
        "feed_forward_norm": "ln_2", "up": "mlp.c_fc", "down": "mlp.c_proj",
    }  # fmt: skip
    found = {"h.0.attn.bias": torch.ones(1, 1, 4, 4).tril(), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    for name, tensor in tensors.items():
        if name.startswith("blocks."):
            _, number, part, kind = name.split(".")
            product = names[part].partition(".")[2] and kind == "weight"
            found[f"h.{number}.{names[part]}.{kind}"] = tensor.t().contiguous() if product else tensor
        else:
            found[{"token_embedding": "wte.weight", "position_embedding": "wpe.weight"}.get(
                name, name.replace("head.norm", "ln_f")
            )] = tensor  # fmt: skip
    return {f"transformer.{name}": tensor for name, tensor in found.items()}


def in_published(tensors):
    """The same model as the published transformer baseline is stored, its tied head written out."""
    names = {
        "attention_norm": "ln1", "query_key_value": "attn.qkv", "attention_output": "attn.out_proj",
        "feed_forward_norm": "ln2", "up": "ffn.fc1", "down": "ffn.fc2",
    }  # fmt: skip
    found = {"lm_head.weight": tensors["token_embedding"].clone()}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            found[f"blocks.{parts[1]}.{names[parts[2]]}.{parts[3]}"] = tensor
        else:
            found[{"token_embedding": "token_embed.weight", "position_embedding": "pos_embed.weight"}.get(
                name, name.replace("head.norm", "ln_f")
            )] = tensor  # fmt: skip
    return found


def unchanged(tensors):
    return tensors


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        ("pam", unchanged), ("pam", in_v6), ("real_pam", unchanged), ("vector_pam", unchanged), ("llama", unchanged),
        ("transformer", unchanged), ("transformer", in_gpt2), ("transformer", in_published),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_sizes_come_from_the_shapes_and_the_measured_model_runs_on_the_weights(tmp_path, layer, layout, kind):
    spec = spec_of(layer)
    tensors = tensors_of(spec)
    path = tmp_path / f"weights.{kind}"
    if kind == "torch":
        training = {"model_state_dict": {f"_orig_mod.{name}": value for name, value in layout(tensors).items()}}
        torch.save({**training, "optimizer_state_dict": {"state": {}}, "config": {"n_heads": spec.heads}}, path)
    else:
        save_file(layout(tensors), path)
        (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": spec.heads}))
    arm = arm_of(layer, path)
    assert arm.spec.checkpoint == identity(path)
    assert {name: getattr(arm.spec, name) for name in SIZES[layer]} == SIZES[layer]
    assert arm.spec.vocabulary_size == 101
    loaded = model_of(arm.spec).state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor), name
    block = model_of(arm.spec, Scope.LAYER).state_dict()
    for name, tensor in block.items():
        assert torch.equal(tensor, tensors[name]), name


def test_a_whole_gate_runs_on_the_weights(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors_of(spec_of("pam")), path)
    layer, spec = definition("pam"), arm_of("pam", path).spec
    cpu = {"device": torch.device("cpu"), "dtype": Dtype.FLOAT32, "phase": Phase.PREFILL, "implementation": "planar"}
    for seed in (0, 1):
        error, _ = layer.oracle_error(spec, **cpu, seed=seed)
        assert 0 < error < 1e-5


def test_the_other_arms_are_matched_to_the_files_sizes(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors_of(spec_of("transformer")), path)
    (tmp_path / "config.json").write_text('{"n_head": 3}')
    arms, _ = planned_arms(
        preset="tiny", sizes={}, layers=("transformer", "pam"), match_axis="parameters", sequence_length=64,
        dtype=Dtype.FLOAT32, checkpoints={"transformer": path},
    )  # fmt: skip
    transformer, pam = arms
    assert transformer.facts.parameter_count == sum(t.numel() for t in tensors_of(spec_of("transformer")).values())
    assert pam.facts.parameter_count == pytest.approx(transformer.facts.parameter_count, rel=0.01)
    assert pam.spec.vocabulary_size == 101
    assert pam.spec.checkpoint is None


def test_a_position_table_that_is_lengthened_keeps_the_files_rows(tmp_path):
    tensors = tensors_of(spec_of("transformer"))
    tensors["position_embedding"] = tensors["position_embedding"][:16].contiguous()
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    (tmp_path / "config.json").write_text('{"n_head": 3}')
    spec = arm_of("transformer", path).spec
    assert spec.maximum_sequence_length == 16
    longer = model_of(replace(spec, maximum_sequence_length=32)).position_embedding
    assert torch.equal(longer[:16], tensors["position_embedding"])
    assert 0 < float(longer[16:].detach().std()) < 0.03  # GPT-2's initial values


def test_what_no_shape_tells_stays_the_users(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors_of(spec_of("pam")), path)
    assert arm_of("pam", path, chunk_size=16).spec.chunk_size == 16
    with pytest.raises(UsageError, match=r"--depth says nothing about w\.safetensors, which has its own sizes"):
        arm_of("pam", path, depth=3)


@pytest.mark.parametrize(
    ("layer", "change", "said"),
    [
        ("pam", lambda d: d.pop("blocks.1.pam.dt_bias"), r"missing blocks\.1\.pam\.dt_bias of shape \(2,\)"),
        (
            "pam",
            lambda d: d.update({"blocks.0.pam.protect_gate.weight": torch.zeros(2, 24)}),
            r"'blocks\.1\.pam\.protect_gate\.weight' has shape \(2, 12\) where the other sizes ask for \(2, 24\)",
        ),
        (
            "pam",
            lambda d: d.update({"blocks.0.pam.state_dt_offset": torch.zeros(3)}),
            r"missing blocks\.0\.pam\.phase_proj\.weight of shape \(6, 12\)",
        ),
        ("transformer", lambda d: d.pop("token_embedding"), r"token_embedding must have two axes, and nothing was"),
        (
            "transformer",
            lambda d: d.update({"blocks.1.up.bias": torch.zeros(41)}),
            r"'blocks\.1\.up\.bias' has shape \(41,\) where the other sizes ask for \(40,\)",
        ),
        ("llama", lambda d: d.pop("head.norm.weight"), r"missing head\.norm\.weight of shape \(24,\)"),
    ],
)
def test_the_first_key_that_does_not_fit_is_named_with_its_shapes(tmp_path, layer, change, said):
    tensors = tensors_of(spec_of(layer))
    change(tensors)
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    (tmp_path / "config.json").write_text(json.dumps({"n_head": spec_of(layer).heads}))
    with pytest.raises(SpecError, match=rf"^--checkpoint {layer}=w\.safetensors: .*{said}"):
        arm_of(layer, path)


def test_a_head_that_is_not_the_embedding_is_refused_when_it_is_loaded(tmp_path):
    tensors = in_published(tensors_of(spec_of("transformer")))
    tensors["lm_head.weight"] += 1
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    (tmp_path / "config.json").write_text('{"n_head": 3}')
    with pytest.raises(SpecError, match=r"lm_head\.weight is not the embedding"):
        model_of(arm_of("transformer", path).spec)


def test_a_count_of_heads_that_nothing_tells_is_asked_for(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors_of(spec_of("transformer")), path)
    with pytest.raises(SpecError, match=r'how many heads a transformer of width 24 has; put \{"n_head": 12\}'):
        arm_of("transformer", path)


def test_a_preset_of_the_same_width_tells_the_heads_and_gpt2_its_own(tmp_path):
    tiny = definition("transformer").preset("tiny")
    save_file(tensors_of(tiny), tmp_path / "w.safetensors")
    assert arm_of("transformer", tmp_path / "w.safetensors").spec.heads == 3
    wide = replace(tiny, model_dim=128, heads=2, head_dim=64, hidden_dim=16, depth=2)
    save_file(in_gpt2(tensors_of(wide)), tmp_path / "gpt2.safetensors")
    assert arm_of("transformer", tmp_path / "gpt2.safetensors").spec.heads == 2


class _Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_file_with_code_is_refused_in_one_sentence_and_not_run(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"weight": torch.zeros(2), "code": _Code()}, path)
    with pytest.raises(UsageError) as refused:
        read_shapes(path)
    assert "evil.pt holds code or objects beside tensors" in str(refused.value)
    assert "\n" not in str(refused.value)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(UsageError, match=r"plain\.pt is neither safetensors nor a torch file of tensors alone"):
        read_weights(tmp_path / "plain.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is neither safetensors nor a torch file"),
        (b"no such thing", "is neither safetensors nor a torch file"),
        (b"\x08\0\0\0\0\0\0\0{broken}", "is no whole safetensors file"),
        (b"PK\x03\x04 and no more", "is neither safetensors nor a torch file"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "w.bin"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_shapes(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_without_tensors_and_no_file_are_told(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"w\.pt holds no tensors by name"):
        read_shapes(tmp_path / "w.pt")
    with pytest.raises(UsageError, match="No such file"):
        identity(tmp_path / "none.pt")


def test_the_identity_has_name_and_hash_and_follows_the_content(tmp_path):
    path = tmp_path / "w\n\u202e.bin"
    path.write_bytes(b"abc")
    assert identity(path) == "w__.bin sha256:ba7816bf8f01"  # FIPS 180-4's own example
    path.write_bytes(b"abcd")
    assert identity(path) == "w__.bin sha256:88d4266fd4e6"


def test_the_key_of_a_workload_names_its_weights_and_no_folder():
    from tests.synthetic import synthetic_workload

    plain = synthetic_workload()
    stored = replace(plain, spec=replace(plain.spec, checkpoint="w.pt sha256:ba7816bf8f01"))
    assert stored.key == f"{plain.key} w.pt sha256:ba7816bf8f01"
    assert LayerSpec.__dataclass_fields__["checkpoint"].default is None


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_a_gpt2_of_transformers_computes_the_same_logits_here(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32, "vocab_size": 101}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, activation_function="gelu")).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    spec = arm_of("transformer", tmp_path / "model.safetensors").spec
    assert (spec.heads, spec.head_dim, spec.hidden_dim, spec.maximum_sequence_length) == (3, 8, 96, 32)
    ids = torch.randint(0, 101, (2, 17))
    with torch.no_grad():
        torch.testing.assert_close(model_of(spec).eval()(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def foreign(name="gru", factory="gru"):
    made = ForeignDefinition(name, f"tests.measure.any_layer.given:{factory}", LocalInspector())
    spec = replace(made.resize(made.preset("tiny"), 16), hidden_dim=24, vocabulary_size=101)
    return made, spec


def stored_for(made, spec, tensors, path, scope=Scope.MODEL):
    torch.save(tensors, path)
    know_checkpoints({identity(path): str(path)})
    stored = replace(spec, checkpoint=identity(path))
    return made.build(stored, implementation="module", scope=scope, device=torch.device("cpu"), seed=0)


def test_a_module_of_others_runs_on_its_own_weights_in_every_block(tmp_path):
    made, spec = foreign()
    weights = {name: torch.randn_like(value) for name, value in torch.nn.GRU(16, 16).state_dict().items()}
    for scope, count in ((Scope.MODEL, spec.depth), (Scope.LAYER, 1)):
        model = stored_for(made, spec, weights, tmp_path / "w.pt", scope)
        assert len(model.blocks) == count
        for block in model.blocks:
            for name, value in block.given.state_dict().items():
                assert torch.equal(value, weights[name])


def test_a_whole_carrier_runs_on_its_weights(tmp_path):
    made, spec = foreign()
    names = stored_for(made, spec, torch.nn.GRU(16, 16).state_dict(), tmp_path / "w.pt").state_dict()
    weights = {name: torch.randn_like(value) for name, value in names.items()}
    for scope in Scope:
        for name, value in stored_for(made, spec, weights, tmp_path / "all.pt", scope).state_dict().items():
            assert torch.equal(value, weights[name]), name


class TiedModel(torch.nn.Module):
    """A whole model of somebody, whose head is its embedding."""

    def __init__(self, vocabulary_size, width):
        super().__init__()
        self.table = torch.nn.Embedding(vocabulary_size, width)
        self.head = torch.nn.Linear(width, vocabulary_size, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


def test_a_whole_model_of_others_runs_on_its_weights_with_tied_ones_stored_once(tmp_path):
    made = ForeignDefinition("tied", "tests.workloads.test_checkpoints:tied_model(carrier='model')", LocalInspector())
    spec = replace(made.preset("tiny"), vocabulary_size=101)
    table = torch.randn(101, spec.model_dim)
    model = stored_for(made, spec, {"table.weight": table}, tmp_path / "w.pt")
    assert torch.equal(model.given.table.weight, table)
    assert torch.equal(model.given.head.weight, table)
    with pytest.raises(SpecError, match=r"missing table\.weight of shape \(101, "):
        stored_for(made, spec, {"tables.weight": table}, tmp_path / "other.pt")


def tied_model(width, vocab_size=101):
    return TiedModel(vocab_size, width)


def test_weights_of_another_width_are_told_by_their_first_key(tmp_path):
    made, spec = foreign()
    with pytest.raises(
        SpecError, match=r"'weight_ih_l0' has shape \(36, 12\) where the other sizes ask for \(48, 16\)"
    ):
        stored_for(made, spec, torch.nn.GRU(12, 12).state_dict(), tmp_path / "w.pt")


def test_a_layer_that_builds_itself_has_to_load_its_weights_itself(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"--checkpoint own: its package builds the layer itself; let it load w\.pt"):
        stored_spec(SimpleNamespace(name="own"), path, preset="tiny", sizes={})


def test_a_worker_is_told_where_the_files_lie(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.arange(3)}, path)
    request = GroupRequest(
        session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=(), done=(), settings=Settings(),
        ceilings=False, checkpoints={identity(path): str(path)},
    )  # fmt: skip
    ArmRunner(decode_request(msgspec.json.encode(request)))
    assert torch.equal(weights_of(identity(path)).tensors["weight"], torch.arange(3))
    with pytest.raises(UsageError, match=r"nothing is known of the checkpoint other\.pt sha256:0"):
        weights_of("other.pt sha256:0")


def sweep_request(tmp_path, checkpoints):
    return SweepRequest(
        command="", output_dir=tmp_path, resume=False, device="cpu", preset="tiny", layers=("pam",),
        implementations=(), state_dtypes=(Dtype.FLOAT32, Dtype.BFLOAT16), execution=None, dtype=None, contexts=(),
        prompts=(), largest_batch=1, time_budget_seconds=None, settings={}, checkpoints=checkpoints,
    )  # fmt: skip


def test_a_sweep_visits_the_files_sizes_in_every_dtype_of_the_state(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors_of(spec_of("pam")), path)
    plan = SWEEP.plan(sweep_request(tmp_path, {"pam": path}), "cpu", None)
    assert plan.preset is None
    assert {(workload.spec.checkpoint, workload.spec.depth) for workload in plan.pending} == {(identity(path), 2)}
    assert {workload.spec.state_dtype for workload in plan.pending} == {None, Dtype.BFLOAT16}
    with pytest.raises(UsageError, match="--checkpoint names llama, which is not measured; layers are pam"):
        SWEEP.plan(sweep_request(tmp_path, {"llama": path}), "cpu", None)


def test_a_count_takes_its_sizes_from_the_file(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors = tensors_of(spec_of("pam"))
    save_file(tensors, path)
    request = CountRequest(
        target="pam", is_configuration=False, batch_size=1, sequence_length=8, phase=CountedPhase.FORWARD,
        timeout_seconds=60.0, implementation="planar", checkpoint=str(path),
    )  # fmt: skip
    found = registered(request, 8)(torch.device("meta"))
    assert sum(p.numel() for p in found.module.parameters()) == sum(t.numel() for t in tensors.values())
    assert found.description == f"sizes of {identity(path)}, model, planar"
