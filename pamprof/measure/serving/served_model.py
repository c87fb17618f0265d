"""A language model that serves: a seat of state or cache for each sequence, prompts read in pieces, one decode step.

Running sequences occupy the first seats without a gap, so that a step decodes as many as there are, or the next batch
that was captured in a CUDA graph; what it does to the seats beyond is lost. A prompt is read into a state of its own
and gets its seat when it is complete. A sequence that leaves is replaced by the last one.

Axes: B batch, L blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pamprof.errors import UnsupportedError
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.base import DecodesEach
from pamprof.workloads.execution import capture_graph
from pamprof.workloads.layers.recurrent.model import RecurrentState
from pamprof.workloads.layers.transformer.block import KeyValueCache
from pamprof.workloads.steps import with_room_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from pamprof.hardware.device import Device
    from pamprof.records import LayerSpec
    from pamprof.workloads.base import LayerDefinition, SequenceModel, State

# Batches that are captured: as many as a server of vLLM captures up to 64 (1, 2, 4, then steps of 8), and steps of an
# eighth beyond (docs.vllm.ai, compilation config, cudagraph_capture_sizes, read November 2026).
_CAPTURED_STEP = 8
_CAPTURED_SHARE = 8
# Of the same logits by two kernels, relative; what is wrong rather than rounded is off by far more.
_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.BFLOAT16: 4e-2}


def captured_batches(largest: int) -> tuple[int, ...]:
    """Batches of decode steps that are captured: padding costs at most a few sequences or an eighth."""
    found = {1, 2, 4, largest}
    batch = _CAPTURED_STEP
    while batch < largest:
        found.add(batch)
        batch += max(_CAPTURED_STEP, batch // _CAPTURED_SHARE // _CAPTURED_STEP * _CAPTURED_STEP)
    return tuple(sorted(batch for batch in found if batch <= largest))


class ServedModel:
    """The real device of ``serve``: reads prompts, decodes, and counts the tokens it gives out.

    Attributes:
        workload: The largest decode step.
        batches: What a step may decode: the captured ones, or every number where nothing is captured.
        definition: The layer's.
        answers: Tokens that each request was given.
    """

    def __init__(
        self,
        spec: LayerSpec,
        definition: LayerDefinition,
        device: Device,
        *,
        implementation: str,
        dtype: Dtype,
        largest_batch: int,
        longest_tokens: int,
        seed: int,
    ) -> None:
        """Build the model and its seats.

        Raises:
            UnsupportedError: A layer whose sequences cannot be at positions of their own, or whose state is unknown.
        """
        self._device = device
        graph = device.kind == "cuda"
        self.definition = definition
        self.workload = Workload(
            spec=with_room_for(spec, longest_tokens + 1),
            implementation=implementation,
            execution=Execution.GRAPH if graph else Execution.EAGER,
            phase=Phase.DECODE,
            scope=Scope.MODEL,
            batch_size=largest_batch,
            sequence_length=longest_tokens,
            dtype=dtype,
        )
        self.batches = captured_batches(largest_batch) if graph else tuple(range(1, largest_batch + 1))
        self._longest = longest_tokens + 1
        model: SequenceModel = definition.build(
            self.workload.spec,
            implementation=implementation,
            scope=Scope.MODEL,
            device=device.torch_device,
            seed=seed,
        )
        module: nn.Module = model  # type: ignore[assignment]  # a model is always a module as well
        module.eval().requires_grad_(False)
        model.prepare_inference(dtype)
        if not isinstance(model, DecodesEach):
            raise UnsupportedError(
                f"{spec.layer} {implementation} decodes all its sequences at one position, so that it cannot serve; "
                "check pam, real_pam, llama or transformer"
            )
        self._model: SequenceModel = model
        self._decode_each = model.decode_each
        self._check(seed)
        # One seat more, for a prompt that is complete while all are taken.
        self._seats, self._axis = self._new_seats(largest_batch + 1)
        self._reader_seat, _ = self._new_seats(1)
        self._reader = self._part(self._reader_seat, 0, 1)
        self._ids = torch.zeros(largest_batch + 1, dtype=torch.long, device=device.torch_device)
        self._positions = torch.zeros_like(self._ids)
        generator = torch.Generator().manual_seed(seed + 1)
        # Prompts are windows of one random text.
        text = torch.randint(0, spec.vocabulary_size, (2 * self._longest,), generator=generator)
        self._text, self._text_on_device = text.tolist(), text.to(device.torch_device)
        self._order: list[int] = []
        self._read: list[int] = []  # complete prompts without a seat among those that run, in order
        self._seat_of: dict[int, int] = {}
        self.answers: dict[int, list[int]] = {}
        self._inputs: Sequence[int] = ()
        self._steps: dict[int, Callable[[], Tensor]] = {}
        for batch in self.batches:
            self._steps[batch] = self._step(batch, graph=graph)
        self.begin(())

    def begin(self, input_tokens: Sequence[int]) -> None:
        """Forget all sequences; requests to come have prompts of these lengths."""
        self._inputs = input_tokens
        self._order.clear()
        self._read.clear()
        self._seat_of.clear()
        self.answers = {}
        self._positions.zero_()

    @torch.no_grad()
    def read(self, request: int, start: int, end: int, *, last: bool) -> None:
        """As ``ServingDevice.read``."""
        logits = self._model.prefill(self._tokens(request, start, end), self._reader, start)
        if not last:
            self._device.synchronise()
            return
        seat = len(self._order) + len(self._read)
        self._place(seat).copy_(self._reader_seat.select(self._axis, 0))
        self._ids[seat] = logits[0].argmax()
        self._positions[seat] = end
        self._read.append(request)
        self._seat_of[request] = seat
        self.answers.setdefault(request, []).append(int(self._ids[seat].item()))

    def join(self, request: int) -> None:
        """As ``ServingDevice.join``."""
        self._read.remove(request)
        self._move(self._seat_of[request], len(self._order))
        self._seat_of[request] = len(self._order)
        self._order.append(request)

    @torch.no_grad()
    def decode(self) -> None:
        """As ``ServingDevice.decode``."""
        count = len(self._order)
        batch = next(size for size in self.batches if size >= count)
        tokens = self._steps[batch]().tolist()
        for request, token in zip(self._order, tokens, strict=False):
            self.answers[request].append(token)

    def leave(self, request: int) -> None:
        """As ``ServingDevice.leave``."""
        seat = self._seat_of.pop(request, None)
        if seat is None:
            return
        if request in self._read:
            self._read.remove(request)
            return
        last = self._order.pop()
        if last != request:
            self._move(len(self._order), seat)
            self._order[seat] = last
            self._seat_of[last] = seat

    def hold(self, count: int, context: int) -> None:
        """Let ``count`` sequences run that hold ``context`` tokens, as a sample needs them."""
        self._order = list(range(count))
        self._seat_of = {request: request for request in self._order}
        self._read.clear()
        self.answers = {request: [] for request in self._order}
        self._positions.fill_(min(context, self._longest - 1))

    @property
    def bytes_per_sequence(self) -> float:
        """Of a seat, whatever it holds, where its state is fixed; else 0."""
        return self._byte_count(1) if self.definition.fixed_state else 0.0

    @property
    def bytes_per_token(self) -> float:
        """Of each token that a cache holds; 0 of a fixed state."""
        return 0.0 if self.definition.fixed_state else self._byte_count(1025) / 1025

    @property
    def room_bytes(self) -> int:
        """What the seats of the largest batch hold."""
        seats = self._seats.narrow(self._axis, 0, self.workload.batch_size)
        return seats.numel() * seats.element_size()

    @torch.no_grad()
    def _check(self, seed: int) -> None:
        """Raise ``UnsupportedError`` where sequences at own positions get other logits than at a shared one."""
        device = self._device.torch_device
        position = self._longest // 2
        ids = torch.arange(3, device=device)
        logits = []
        for own in (False, True):
            state = self._model.new_state(len(ids), self._longest)
            state.randomise(torch.Generator(device=device).manual_seed(seed))
            if own:
                found = self._decode_each(ids, state, torch.full_like(ids, position))
            else:
                found = self._model.decode(ids, state, position)
            logits.append(found.double())
        error = float((logits[1] - logits[0]).norm() / logits[0].norm())
        tolerance = _TOLERANCE[self.workload.dtype]
        if not error <= tolerance:
            raise UnsupportedError(
                f"{self.workload.spec.layer} {self.workload.implementation}: a step of sequences at positions of their "
                f"own differs from one at a shared position by {error:.1e} relative, more than {tolerance:.0e}; it is "
                "not served"
            )

    def _byte_count(self, context: int) -> float:
        workload = self.workload
        return float(
            self.definition.state_byte_count(
                workload.spec, scope=workload.scope, batch_size=1, context=context, dtype=workload.dtype
            )
        )

    def _tokens(self, request: int, start: int, end: int) -> Tensor:
        """Ids [1, T] of a prompt, and beyond it of what was generated, which a preempted sequence reads again."""
        prompt = self._inputs[request] if self._inputs else end
        first = request % self._longest
        if end <= prompt:
            return self._text_on_device[first + start : first + end].unsqueeze(0)
        ids = self._text[first : first + prompt] + self.answers[request]
        return torch.tensor([ids[start:end]], device=self._text_on_device.device)

    def _new_seats(self, count: int) -> tuple[Tensor, int]:
        """States or caches of all blocks as one tensor [L, ...], so that a seat is copied at once, and its axis."""
        state = self._model.new_state(count, self._longest)
        if isinstance(state, KeyValueCache):
            return torch.stack(state.blocks), 2
        if isinstance(state, RecurrentState):
            return torch.stack(state.tensors), 1
        spec = self.workload.spec
        raise UnsupportedError(
            f"{spec.layer} keeps a {type(state).__name__}, whose sequences cannot be told apart; check pam, real_pam, "
            "llama or transformer"
        )

    def _part(self, seats: Tensor, first: int, count: int) -> State:
        views = seats.narrow(self._axis, first, count).unbind(0)
        return KeyValueCache.of(views) if self._axis == 2 else RecurrentState(views)

    def _place(self, seat: int) -> Tensor:
        return self._seats.select(self._axis, seat)

    def _move(self, source: int, target: int) -> None:
        if source != target:
            self._place(target).copy_(self._place(source))
            self._ids[target] = self._ids[source]
            self._positions[target] = self._positions[source]

    def _step(self, batch: int, *, graph: bool) -> Callable[[], Tensor]:
        """The decode step of the first seats: their next tokens [B], each sequence one token further."""
        state, ids, positions = self._part(self._seats, 0, batch), self._ids[:batch], self._positions[:batch]

        def step() -> Tensor:
            ids.copy_(self._decode_each(ids, state, positions).argmax(-1))
            positions.add_(1).clamp_(max=self._longest - 1)
            return ids

        if not graph:
            return step
        with torch.no_grad():
            return capture_graph(step)
