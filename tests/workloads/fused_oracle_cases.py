"""What the oracle says of every form of a fused decode step, and whether it notices a wrong one, printed as JSON.

Run by test_pam_fused in Triton's interpreter.
"""

import json
from unittest import mock

import torch

from pamprof.records import Dtype, Phase
from pamprof.workloads.layers import pam_fused, pam_layer, pam_oracle, planar_arithmetic
from tests.workloads.fused_block_cases import SPEC


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    errors = {}

    def error() -> float:
        found, _ = pam_layer.DEFINITION.oracle_error(
            SPEC, implementation="fused", phase=Phase.DECODE, device=torch.device("cpu"), dtype=Dtype.BFLOAT16, seed=0
        )
        return found

    with (
        # Fewer of each form than a GPU is asked about: the interpreter would take minutes.
        mock.patch.object(planar_arithmetic, "_SOME_CHANNELS", 16 * SPEC.model_dim),
        mock.patch.object(pam_layer, "step_batch_sizes", return_value=(2, 16, 17)),
        mock.patch.object(pam_oracle, "_MOST_SEQUENCES", 3),
    ):
        errors["oracle right"] = error()
        for name in ("project", "partial_products", "gate_unit"):  # of few sequences, of some, of many
            whole = getattr(pam_fused, name)
            with mock.patch.object(pam_fused, name, lambda *given, whole=whole: whole(*given) * 1.1):
                errors[f"oracle_unmoved {name}"] = 2e-2 / error()
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
