"""Is ``published`` as fast as the published code? The authors' own modules against ours, paired, in one process.

    git clone https://github.com/gowrav-vishwakarma/qllm2
    python benchmarks/as_published.py --authors qllm2 --json as-published.json

Both run the paper's 100M model with modSwish, chunks of 256, no reverse association, no dropout and no checkpointing,
the head on the last position only, on one CUDA device in bfloat16: training under autocast on both sides; inference of
the authors' modules under autocast and, in prefill, where their code can, with bfloat16 weights as well; ours by its
policy (bfloat16 weights, state and decay in float32).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.nn import functional

from pamprof.errors import UnsupportedError
from pamprof.hardware.device import open_device
from pamprof.measure.session.sampling import sample_pairs, warm_up
from pamprof.measure.session.settings import Settings
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.statistics import ratio_interval
from pamprof.workloads.execution import capture_graph
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

Step = Callable[[], torch.Tensor]
POINTS = [
    (Phase.TRAIN, 3, 2048, (Execution.EAGER,)),
    (Phase.TRAIN, 18, 2048, (Execution.EAGER,)),
    (Phase.PREFILL, 1, 2048, (Execution.EAGER, Execution.GRAPH)),
    (Phase.PREFILL, 1, 16384, (Execution.EAGER, Execution.GRAPH)),
    (Phase.DECODE, 1, 2048, (Execution.EAGER, Execution.GRAPH, Execution.COMPILED_GRAPH)),
    (Phase.DECODE, 64, 2048, (Execution.EAGER, Execution.GRAPH, Execution.COMPILED_GRAPH)),
]
POSITIONS = 1 << 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One paired comparison; times in seconds per step, the ratio is ours over theirs."""

    phase: str
    batch_size: int
    sequence_length: int
    execution: str
    authors_policy: str
    authors_seconds: float
    published_seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    samples: int


def authors_model(folder: Path) -> torch.nn.Module:
    """The authors' 100M language model from a clone of their repository."""
    sys.path.insert(0, str(folder))
    try:
        from v7.model import V7LM, V7Config
    except ImportError as exc:
        raise SystemExit(
            f"{folder}: no v7/model.py to import ({exc}); clone github.com/gowrav-vishwakarma/qllm2"
        ) from exc
    torch.manual_seed(0)
    config = V7Config(
        activation="swish",
        dropout=0.0,
        hierarchical_dt=False,
        gradient_checkpointing=False,
        use_reverse_assoc=False,
        max_seq_len=POSITIONS,
    )
    model: torch.nn.Module = V7LM(config).cuda()
    return model


def last_logits(model: torch.nn.Module, ids: torch.Tensor, states: list[torch.Tensor] | None, offset: int):
    """Logits of the last position [B, V] and the new states, through the authors' modules."""
    hidden = model.embed_norm(model.embed(ids))
    new_states = []
    for index, block in enumerate(model.blocks):
        state = None if states is None else states[index]
        hidden, state, _ = block(hidden, pam_state=state, step_offset=offset)
        new_states.append(state)
    head = model.lm_head_norm(model.lm_head_proj(model.output_norm(hidden[:, -1:])))[:, 0]
    tables = model.embed
    return head[..., 0] @ tables.embed_real.weight.T + head[..., 1] @ tables.embed_imag.weight.T, new_states


def authors_step(model: torch.nn.Module, workload: Workload, policy: str) -> Step:
    """One step of the authors' model, in place where a graph needs it."""
    length = 1 if workload.phase is Phase.DECODE else workload.sequence_length
    ids = torch.randint(0, 50257, (workload.batch_size, length), device="cuda")
    under_autocast = torch.autocast("cuda", torch.bfloat16, enabled=policy == "autocast")
    if workload.phase is Phase.TRAIN:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True, capturable=True)
        targets = torch.randint(0, 50257, ids.shape, device="cuda")

        def train() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            with under_autocast:
                logits, _, _ = model(ids)
                loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.detach()

        return train

    states: list[torch.Tensor] | None = None
    if workload.phase is Phase.DECODE:
        pam = model.blocks[0].pam
        shape = (workload.batch_size, pam.num_heads, pam.head_dim, pam.head_dim, 2)
        states = [torch.randn(shape, device="cuda") for _ in model.blocks]

    @torch.no_grad()
    def infer() -> torch.Tensor:
        with under_autocast:
            offset = workload.sequence_length if states is not None else 0
            logits, new_states = last_logits(model, ids, states, offset)
        for held, new in zip(states or (), new_states, strict=False):
            held.copy_(new)
        return logits

    if workload.execution is Execution.COMPILED_GRAPH:
        for block in model.blocks:
            block.compile(dynamic=False)
        infer()
    return infer


def compare(folder: Path, phases: set[str], seconds: float) -> Iterator[Row | str]:
    """Every point in turn; a string is the reason of a missing row."""
    device = open_device("cuda")
    layer = definition("pam")
    settings = Settings(time_limit_seconds=seconds, sample_seconds=0.05)
    for phase, batch_size, sequence_length, executions in POINTS:
        if phase.value not in phases:
            continue
        for execution in executions:
            workload = Workload(
                spec=layer.preset("100m"),
                implementation="published",
                execution=execution,
                phase=phase,
                scope=Scope.MODEL,
                batch_size=batch_size,
                sequence_length=sequence_length,
                dtype=Dtype.BFLOAT16,
            )
            for policy in ("autocast", "bfloat16") if phase is Phase.PREFILL else ("autocast",):
                name = f"{phase} B={batch_size} T={sequence_length} {execution}, authors {policy}"
                torch.cuda.empty_cache()
                try:
                    model = authors_model(folder)
                    model = model.train() if phase is Phase.TRAIN else model.eval()
                    if policy == "bfloat16":
                        model = model.to(torch.bfloat16)
                    theirs = authors_step(model, workload, policy)
                    ours = PreparedStep(workload, layer, device=device.torch_device, seed=0)
                    ours.reset()
                    ours.compile()
                    ours.capture()
                    if execution in (Execution.GRAPH, Execution.COMPILED_GRAPH):
                        theirs = capture_graph(theirs)
                    _, our_steps = warm_up(ours.run, device, settings.sample_seconds)
                    _, their_steps = warm_up(theirs, device, settings.sample_seconds)
                    pairs = sample_pairs(
                        ours.run, theirs, device, settings, arm_steps=our_steps, reference_steps=their_steps
                    )
                except (UnsupportedError, RuntimeError) as exc:
                    yield f"{name}: {str(exc).strip().splitlines()[0]}"
                    continue
                finally:
                    model = theirs = ours = None
                mine, reference = pairs.arm.wall_time_seconds, pairs.reference.wall_time_seconds
                ratio = ratio_interval(mine, reference)
                yield Row(
                    phase=phase.value,
                    batch_size=batch_size,
                    sequence_length=sequence_length,
                    execution=execution.value,
                    authors_policy=policy,
                    authors_seconds=sorted(reference)[len(reference) // 2],
                    published_seconds=sorted(mine)[len(mine) // 2],
                    ratio=ratio.median,
                    ratio_low=ratio.low,
                    ratio_high=ratio.high,
                    samples=len(mine),
                )


def main() -> None:
    """Parse the command line, print a row as soon as it is measured, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--authors", type=Path, required=True, help="clone of github.com/gowrav-vishwakarma/qllm2")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--phase", default="train,prefill,decode", help="comma-separated phases")
    parser.add_argument("--seconds", type=float, default=3.0, help="sampling time of a row")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "as_published.py compares GPU speeds and torch finds no CUDA device; run it where there is one"
        )
    rows = []
    for row in compare(options.authors, set(options.phase.split(",")), options.seconds):
        if isinstance(row, str):
            print(f"not measured: {row}", flush=True)
            continue
        rows.append(dataclasses.asdict(row))
        print(
            f"{row.phase:8} B={row.batch_size:<3} T={row.sequence_length:<6} {row.execution:15} "
            f"authors ({row.authors_policy}) {1e3 * row.authors_seconds:9.3f} ms   "
            f"published {1e3 * row.published_seconds:9.3f} ms   "
            f"ratio {row.ratio:.3f} [{row.ratio_low:.3f}, {row.ratio_high:.3f}]  n={row.samples}",
            flush=True,
        )
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
