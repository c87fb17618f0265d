"""The sweep's worker: one arm, one model, batches raised in each context until throughput is flat and memory ends.

Every context is first visited at every second of its batches, and at the batch where its memory is predicted to end;
both ends of the range of contexts come first, then the prompts, then the contexts between. In the time that is left the
batches between are filled in, again those of both ends first, so that a sweep cut short has a coarse curve rather than
a part of a fine one. The model is built once and serves every point; states and caches are allocated anew for each.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from pamprof.measure.serving.memory_limit import MemoryLimit
from pamprof.measure.serving.plan import SLOWEST_STEP_SECONDS, alternatives_of, is_flat, lines_of
from pamprof.measure.serving.visit import COMPILED, Visitor
from pamprof.measure.session.arm.ready import KeptModel
from pamprof.measure.session.arm.runner import ArmRunner
from pamprof.measure.session.wire import Event, encode_event
from pamprof.measure.session.worker import attempt_with, main, send_ceilings
from pamprof.records import Phase, Run, Skip, SkipKind
from pamprof.records.codec import encode
from pamprof.units import binary_bytes, tokens
from pamprof.workloads.execution import first_line
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import with_room_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.measure.session.answering import Pipe
    from pamprof.measure.session.sampling import PairedSamples
    from pamprof.measure.session.wire import GroupRequest
    from pamprof.records import Workload

_STRIDE = 2  # every second batch of a line is visited at first
_ENDS = 2  # contexts visited before the prompts: the shortest and the longest

# A batch that was predicted, or found by allocating it alone, may still be too large to be compiled and measured. Every
# such failure costs as much as a point: the next try is clearly lower, and the last.
_LIMIT_ATTEMPTS = 2
_LIMIT_STEP = 0.85


def run_sweep(request: GroupRequest, pipe: Pipe) -> None:
    """Visit what tells something of the group's one arm, in the first implementation that can be built."""
    from pamprof.measure.any_layer.registration import register_workloads

    runner = ArmRunner(request)
    register_workloads(request.workloads)
    if request.ceilings:
        send_ceilings(runner, request, pipe)
    for workloads in alternatives_of(request.workloads):
        if ArmSweep(runner, request, workloads, pipe).run():
            break
    pipe.send(encode_event(Event(event="finished")))


class ArmSweep:
    """The walk through one arm's prompts, contexts and batches."""

    def __init__(self, runner: ArmRunner, request: GroupRequest, workloads: tuple[Workload, ...], pipe: Pipe) -> None:
        self._runner = runner
        self._request = request
        self._workloads = workloads
        self._pipe = pipe
        self._device = runner.device
        self._definition = definition(workloads[0].spec.layer)

    def run(self) -> bool:
        """Every context coarsely with its end of memory, the prompts, then what lies between.

        Returns:
            Whether the arm could be built; where not, that is recorded of its first workload.
        """
        first = self._workloads[0]
        built = attempt_with(self._runner, self._request, first, self._build)
        if isinstance(built, Skip):
            if first.key not in self._request.done:
                self._pipe.send(encode(built))
            return False
        self._limit = MemoryLimit(self._device, built.model, self._definition, seed=self._request.settings.seed)
        self._visitor = Visitor(self._runner, self._request, self._pipe, built, self._limit)
        lines = lines_of(self._workloads)
        ends: dict[int, int] = {}
        for position, (context, line) in enumerate(lines.items()):
            if position == _ENDS:
                self._read_prompts()
            probes = not self._definition.fixed_state or context == min(lines)
            ends[context] = self._coarse(line, probes=probes, watches_first=context == min(lines))
        self._read_prompts()
        missing = {
            context: [workload for workload in line if workload.batch_size < ends[context]]
            for context, line in lines.items()
        }
        self._fill({context: missing[context] for context in list(lines)[:_ENDS]})
        self._fill(missing)
        return True

    def _read_prompts(self) -> None:
        """Visit every prompt that has not been; energy is watched at the shortest and the longest."""
        prompts = [workload for workload in self._workloads if workload.phase is Phase.PREFILL]
        for workload in prompts:
            self._visitor.visit(workload, _always if workload in (prompts[0], prompts[-1]) else _never)

    def _fill(self, lines: dict[int, list[Workload]]) -> None:
        """Visit what was left out of each context's line, always in the one of which least is known."""
        missing = {
            context: [workload for workload in line if workload.key not in self._visitor.done]
            for context, line in lines.items()
        }
        while any(missing.values()):
            sparsest = min(
                (context for context in missing if missing[context]),
                key=lambda context: len(lines[context]) - len(missing[context]),
            )
            self._visitor.visit(missing[sparsest].pop(0), _never)

    def _build(self) -> KeptModel:
        workload = self._workloads[0]
        longest = max(each.sequence_length for each in self._workloads)
        before = self._device.memory().allocated_bytes or 0
        model = self._definition.build(
            with_room_for(workload.spec, longest + 1),
            implementation=workload.implementation,
            scope=workload.scope,
            device=self._device.torch_device,
            seed=self._request.settings.seed,
        )
        model.prepare_inference(workload.dtype)
        return KeptModel(model=model, allocated_before_bytes=before)

    def _coarse(self, line: Sequence[Workload], *, probes: bool, watches_first: bool) -> int:
        """Raise the batch until throughput is flat or memory ends; returns the largest batch worth filling up to.

        Energy is watched where it is asked for most: at the batch that ends the line, and once for a single sequence.
        """
        rates: dict[int, float] = {}
        visited = 0
        refused: Skip | None = None
        seconds = 0.0
        for position in range(0, len(line), _STRIDE):
            workload = line[position]
            following = line[position + _STRIDE] if position + _STRIDE < len(line) else None
            if not self._limit.allows(workload):
                if self._device.kind == "cpu":
                    self._refuse_by_bytes(workload)
                break

            def watch(
                pairs: PairedSamples, workload: Workload = workload, following: Workload | None = following
            ) -> bool:
                took = median(pairs.arm.wall_time_seconds)
                last = following is None or not self._limit.allows(following) or took > SLOWEST_STEP_SECONDS
                alone = watches_first and workload is line[0]
                return alone or last or is_flat({**rates, workload.batch_size: workload.batch_size / took})

            outcome = self._visitor.visit(workload, watch)
            if isinstance(outcome, Skip):
                refused = outcome
                break
            if outcome is None and self._visitor.is_over():
                break
            visited = workload.batch_size
            if outcome is not None:
                seconds = median(outcome.timing.wall_time_seconds)
                rates[visited] = visited / seconds
            if is_flat(rates) or seconds > SLOWEST_STEP_SECONDS:
                break
        if refused is not None and refused.kind is not SkipKind.OUT_OF_MEMORY:
            return self._below(line, refused.workload.batch_size, visited)
        closed = line[-1].key in self._request.done
        if not probes or not visited or closed or seconds > SLOWEST_STEP_SECONDS or self._device.kind == "cpu":
            return visited
        largest = self._measure_limit(line, visited, None if refused is None else refused.workload.batch_size)
        return visited if is_flat(rates) else largest

    def _below(self, line: Sequence[Workload], failed: int, known: int) -> int:
        """Measure the largest batch of the line below one at which a kernel failed, where the arm ends in this context.

        Returns:
            The largest batch measured.
        """
        between = [workload for workload in line if known < workload.batch_size < failed]
        if known and between and isinstance(self._visitor.visit(between[-1], _always), Run):
            return between[-1].batch_size
        return known

    def _measure_limit(self, line: Sequence[Workload], known: int, refused: int | None) -> int:
        """Measure at the end of memory, predicted from the measured steps; where there are none, bisect it first.

        Args:
            line: Of the context.
            known: The largest batch measured.
            refused: A batch that did not fit; None where none was tried.

        Returns:
            The largest batch measured.
        """
        workload = line[0]
        basis = self._limit.basis(workload)
        if self._visitor.is_over():
            return known
        batch = self._bisected(workload, known) if basis is None else self._limit.predicted(workload)
        if refused is not None:
            batch = min(batch, int(refused * _LIMIT_STEP))
        how = "the end of memory, found by bisection" if basis is None else f"the end of memory, predicted from {basis}"
        for _ in range(_LIMIT_ATTEMPTS):
            if batch <= known:
                return known
            outcome = self._visitor.visit(self._limit.sized(workload, batch), _never, note=how)
            if outcome is None:
                return known
            if isinstance(outcome, Run):
                return batch
            if outcome.kind is not SkipKind.OUT_OF_MEMORY:
                return self._below(line, batch, known)
            how = f"{_LIMIT_STEP:g} of {how}, where {batch:,} sequences did not fit"
            batch = int(batch * _LIMIT_STEP)
        return known

    def _bisected(self, workload: Workload, known: int) -> int:
        """Find the largest batch that fits and record the smallest that does not; 0 where a kernel fails on the way.

        Of a compiled step it is an upper bound, and what is returned is clearly below it.
        """
        try:
            largest, refused = self._limit.search(workload, known)
        except Exception as exc:  # noqa: BLE001 - a kernel may fail on sizes nobody tried; the other lines go on
            reason = f"the end of memory could not be found: {type(exc).__name__}: {first_line(exc)}"
            self._visitor.skip(self._limit.sized(workload, self._limit.tried), SkipKind.CRASHED, reason)
            largest = 0
        if largest == 0:
            self._visitor.clear()  # the error's frames held the step
            return 0
        compiled = workload.execution in COMPILED
        how = " with the step not compiled" if compiled else ""
        self._visitor.skip(
            self._limit.sized(workload, refused),
            SkipKind.OUT_OF_MEMORY,
            f"found by bisection{how}: {refused} sequences of {tokens(workload.sequence_length)} tokens do not fit "
            f"into {binary_bytes(self._device.memory().total_bytes)}, {largest} do",
        )
        return int(largest * _LIMIT_STEP) if compiled else largest

    def _refuse_by_bytes(self, workload: Workload) -> None:
        """Record a batch that was not tried: filling the memory of a machine others use would harm them."""
        if workload.key not in self._visitor.done:
            self._visitor.skip(
                workload,
                SkipKind.OUT_OF_MEMORY,
                f"{workload.batch_size} sequences of {tokens(workload.sequence_length)} tokens need more than half of "
                "the machine's free memory; not tried",
            )


def _always(_: PairedSamples) -> bool:
    return True


def _never(_: PairedSamples) -> bool:
    return False


if __name__ == "__main__":
    main(run_sweep)
