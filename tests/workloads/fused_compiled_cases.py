"""Errors of compiled fused steps against the same steps launched bare, printed as JSON.

Run by test_pam_fused in Triton's interpreter.
"""

import json
from dataclasses import replace

import torch

from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.steps import PreparedStep
from tests.workloads.fused_block_cases import CPU, SPEC, difference, errors


def compiled() -> None:
    """Each phase traced whole, through the operators the kernels are, against the bare launches."""
    for phase, batch in ((Phase.TRAIN, 2), (Phase.PREFILL, 2), (Phase.DECODE, 2), (Phase.DECODE, 16)):
        workload = Workload(
            spec=replace(SPEC, depth=1),
            implementation="fused",
            execution=Execution.EAGER,
            dtype=Dtype.FLOAT32,
            phase=phase,
            scope=Scope.MODEL,
            batch_size=batch,
            sequence_length=5,
        )
        plain, traced = (PreparedStep(workload, DEFINITION, device=CPU, seed=0) for _ in range(2))
        for region in (*traced.model.blocks, *traced.model.compiled_regions()):
            region.compile(dynamic=False, backend="aot_eager", fullgraph=True)
        for step in (plain, traced):
            step.reset()
        errors[f"compiled {phase} {batch}"] = difference(traced.eager(), plain.eager())
        for (name, found), expected in zip(traced.module.named_parameters(), plain.module.parameters(), strict=True):
            errors[f"compiled {phase} {batch} {name}"] = difference(found, expected)


if __name__ == "__main__":
    torch.set_num_threads(1)
    compiled()
    print(json.dumps(errors))
