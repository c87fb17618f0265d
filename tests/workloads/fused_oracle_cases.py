"""What the oracle says of every form of a fused decode step, and whether it notices each wrong kernel, printed as JSON.

Run by test_pam_fused in Triton's interpreter.
"""

import json
from unittest import mock

import torch
from torch import Tensor

from pamprof.records import Dtype, Phase
from pamprof.workloads.layers.pam import definition as pam_layer
from pamprof.workloads.layers.pam.fused import block as pam_fused, decode as fused_decode
from pamprof.workloads.layers.recurrent import oracle
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from tests.workloads.fused_block_cases import SPEC

# Kernels of a step by how it multiplies: one sequence at a time, by products of our own, by the library's.
KERNELS = {
    "few": ("norm_gate_unit", "project", "norm_memory_inputs", "memory_step"),
    "some": ("norm", "gate_product", "partial_products", "add_norm_gates", "product", "memory_step"),
    "many": ("norm", "gate_unit", "add_norm_gates", "memory_step"),
}
errors: dict[str, float] = {}


def form(batch_size: int) -> str:
    if fused_decode.few_sequences(batch_size, SPEC.model_dim):
        return "few"
    return "some" if fused_decode.some_sequences(batch_size, SPEC.model_dim, torch.bfloat16) else "many"


def spoilt(result: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """A tenth too large in each of the tensors."""
    return result * 1.1 if isinstance(result, Tensor) else tuple(part * 1.1 for part in result)


def error(batch_sizes: tuple[int, ...], kernel: str | None) -> float:
    """The oracle's, with a kernel that is wrong in the step that it asks about, not in the prompt before."""
    decode = RecurrentLayer.decode

    def wrong_decode(layer: RecurrentLayer, *given: object) -> Tensor:
        if kernel is None:
            return decode(layer, *given)
        right = getattr(pam_fused, kernel)
        with mock.patch.object(pam_fused, kernel, lambda *a, **named: spoilt(right(*a, **named))):
            return decode(layer, *given)

    with (
        mock.patch.object(RecurrentLayer, "decode", wrong_decode),
        mock.patch.object(fused_decode, "step_batch_sizes", return_value=batch_sizes),
    ):
        found, _ = pam_layer.DEFINITION.oracle_error(
            SPEC, implementation="fused", phase=Phase.DECODE, device=torch.device("cpu"), dtype=Dtype.BFLOAT16, seed=0
        )
    return found


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with (
        # The interpreter would take minutes for as many, after as long a prompt, as a GPU is asked about.
        mock.patch.object(fused_decode, "_SOME_CHANNELS", 18 * SPEC.model_dim),
        mock.patch.object(oracle, "_MOST_SEQUENCES", 3),
        mock.patch.object(oracle, "_SEQUENCE_LENGTH", 5),
    ):
        sizes = fused_decode.step_batch_sizes(SPEC, torch.bfloat16, torch.device("cpu"))
        assert {form(size) for size in sizes} == set(KERNELS), sizes
        errors["oracle right"] = error(sizes, None)
        first = {form(size): size for size in reversed(sizes)}
        for name, size in first.items():
            for kernel in KERNELS[name]:
                errors[f"oracle_unmoved {size} {kernel}"] = 2e-2 / error((size,), kernel)
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
