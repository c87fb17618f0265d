"""A served model generates for every request what the model generates for it alone, however the seats are shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from pamprof.analysis.simulation.live import serve
from pamprof.analysis.simulation.server import MemoryPolicy, SequenceMemory, Server
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.errors import UnsupportedError
from pamprof.hardware.device import open_device
from pamprof.measure.serving.served_model import ServedModel, captured_batches
from pamprof.measure.serving.step_samples import sample_axes, sample_steps
from pamprof.records import Dtype
from pamprof.workloads.layers.llama.model import LlamaLanguageModel
from pamprof.workloads.registry import definition
from tests.analysis.simulation.servers import LinearTimes
from tests.workloads.test_own_positions import SPECS

BATCH = 5
REQUESTS = draw_requests(
    25, Arrivals(per_second=200.0, variation=2.0), Lengths(mean=9, sigma=0.5), Lengths(mean=4, sigma=0.8), seed=11
)
LONGEST = REQUESTS.longest_tokens


@dataclass
class CountingClock:
    """A millisecond passes whenever somebody looks; waiting is noted."""

    seconds: float = 0.0
    waits: int = 0

    def now(self) -> float:
        self.seconds += 1e-3
        return self.seconds

    def wait_until(self, seconds: float) -> None:
        self.waits += 1
        self.seconds = max(self.seconds, seconds)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def served_model(layer: str, implementation: str | None = None) -> ServedModel:
    found = definition(layer)
    return ServedModel(
        SPECS[layer],
        found,
        open_device("cpu"),
        implementation=implementation or ("planar" if layer == "pam" else found.implementations[0]),
        dtype=Dtype.FLOAT32,
        largest_batch=BATCH,
        longest_tokens=LONGEST,
        seed=3,
    )


@torch.no_grad()
def alone(model: ServedModel, request: int) -> list[int]:
    """What the model generates for one request by itself, at one position after the other."""
    length, count = int(REQUESTS.input_tokens[request]), int(REQUESTS.output_tokens[request])
    state = model._model.new_state(1, LONGEST + 1)
    ids = model._tokens(request, 0, length)
    found = [int(model._model.prefill(ids, state, 0)[0].argmax())]
    while len(found) < count:
        logits = model._model.decode(torch.tensor(found[-1:]), state, length + len(found) - 1)
        found.append(int(logits[0].argmax()))
    return found


@pytest.mark.parametrize(
    ("layer", "room_tokens", "chunk"),
    [("pam", 10**6, 7), ("llama", 60, 6), ("llama", 10**6, 50), ("transformer", 60, 5)],
)
def test_every_request_gets_the_answer_it_would_get_alone(layer: str, room_tokens: int, chunk: int) -> None:
    model = served_model(layer)
    model.begin(REQUESTS.input_tokens.tolist())
    each = model.bytes_per_token
    server = Server(
        times=LinearTimes(),
        memory=SequenceMemory(
            room_bytes=room_tokens * (each or 1.0), bytes_per_sequence=0.0 if each else 1.0, bytes_per_token=each
        ),
        largest_batch=BATCH,
        chunk_tokens=chunk,
        policy=MemoryPolicy.RECOMPUTE,
    )
    served = serve(REQUESTS, server, model, CountingClock())
    assert served.outcome.refused == 0
    assert {request: len(tokens) for request, tokens in model.answers.items()} == dict(
        enumerate(REQUESTS.output_tokens.tolist())
    )
    assert (served.outcome.preemptions > 0) == (room_tokens < 100)
    assert len(set(map(tuple, model.answers.values()))) > len(REQUESTS) // 2
    assert model.answers == {request: alone(model, request) for request in range(len(REQUESTS))}


def test_sampled_steps_are_what_the_server_runs() -> None:
    model = served_model("llama")
    axes = sample_axes(model, longest_prompt=12, shortest_prompt=3, longest_tokens=LONGEST, chunk_tokens=10)
    assert axes.batches == (1, 2, 4, 5)
    assert axes.contexts == (1, LONGEST // 2, LONGEST)
    assert (axes.pieces[0], axes.pieces[-1]) == (3, 10)
    assert all(start + piece <= LONGEST for piece, start in zip(axes.pieces, axes.starts, strict=True))
    steps = sample_steps(model, open_device("cpu"), axes, budget_seconds=0.0)
    assert not steps.padded
    assert len(steps.decode_seconds) == 3
    assert all(len(row) == 4 and min(row) > 0 for row in steps.decode_seconds)
    assert min(*steps.read_seconds, *steps.continued_seconds) > 0
    assert steps.sample_count == 3 * (3 * 4 * 3 + 2 * len(axes.pieces))
    model.begin([])
    assert not model.answers


def test_captured_batches_pad_by_an_eighth_at_most_or_seven() -> None:
    assert captured_batches(1) == (1,)
    assert captured_batches(20) == (1, 2, 4, 8, 16, 20)
    found = captured_batches(1_000)
    assert found[-1] == 1_000
    for below, above in pairwise(found):
        assert above - below <= max(8, below / 8)


def test_a_layer_whose_sequences_share_a_position_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="serve planar or fused"):
        served_model("pam", "published")


def test_wrong_logits_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LlamaLanguageModel.decode_each
    monkeypatch.setattr(LlamaLanguageModel, "decode_each", lambda *given: 1.01 * right(*given))
    with pytest.raises(UnsupportedError, match=r"differs from one at a shared position by 1.0e-02"):
        served_model("llama")
