"""Whether the kernels train as the plain code does: both loss curves of one model on the same bytes, step by step.

    python benchmarks/loss_curve.py --output-dir loss-curve

Two hundred training steps of a small PAM language model on the bytes of this repository's own documentation (README.md
and docstrings), ``fused`` beside ``planar``, with the same initial parameters and batches, in float32 and in bfloat16
autocast. Training amplifies rounding, so that two exact implementations drift apart; how fast is measured as well, by
``planar`` once more, every initial parameter moved by half a unit in the last place of the precision, up or down. And
how far is far is the distance of ``planar`` from other initial parameters.

The curves are indistinguishable where the mean difference is at most twice that of rounding and at most that of two
seeds, and where it takes at least half as many steps as rounding does until the curves lie a thousandth of a nat apart;
else the exit status is 1. Writes ``loss-curve.json``, ``loss-curve.csv`` and ``loss-curve.png`` after each precision.
"""

from __future__ import annotations

import argparse
import ast
import csv
import dataclasses
import json
import sys
from math import isnan
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from pamprof.errors import PamprofError
from pamprof.hardware.environment import own_commit
from pamprof.measure.session.runner import utc_now
from pamprof.records import Dtype, LayerSpec, Scope
from pamprof.workloads.registry import definition

ROOT = Path(__file__).resolve().parent.parent
PLAIN = "planar"
SEEDS = (0, 1)
ONSET_NATS = 1e-3
ROUNDING_FACTOR = 2
LEARNING_RATE, CLIP_NORM, RAMP_STEPS = 1e-3, 1.0, 20
SPEC = LayerSpec(
    layer="pam",
    model_dim=384,
    heads=6,
    head_dim=64,
    depth=4,
    hidden_dim=1152,
    vocabulary_size=256,
    maximum_sequence_length=512,
    activation="modswish",
    chunk_size=256,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distance:
    """How far two curves lie apart: the largest difference of a step and their mean, in nats, and its onset.

    The onset is the first step at which the difference exceeds ``ONSET_NATS``, the number of steps where none does.
    """

    largest: float
    mean: float
    onset_step: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One precision; losses in nats per byte.

    ``difference`` is that of the candidate from the plain code, ``rounding`` that of the plain code from itself with
    initial parameters rounded otherwise, ``scale`` with those of another seed.
    """

    dtype: str
    candidate: str
    candidate_losses: tuple[float, ...]
    plain_losses: tuple[float, ...]
    other_rounding_losses: tuple[float, ...]
    other_seed_losses: tuple[float, ...]
    difference: Distance
    rounding: Distance
    scale: Distance
    indistinguishable: bool


def documentation(root: Path) -> bytes:
    """README.md and every docstring of the package, in order of path."""
    parts = [(root / "README.md").read_text(encoding="utf-8")]
    for path in sorted((root / "pamprof").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                parts.append(ast.get_docstring(node) or "")
    return "\n\n".join(filter(None, parts)).encode()


def batches(text: bytes, *, steps: int, batch_size: int, length: int) -> Tensor:
    """Ids [steps, batch_size, length + 1] cut from random places of ``text``, the same at every call."""
    ids = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    if len(ids) <= length + 1:
        raise PamprofError(f"the text has {len(ids)} bytes; give sequences shorter than that, not {length}")
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(0, len(ids) - length, (steps, batch_size, 1), generator=generator)
    return ids[starts + torch.arange(length + 1)]


def losses(
    implementation: str,
    data: Tensor,
    *,
    spec: LayerSpec,
    dtype: Dtype,
    seed: int,
    device: torch.device,
    rounds_otherwise: bool = False,
) -> tuple[float, ...]:
    """The loss before each step of training on ``data`` [steps, B, T + 1]."""
    model = definition(spec.layer).build(
        spec, implementation=implementation, scope=Scope.MODEL, device=device, seed=seed
    )
    assert isinstance(model, nn.Module)
    if rounds_otherwise:
        round_otherwise(model, torch.bfloat16 if dtype is Dtype.BFLOAT16 else torch.float32)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    ramp = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / RAMP_STEPS))
    data = data.to(device)
    curve = torch.empty(len(data), device=device)
    for step, ids in enumerate(data):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is Dtype.BFLOAT16):
            loss = model.loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        ramp.step()
        curve[step] = loss.detach()
    return tuple(curve.tolist())


def round_otherwise(model: nn.Module, dtype: torch.dtype) -> None:
    """Move every parameter by half a unit in the last place of ``dtype``, up or down."""
    generator = torch.Generator().manual_seed(0)
    step = torch.finfo(dtype).eps / 2
    with torch.no_grad():
        for parameter in model.parameters():
            up = torch.randint(0, 2, parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
            parameter.copy_(parameter.double() * (1 + step * (2 * up - 1)))


def distance(first: tuple[float, ...], second: tuple[float, ...]) -> Distance:
    """Between two curves of equal length; not finite where one of them is not."""
    differences = [abs(a - b) for a, b in zip(first, second, strict=True)]
    unknown = any(isnan(value) for value in differences)
    return Distance(
        largest=float("nan") if unknown else max(differences),
        mean=sum(differences) / len(differences),
        onset_step=next((step for step, value in enumerate(differences) if not value <= ONSET_NATS), len(differences)),
    )


def judged(candidate: str, dtype: Dtype, curves: tuple[tuple[float, ...], ...]) -> Outcome:
    """The rule of the module's docstring on four curves: candidate, plain, rounded otherwise, and from another seed."""
    candidate_losses, plain_losses, other_rounding_losses, other_seed_losses = curves
    difference, rounding, scale = (
        distance(losses, plain_losses) for losses in (candidate_losses, other_rounding_losses, other_seed_losses)
    )
    return Outcome(
        dtype=dtype,
        candidate=candidate,
        candidate_losses=candidate_losses,
        plain_losses=plain_losses,
        other_rounding_losses=other_rounding_losses,
        other_seed_losses=other_seed_losses,
        difference=difference,
        rounding=rounding,
        scale=scale,
        indistinguishable=(
            difference.mean <= min(ROUNDING_FACTOR * rounding.mean, scale.mean)
            and ROUNDING_FACTOR * difference.onset_step >= rounding.onset_step
        ),
    )


def compared(candidate: str, data: Tensor, *, spec: LayerSpec, dtype: Dtype, device: torch.device) -> Outcome:
    """Train four times and judge."""

    def curve(implementation: str, seed: int, *, rounds_otherwise: bool = False) -> tuple[float, ...]:
        return losses(
            implementation,
            data,
            spec=spec,
            dtype=dtype,
            seed=seed,
            device=device,
            rounds_otherwise=rounds_otherwise,
        )

    first, second = SEEDS
    otherwise = curve(PLAIN, first, rounds_otherwise=True)
    return judged(candidate, dtype, (curve(candidate, first), curve(PLAIN, first), otherwise, curve(PLAIN, second)))


def write(outcomes: list[Outcome], device: str, folder: Path) -> None:
    """Write the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "device": device,
        "torch": torch.__version__,
        "commit": own_commit().value,
        "written_at": utc_now(),
        "text": "README.md and docstrings of the repository, as bytes",
        "learning_rate": LEARNING_RATE,
        "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
    (folder / "loss-curve.json").write_text(json.dumps(content, indent=1) + "\n")
    with (folder / "loss-curve.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        curves = ("candidate_loss_nats", "planar_loss_nats", "other_rounding_loss_nats", "other_seed_loss_nats")
        table.writerow(("dtype", "step", "candidate", *curves))
        for o in outcomes:
            rows = zip(o.candidate_losses, o.plain_losses, o.other_rounding_losses, o.other_seed_losses, strict=True)
            table.writerows((o.dtype, step, o.candidate, *row) for step, row in enumerate(rows))
    (folder / "loss-curve.png").write_bytes(picture(outcomes, device))


def picture(outcomes: list[Outcome], device: str) -> bytes:
    """Curves above, their differences below, a column a precision."""
    from matplotlib.figure import Figure

    from pamprof.render.plots.style import LIGHT, drawing, png_bytes

    with drawing():
        figure = Figure(figsize=(5 * len(outcomes), 6), layout="constrained")
        for (above, below), outcome in zip(
            figure.subplots(2, len(outcomes), sharex=True, squeeze=False).T, outcomes, strict=True
        ):
            above.set_title(f"{outcome.dtype}: {outcome.candidate} beside {PLAIN}")
            above.plot(outcome.plain_losses, color=LIGHT["plain1"], linewidth=2.4, label=PLAIN)
            above.plot(outcome.candidate_losses, color=LIGHT["ink"], linewidth=1, label=outcome.candidate)
            above.plot(outcome.other_seed_losses, color=LIGHT["rule"], linewidth=1, label=f"{PLAIN}, other seed")
            above.set_ylabel("loss (nats per byte)")
            above.legend(frameon=False)
            for values, role, label in (
                (outcome.other_seed_losses, "rule", f"other seed − {PLAIN}"),
                (outcome.other_rounding_losses, "plain1", f"other rounding − {PLAIN}"),
                (outcome.candidate_losses, "ink", f"{outcome.candidate} − {PLAIN}"),
            ):
                apart = [a - b for a, b in zip(values, outcome.plain_losses, strict=True)]
                below.plot(apart, color=LIGHT[role], linewidth=1, label=label)
            below.set_ylabel("difference (nats per byte)")
            below.set_xlabel("training step")
            below.legend(frameon=False)
        figure.suptitle(f"Loss on the repository's own documentation\n{device} · torch {torch.__version__}")
        return png_bytes(figure)


def summary_line(outcome: Outcome) -> str:
    """One outcome in a line."""
    verdict = "indistinguishable" if outcome.indistinguishable else "DIFFERENT"
    return (
        f"{outcome.dtype}: {outcome.candidate} ends at {outcome.candidate_losses[-1]:.4f}, {PLAIN} at "
        f"{outcome.plain_losses[-1]:.4f} nats; apart by {outcome.difference.mean:.2e} on average, rounding by "
        f"{outcome.rounding.mean:.2e}, two seeds by {outcome.scale.mean:.2e}; from step "
        f"{outcome.difference.onset_step} on, rounding from {outcome.rounding.onset_step}; at most "
        f"{outcome.difference.largest:.2e}: {verdict}"
    )


def main(arguments: list[str] | None = None, spec: LayerSpec = SPEC) -> int:
    """Train, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidate", default="fused", help="implementation to compare with planar (default fused)")
    parser.add_argument("--steps", type=int, default=200, help="training steps (default 200)")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences a step (default 8)")
    parser.add_argument("--length", type=int, default=512, help="bytes of a sequence (default 512)")
    parser.add_argument("--dtypes", default=",".join(Dtype), help="precision policies, with commas (default both)")
    parser.add_argument("--output-dir", type=Path, default=Path("loss-curve"), help="default loss-curve")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    text = documentation(ROOT)
    print(f"{name}, torch {torch.__version__}, {len(text):,} bytes of text")
    outcomes = []
    for dtype in (Dtype(name) for name in options.dtypes.split(",")):
        data = batches(text, steps=options.steps, batch_size=options.batch_size, length=options.length)
        start = perf_counter()
        try:
            outcomes.append(compared(options.candidate, data, spec=spec, dtype=dtype, device=device))
        except PamprofError as exc:
            print(f"{dtype}: {exc}", file=sys.stderr)
            return 1
        print(f"{summary_line(outcomes[-1])} ({perf_counter() - start:.1f} s)", flush=True)
        write(outcomes, name, options.output_dir)
    return 0 if all(outcome.indistinguishable for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
