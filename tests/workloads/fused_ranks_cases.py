"""The fused block shared by two ranks in Triton's interpreter, in float32; see ``ranks_cases``."""

import sys

from pamprof.records import Parallel, Phase
from tests.workloads.ranks_cases import Case, measured_by_ranks, named, workload

if __name__ == "__main__":
    chosen: list[Case] = [
        *(("pam", "fused", Phase.TRAIN, parallel, False) for parallel in Parallel),
        ("pam", "fused", Phase.PREFILL, Parallel.TP, False),
        ("pam", "fused", Phase.DECODE, Parallel.TP, False),
    ]
    small = {"heads": 2, "depth": 1, "state_count": 1, "model_dim": 24, "head_dim": 12, "hidden_dim": 44}
    sys.stdout.write(measured_by_ranks({named(case): workload(case, tokens=6, **small) for case in chosen}, "float32"))
