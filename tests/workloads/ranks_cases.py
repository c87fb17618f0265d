"""Two ranks beside one device with the same weights and tokens: relative differences by case, printed as JSON.

One launch serves all cases. In float64, without kernels; ``fused_ranks_cases`` has those.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from pamprof.measure.ranks.worker import launch
from pamprof.records import Dtype, Execution, Parallel, Phase, RankLayout, Scope, Workload
from pamprof.workloads.base import SplitsTensors
from pamprof.workloads.parallel.step import RankStep
from pamprof.workloads.parallel.tensor_parallel import own_part
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

RANKS = 2
CPU = torch.device("cpu")
SIZES = {
    "pam": {"heads": 4, "state_count": 2},
    "real_pam": {"heads": 4},
    "transformer": {"heads": 4, "head_dim": 18},
    "llama": {"heads": 4, "head_dim": 20, "key_value_heads": 2},
}
TRAINED = (
    ("pam", "planar", Parallel.DDP, False),
    ("pam", "planar", Parallel.FSDP, True),
    ("pam", "planar", Parallel.TP, True),
    ("pam", "complex", Parallel.TP, False),
    ("pam", "published", Parallel.TP, False),
    ("pam", "gauss", Parallel.FSDP, False),
    ("real_pam", "planar", Parallel.TP, False),
    ("transformer", "sdpa", Parallel.DDP, True),
    ("transformer", "sdpa", Parallel.FSDP, False),
    ("transformer", "sdpa", Parallel.TP, False),
    ("llama", "sdpa", Parallel.FSDP, False),
    ("llama", "sdpa", Parallel.TP, True),
)
SERVING = (Phase.PREFILL, Phase.DECODE)
SERVED = (("pam", "planar"), ("real_pam", "planar"), ("transformer", "sdpa"), ("llama", "sdpa"))

Case = tuple[str, str, Phase, Parallel, bool]


def workload(case: Case, *, tokens: int = 20, **sizes: int) -> Workload:
    layer, implementation, phase, parallel, recomputes = case
    spec = replace(definition(layer).preset("tiny"), vocabulary_size=101, **{**SIZES[layer], **sizes})
    return Workload(
        spec=spec,
        implementation=implementation,
        execution=Execution.EAGER,
        phase=phase,
        scope=Scope.MODEL,
        batch_size=4,
        sequence_length=tokens,
        dtype=Dtype.FLOAT32,
        layout=RankLayout(parallel=parallel, ranks=RANKS, checkpoints_activations=recomputes),
    )


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


def differences(shared: Workload, mesh: DeviceMesh) -> dict[str, float]:
    """Of the loss or the logits, of the norm of all gradients, and of the worst gradient."""
    layer = definition(shared.spec.layer)
    alone = PreparedStep(replace(shared, layout=None), layer, device=CPU, seed=0)
    ranked = RankStep(shared, layer, device=CPU, seed=0, mesh=mesh)
    alone.reset()
    ranked.reset()
    expected, found = alone.eager().clone(), ranked.eager().clone()
    if shared.phase is not Phase.TRAIN:
        assert alone.state is not None
        assert ranked.state is not None
        return {"logits": difference(found, expected), "state": ranked.state.byte_count() / alone.state.byte_count()}
    assert shared.layout is not None
    if shared.layout.parallel is not Parallel.TP:
        distributed.all_reduce(found)
        found /= RANKS
    assert isinstance(layer, SplitsTensors)
    split, worst = layer.tensor_split(shared.spec), 0.0
    for (name, whole), own in zip(alone.module.named_parameters(), ranked.module.parameters(), strict=True):
        assert whole.grad is not None
        assert own.grad is not None
        gradient = own.grad.full_tensor() if isinstance(own.grad, DTensor) else own.grad
        wanted = whole.grad
        if shared.layout.parallel is Parallel.TP and name.startswith("blocks."):
            part = own_part(name.split(".", 2)[2], wanted, split, rank=distributed.get_rank(), ranks=RANKS)
            wanted = wanted if part is None else part
        worst = max(worst, difference(gradient, wanted))
    assert alone.gradient_norm is not None
    assert ranked.gradient_norm is not None
    norm = difference(ranked.gradient_norm.detach(), alone.gradient_norm.detach())
    return {"loss": difference(found, expected), "norm": norm, "gradient": worst}


def on_rank(cases: dict[str, Workload], dtype: str, path: str) -> None:
    """The worst of both ranks, written by rank 0."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (RANKS,))
    found: dict[str, float] = {}
    for name, shared in cases.items():
        torch.set_default_dtype(getattr(torch, dtype) if shared.phase is Phase.TRAIN else torch.float32)
        found |= {f"{name} {what}": value for what, value in differences(shared, mesh).items()}
    every: list[dict[str, float] | None] = [None] * RANKS
    distributed.all_gather_object(every, found)
    if distributed.get_rank() == 0:
        worst = {name: max(each[name] for each in every if each is not None) for name in found}
        Path(path).write_text(json.dumps(worst), encoding="utf-8")
    distributed.destroy_process_group()


def measured_by_ranks(cases: dict[str, Workload], dtype: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "differences.json"
        launch(on_rank, RANKS, cases, dtype, str(path))
        return path.read_text(encoding="utf-8")


def named(case: Case) -> str:
    layer, implementation, phase, parallel, recomputes = case
    return f"{layer} {implementation} {phase} {parallel}{' recomputed' if recomputes else ''}"


if __name__ == "__main__":
    chosen: list[Case] = [
        *((layer, code, Phase.TRAIN, parallel, recomputes) for layer, code, parallel, recomputes in TRAINED),
        *((layer, code, phase, Parallel.TP, False) for layer, code in SERVED for phase in SERVING),
    ]
    sys.stdout.write(measured_by_ranks({named(case): workload(case) for case in chosen}, "float64"))
