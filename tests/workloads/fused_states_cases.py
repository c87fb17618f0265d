"""Errors of the fused block with several states against the planar one in float32, printed as JSON.

Run by test_pam_fused in Triton's interpreter. The planar block is held to a recurrence in float64 by test_pam_states.
"""

import json
from dataclasses import replace

import torch

from pamprof.records import Dtype, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.recurrent.oracle import excite, open_gates

SPEC = replace(DEFINITION.preset("tiny"), model_dim=24, heads=2, head_dim=12, hidden_dim=16, state_count=3)
LENGTH = 21  # two chunks of the float32 kernels
errors: dict[str, float] = {}


def blocks(spec):
    """The same weights in both implementations."""
    built = [
        DEFINITION.build(spec, implementation=name, scope=Scope.LAYER, device=torch.device("cpu"), seed=0)
        for name in ("fused", "planar")
    ]
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(2, spec.model_dim, generator=generator, dtype=torch.float64)
    excite(built[1], generator)
    open_gates(built[1], common / common.norm(dim=0), generator)
    built[0].load_state_dict(built[1].state_dict())
    return built, common


def record(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    errors[f"{name} #{len(errors)}"] = float((found.double() - expected.double()).norm() / expected.double().norm())


def training(spec) -> None:
    built, common = blocks(spec)
    inputs = (common + 0.5 * torch.randn(1, LENGTH, 2, spec.model_dim, dtype=torch.float64)).float()
    along = torch.randn(inputs.shape)
    results = []
    for block in built:
        given = inputs.clone().requires_grad_(True)
        output = block(given)
        names, leaves = zip(*block.named_parameters(), strict=True)
        gradients = torch.autograd.grad((output * along).sum(), (given, *leaves))
        results.append({"output": output.detach(), **dict(zip(("input", *names), gradients, strict=True))})
    for name, expected in results[1].items():
        record(f"train {name}", results[0][name], expected)


def inference(spec, batch: int, state_dtype: Dtype | None) -> None:
    built, common = blocks(replace(spec, state_dtype=state_dtype))
    inputs = (common + 0.5 * torch.randn(batch, LENGTH, 2, spec.model_dim, dtype=torch.float64)).float()
    kind = "decode" if state_dtype is None else "decode_rounded"
    with torch.no_grad():
        for block in built:
            block.prepare_inference(Dtype.FLOAT32)
        states = [block.new_state(batch, LENGTH) for block in built]
        pieces = ((0, 18), (18, 20)) if batch == 1 else ((0, 2),)
        for start, end in pieces:
            found, expected = (
                block.prefill(inputs[:, start:end], state, start) for block, state in zip(built, states, strict=True)
            )
            record("prefill" if state_dtype is None else kind, found, expected)
        found, expected = (
            block.decode(inputs[:, end : end + 1], state, end) for block, state in zip(built, states, strict=True)
        )
    record(f"{kind} {batch}", found, expected)
    record(f"{kind} state", *(state.tensors[0].float() for state in states))


torch.manual_seed(0)
training(replace(SPEC, gate_reads_parts=True))
inference(replace(SPEC, gate_reads_parts=True), 1, None)
inference(SPEC, 1, Dtype.BFLOAT16)
inference(SPEC, 17, None)
print(json.dumps(errors))
