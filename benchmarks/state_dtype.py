"""What a bfloat16 state costs in quality: PAM decodes real text with its states in float32 and in bfloat16.

    python benchmarks/state_dtype.py --output-dir state-dtype

The text is that of ``--text``, as bytes; without it the reference of the Python language that comes with the
interpreter (``pydoc_data.topics``). Models with one and with three states a head, as initialised and briefly trained
on the rest of the text, decode the first ``--tokens`` bytes. A block's maps run over pieces of the text; its recurrence
runs token by token, with the planar block's own step, so that errors go through all layers as in decode:

- ``float32`` is the reference,
- ``once`` keeps a bfloat16 state and computes in float32 in between, as all our code does,
- ``thrice`` computes in bfloat16, so that the state is rounded after the decay and after each of two writes.

``--checkpoint FILE`` does the same with weights of your own (``--ids`` gives their tokens) and trains nothing.

Errors are root mean squares of the difference over those of the reference, over the last half of the text. Apart from
the models' own decays, every head's queries, keys and values run once more with decays that are held constant
(``decays.csv``): what is forgotten a token, 1 - decay, decides. Writes ``layers.csv``, ``decays.csv`` and
``state-dtype.json``.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import json
import platform
import sys
from math import exp, log1p
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from loss_curve import CLIP_NORM, LEARNING_RATE, RAMP_STEPS, batches
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import PamprofError
from pamprof.hardware.environment import own_commit
from pamprof.measure.session.runner import utc_now
from pamprof.records import LayerSpec
from pamprof.workloads.checkpoints.files import identity, read_weights
from pamprof.workloads.checkpoints.weights import load_exactly
from pamprof.workloads.layers.pam.definition import PamDefinition
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.pam.planar.arithmetic import Planar
from pamprof.workloads.layers.pam.planar.block import MemoryInputs, PlanarBlock, plane_memory_step
from pamprof.workloads.layers.pam.planar.products import FourProducts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDINGS = ("float32", "once", "thrice")
HEADS, PIECE, TRAIN_BATCH, TRAIN_LENGTH = 2, 512, 4, 256
FORGETS = (*(2.0**-exponent for exponent in (4, 6, 7, 8, 9, 10, 12)), 0.0)  # 1 - decay


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadRow:
    """One head of one layer; ``forgets`` is 1 - exp(mean log decay) of its slowest state."""

    states: int
    head_dim: int
    weights: str
    layer: int
    head: int
    forgets: float
    once: float
    thrice: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model: error of the logits, and losses in nats a byte."""

    states: int
    head_dim: int
    weights: str
    float32_loss: float
    once_loss: float
    thrice_loss: float
    once: float
    thrice: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecayRow:
    """All heads of a layer with a constant decay, read after ``tokens``: the error over the last half of them."""

    head_dim: int
    forgets: float
    tokens: int
    once: float
    thrice: float


class Squares:
    """Sums of squares of differences and of the reference, by head, over the last half of the text."""

    def __init__(self, tokens: int) -> None:
        self._from, self._seen = tokens // 2, 0
        self._sums: dict[str, Tensor] = {}

    def add(self, read: dict[str, Tensor]) -> None:
        """A piece of every stream, [T, H, n]."""
        skipped = max(0, self._from - self._seen)
        self._seen += len(read["float32"])
        wanted = {name: x[skipped:].double() for name, x in read.items()}
        reference = wanted["float32"]
        for name, x in wanted.items():
            of = reference if name == "float32" else x - reference
            self._sums[name] = self._sums.get(name, torch.zeros(())) + of.square().sum((0, 2))

    def errors(self, name: str) -> list[float]:
        """The error of each head."""
        ratios: list[float] = (self._sums[name] / self._sums["float32"]).sqrt().tolist()
        return ratios


class SteppedBlock(PlanarBlock):
    """The planar block, its recurrence one token after the other; keeps what it was given and what it read."""

    rounds = "float32"
    given: MemoryInputs
    read: Tensor

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        assert state is not None
        if begins:
            state.zero_()
        self.given = self._memory_inputs(x, rotation)
        retrieved = torch.cat([stepped(one, state, self.rounds) for one in tokens_of(self.given)], 1)
        self.read = torch.unflatten(retrieved[0], -1, (self.heads, -1)).transpose(1, 2).flatten(2)  # [T, H, 2 d]
        return retrieved


def stepped(given: MemoryInputs, state: Tensor, rounds: str) -> Tensor:
    """One token."""
    return in_bfloat16(given, state) if rounds == "thrice" else plane_memory_step(given, state)


def in_bfloat16(given: MemoryInputs, state: Tensor) -> Tensor:
    """``plane_memory_step`` as torch computes it where everything is bfloat16."""
    queries, keys, values, log_decay, coefficients = given
    if coefficients is not None:
        keys, values = ((re.unsqueeze(-2), im.unsqueeze(-2)) for re, im in (keys, values))
    key_real, key_imag = (plane.squeeze(1).to(state.dtype).unsqueeze(-1) for plane in keys)
    value_real, value_imag = (plane.squeeze(1).to(state.dtype) for plane in values)
    state.mul_(log_decay.squeeze(1).exp()[..., None, None])
    state.addcmul_(key_real, torch.cat((value_real, value_imag), -1).unsqueeze(-2))
    state.addcmul_(key_imag, torch.cat((-value_imag, value_real), -1).unsqueeze(-2), value=-1)
    query = torch.cat(queries, 1).transpose(1, 2)  # [B, H, 2, d]
    if coefficients is not None:
        c, turned = coefficients.squeeze(1).unsqueeze(-1), query.unsqueeze(2)
        (cosine, sine), (real, imag) = c.unbind(-2), turned.unbind(-2)
        turned = torch.stack((cosine * real - sine * imag, cosine * imag + sine * real), -2)
        query = turned.transpose(2, 3).flatten(3)
    query = query.to(state.dtype) / state.shape[-2] ** 0.5
    rows = torch.unflatten(query @ (state if coefficients is None else state.flatten(2, 3)), -1, (2, -1))
    planes = torch.stack((rows[..., 0, 0, :] - rows[..., 1, 1, :], rows[..., 0, 1, :] + rows[..., 1, 0, :]), -2)
    return planes.transpose(1, 2).flatten(2).unsqueeze(1).to(queries[0].dtype)


def tokens_of(given: MemoryInputs) -> Iterator[MemoryInputs]:
    """The inputs token by token."""
    for t in range(given.log_decay.shape[1]):
        here = slice(t, t + 1)
        yield MemoryInputs(
            *(tuple(plane[:, here] for plane in planes) for planes in given[:3]),
            given.log_decay[:, here],
            None if given.coefficients is None else given.coefficients[:, here],
        )


def model_of(head_dim: int, states: int, depth: int) -> PamLanguageModel:
    """A small language model of bytes around heads of real size."""
    width = HEADS * head_dim
    spec = LayerSpec(
        layer="pam", model_dim=width, heads=HEADS, head_dim=head_dim, depth=depth, hidden_dim=3 * width,
        vocabulary_size=256, maximum_sequence_length=PIECE, activation="modswish", chunk_size=64, state_count=states,
    )  # fmt: skip
    return PamLanguageModel(spec, own=Planar("planar", PlanarBlock, FourProducts()))


def train(model: PamLanguageModel, text: bytes, steps: int) -> float:
    """Train as ``loss_curve`` does; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    ramp = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / RAMP_STEPS))
    loss = torch.zeros(())
    for ids in batches(text, steps=steps, batch_size=TRAIN_BATCH, length=TRAIN_LENGTH):
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        ramp.step()
    return float(loss.detach())


@torch.no_grad()
def decoded(trained: PamLanguageModel, ids: Tensor, weights: str) -> tuple[ModelRow, list[HeadRow], list[MemoryInputs]]:
    """Every stream over ``ids`` [1, T + 1] in step; also the first layer's inputs of the recurrence, in pieces."""
    spec, length = trained.spec, ids.shape[1] - 1
    model = PamLanguageModel(spec, own=Planar("planar", SteppedBlock, FourProducts())).eval()
    model.load_state_dict(trained.state_dict())
    streams = {name: model.new_state(1, length) for name in ROUNDINGS}
    for name, state in streams.items():
        if name != "float32":
            state.tensors = tuple(tensor.bfloat16() for tensor in state.tensors)
    of_heads, of_logits = [Squares(length) for _ in model.blocks], Squares(length)
    log_decays, losses = [torch.zeros(()) for _ in model.blocks], dict.fromkeys(ROUNDINGS, 0.0)
    inputs: list[MemoryInputs] = []
    for start in range(0, length, PIECE):
        piece, following = ids[:, start : min(start + PIECE, length)], ids[0, start + 1 : start + PIECE + 1]
        read: list[dict[str, Tensor]] = [{} for _ in model.blocks]
        logits = {}
        for name, state in streams.items():
            for block in model.blocks:
                block.rounds = name
            hidden = model._hidden(piece, state, start)
            logits[name] = model._finish(hidden)[0]
            losses[name] += float(functional.cross_entropy(logits[name], following, reduction="sum"))
            for layer, block in enumerate(model.blocks):
                read[layer][name] = block.read
                if name == "float32":
                    log_decays[layer] = log_decays[layer] + block.given.log_decay[0].double().sum(0)
            if name == "float32":
                inputs.append(model.blocks[0].given)
        for sums, of_layer in zip(of_heads, read, strict=True):
            sums.add(of_layer)
        of_logits.add({name: (x - x.mean(-1, keepdim=True))[:, None] for name, x in logits.items()})
    about = {"states": spec.state_count, "head_dim": spec.head_dim, "weights": weights}
    (once,), (thrice,) = of_logits.errors("once"), of_logits.errors("thrice")
    row = ModelRow(
        **about,  # type: ignore[arg-type]
        **{f"{name}_loss": losses[name] / length for name in ROUNDINGS},
        once=once,
        thrice=thrice,
    )
    heads = [
        HeadRow(
            **about,  # type: ignore[arg-type]
            layer=layer,
            head=head,
            forgets=1 - exp(float((log_decays[layer][head] / length).max())),
            once=sums.errors("once")[head],
            thrice=sums.errors("thrice")[head],
        )
        for layer, sums in enumerate(of_heads)
        for head in range(spec.heads)
    ]
    return row, heads, inputs


@torch.no_grad()
def with_constant_decays(inputs: Sequence[MemoryInputs], head_dim: int) -> Iterator[DecayRow]:
    """Every head with every decay, over all tokens and over powers of four of them."""
    tokens = sum(piece.log_decay.shape[1] for piece in inputs)
    rows = HEADS * len(FORGETS)
    decays = torch.tensor([log1p(-forgets) if forgets < 1 else float("-inf") for forgets in FORGETS])
    states = {
        name: torch.zeros(1, rows, head_dim, 2 * head_dim, dtype=torch.float32 if name == "float32" else torch.bfloat16)
        for name in ROUNDINGS
    }
    ends = [tokens // 4**power for power in range(3, -1, -1)]
    sums = {end: Squares(end) for end in ends}
    seen = 0
    for piece in inputs:
        length = piece.log_decay.shape[1]
        wide = MemoryInputs(
            *(tuple(plane.repeat(1, 1, len(FORGETS), 1) for plane in planes) for planes in piece[:3]),
            decays.repeat_interleave(HEADS).expand(1, length, rows),
            None,
        )
        read = {
            name: torch.cat([stepped(one, state, name) for one in tokens_of(wide)], 1)[0]
            .unflatten(-1, (rows, -1)).transpose(1, 2).flatten(2)
            for name, state in states.items()
        }  # fmt: skip
        for end, of_end in sums.items():
            if seen < end:
                of_end.add({name: x[: end - seen] for name, x in read.items()})
        seen += length
    for end, of_end in sums.items():
        for number, forgets in enumerate(FORGETS):
            own = slice(number * HEADS, (number + 1) * HEADS)
            found = {name: sum(x**2 for x in of_end.errors(name)[own]) / HEADS for name in ("once", "thrice")}
            yield DecayRow(
                head_dim=head_dim, forgets=forgets, tokens=end, once=found["once"] ** 0.5, thrice=found["thrice"] ** 0.5
            )


def language_reference() -> bytes:
    """The reference of the Python language, as the interpreter brings it along."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def write_rows(path: Path, rows: Sequence[HeadRow] | Sequence[DecayRow] | Sequence[ModelRow]) -> None:
    """One line a row, errors to four digits, losses to nine."""

    def written(name: str, value: object) -> object:
        return f"{value:.{9 if name.endswith('_loss') else 4}g}" if isinstance(value, float) else value

    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(rows[0]))
        table.writerows([written(name, value) for name, value in dataclasses.asdict(row).items()] for row in rows)


def stored(path: Path) -> PamLanguageModel:
    """The model of a file of weights, in the layouts that ``pamprof compare --checkpoint pam=FILE`` reads.

    Raises:
        PamprofError: It is no such file.
    """
    name = identity(path)  # says best what is wrong with a path
    pam = PamDefinition()
    spec, tensors = pam.stored_model(read_weights(path), pam.preset("tiny"))
    model = PamLanguageModel(spec, own=Planar("planar", PlanarBlock, FourProducts()))
    load_exactly(model, tensors)
    print(f"{name}: {spec.depth} layers of {spec.heads} heads x {spec.head_dim}, K = {spec.state_count}", flush=True)
    return model


def text_of(options: argparse.Namespace) -> bytes:
    """What is decoded, and behind it what is trained on.

    Raises:
        PamprofError: It cannot be read, or is too short.
    """
    try:
        text = language_reference() if options.text is None else options.text.read_bytes()
    except OSError as exc:
        raise PamprofError(f"{options.text} cannot be read: {exc.strerror}; give a file of text") from exc
    rest = 0 if options.checkpoint else TRAIN_LENGTH + 2
    if not 64 <= options.tokens < len(text) - rest:
        raise PamprofError(
            f"--tokens {options.tokens} of a text of {len(text):,} bytes; give 64 or more, and more text"
        )
    return text


def ids_of(options: argparse.Namespace, text: bytes, vocabulary_size: int) -> Tensor:
    """Ids [1, T + 1]: the bytes of the text, or of ``--ids``.

    Raises:
        PamprofError: They are too few, or none of the model.
    """
    wanted = options.tokens + 1
    if options.ids is None:
        return torch.frombuffer(bytearray(text[:wanted]), dtype=torch.uint8).long()[None]
    try:
        ids = [int(word) for word in options.ids.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as exc:
        raise PamprofError(f"{options.ids} holds no ids: {exc}; give whole numbers between spaces") from exc
    if len(ids) < wanted or not 0 <= min(ids) <= max(ids) < vocabulary_size:
        raise PamprofError(f"{options.ids} needs {wanted:,} ids below {vocabulary_size:,}; it has {len(ids):,}")
    return torch.tensor(ids[:wanted])[None]


def main(arguments: list[str] | None = None) -> int:
    """Train, decode, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", type=Path, help="a file, read as bytes (default: the reference of the language)")
    parser.add_argument("--checkpoint", type=Path, help="weights of a PAM of your own, in place of the small models")
    parser.add_argument("--ids", type=Path, help="its token ids, between spaces, in place of the bytes of the text")
    parser.add_argument("--tokens", type=int, default=65_536, help="tokens decoded (default 65,536)")
    parser.add_argument("--head-dims", default="64", help="channels a head, with commas (default 64)")
    parser.add_argument("--states", default="1,3", help="states a head, with commas (default 1,3)")
    parser.add_argument("--depth", type=int, default=2, help="layers (default 2)")
    parser.add_argument("--steps", type=int, default=300, help="training steps; 0 leaves trained models out")
    parser.add_argument("--output-dir", type=Path, default=Path("state-dtype"), help="default state-dtype")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    try:
        measure(options, " ".join(arguments or sys.argv[1:]))
    except PamprofError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace, given: str) -> None:
    """Everything that is asked for, written as it comes."""
    text, folder = text_of(options), options.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    models: list[ModelRow] = []
    heads: list[HeadRow] = []
    decays: list[DecayRow] = []
    begun = perf_counter()

    def decode(model: PamLanguageModel, weights: str) -> list[MemoryInputs]:
        row, of_heads, inputs = decoded(model, ids_of(options, text, model.spec.vocabulary_size), weights)
        models.append(row)
        heads.extend(of_heads)
        print(row, f"{perf_counter() - begun:.0f} s", flush=True)
        write_rows(folder / "models.csv", models)
        write_rows(folder / "layers.csv", heads)
        return inputs

    if options.checkpoint is not None:
        decode(stored(options.checkpoint), identity(options.checkpoint))
    for head_dim in map(int, options.head_dims.split(",") if options.checkpoint is None else ()):
        for states in map(int, options.states.split(",")):
            model = model_of(head_dim, states, options.depth)
            inputs = decode(model, "initial")
            if options.steps:
                loss = train(model, text[options.tokens + 1 :], options.steps)
                print(f"trained {options.steps} steps to {loss:.2f} nats a byte", flush=True)
                inputs = decode(model, "trained")
            if states == 1:
                decays += with_constant_decays(inputs, head_dim)
                write_rows(folder / "decays.csv", decays)
    about = {
        "command": f"python benchmarks/state_dtype.py {given}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": own_commit().value,
        "written_at": utc_now(),
        "text": "pydoc_data.topics" if options.text is None else options.text.name,
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "tokens": options.tokens,
        "seconds": round(perf_counter() - begun, 1),
    }
    (folder / "state-dtype.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
