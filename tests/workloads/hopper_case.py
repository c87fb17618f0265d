"""Compile the output kernel for Hopper ahead of time and print, for each set of branches, what became of it as JSON.

In a process of its own, at whose end the bindings of Triton 3.9 complain of what they leaked.
"""

from __future__ import annotations

import json
import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource

from pamprof.workloads.kernels.core.output_hopper import WARPS, hopper_output_kernel

BRANCHES = ((False, True, False), (True, False, True), (True, True, False))


def compiled(*, enters: bool, keeps: bool, has_final: bool) -> triton.compiler.CompiledKernel:
    """The kernel for compute capability 9.0, with tensors and strides aligned as a model's are."""
    pointers = dict.fromkeys(("queries", "keys", "values", "output"), "*bf16")
    pointers |= dict.fromkeys(("sums", "cuts", "from_start", "to_end"), "*fp32")
    optional = {"entering": ("*fp32", enters), "kept": ("*bf16", keeps), "final": ("*fp32", has_final)}
    pointers |= {name: kind for name, (kind, given) in optional.items() if given}
    constants = {"ENTERS": enters, "KEEPS": keeps, "HAS_FINAL": has_final}
    constants |= {name: None for name, (_, given) in optional.items() if not given}
    names = hopper_output_kernel.arg_names
    kinds = pointers | {"scale": "fp32"}
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    aligned = [["tt.divisibility", 16]]
    attributes = {(names.index(name),): aligned for name in names if name in pointers or name.startswith("stride")}
    source = GluonASTSource(hopper_output_kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS})


if __name__ == "__main__":
    for enters, keeps, has_final in BRANCHES:
        kernel = compiled(enters=enters, keeps=keeps, has_final=has_final)
        code = kernel.asm["ptx"]
        found = {
            "keeps": keeps,
            "shared_bytes": kernel.metadata.shared,
            "products": code.count("wgmma.mma_async"),
            "left_in_flight": [int(left) for left in re.findall(r"wgmma\.wait_group\.sync\.aligned\s+(\d+)", code)],
        }
        sys.stdout.write(json.dumps(found) + "\n")
