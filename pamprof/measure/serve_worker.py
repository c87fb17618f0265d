"""The sweep's worker: one arm, one model, batches raised in each context until throughput is flat and memory ends.

Every context is first visited at every second of its batches, and memory's end is found and measured; both ends of the
range of contexts come first, then the prompts, then the contexts between. In the time that is left the batches between
are filled in, so that a sweep cut short has a coarse curve rather than a part of a fine one. The model is built once
and serves every point; states and caches are allocated anew for each.
"""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import TYPE_CHECKING

from pamprof.measure.arm import ArmRunner, KeptModel
from pamprof.measure.serve_limit import MemoryLimit
from pamprof.measure.serve_plan import alternatives_of, is_flat, lines_of
from pamprof.measure.session import utc_now
from pamprof.measure.wire import Event, encode_event
from pamprof.measure.worker import Pipe, attempt_with, main, send_ceilings
from pamprof.records import Execution, Phase, Run, Skip, SkipKind
from pamprof.records.codec import encode
from pamprof.units import binary_bytes, tokens
from pamprof.workloads.execution import first_line, plain_regions
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import with_room_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.measure.sampling import PairedSamples
    from pamprof.measure.wire import GroupRequest
    from pamprof.records import Workload

_STRIDE = 2  # every second batch of a line is visited at first
_ENDS = 2  # contexts visited before the prompts: the shortest and the longest

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)

# The largest batch found by allocating it alone may still be too large to be measured, whose passes need a little more.
_LIMIT_ATTEMPTS = 4
_LIMIT_STEP = 0.96


def run_sweep(request: GroupRequest, pipe: Pipe) -> None:
    """Visit what tells something of the group's one arm, in the first implementation that can be built."""
    runner = ArmRunner(request)
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
        self._done = set(request.done)
        self._definition = definition(workloads[0].spec.layer)

    def run(self) -> bool:
        """Every context coarsely with its end of memory, the prompts, then what lies between.

        Returns:
            Whether the arm could be built; where not, that is recorded of its first workload.
        """
        first = self._workloads[0]
        built = attempt_with(self._runner, self._request, first, self._build)
        if isinstance(built, Skip):
            if first.key not in self._done:
                self._pipe.send(encode(built))
            return False
        self._kept = built
        self._limit = MemoryLimit(self._device, built.model, self._definition, seed=self._request.settings.seed)
        lines = lines_of(self._workloads)
        ends: dict[int, int] = {}
        for position, (context, line) in enumerate(lines.items()):
            if position == _ENDS:
                self._read_prompts()
            probes = not self._definition.fixed_state or context == min(lines)
            ends[context] = self._coarse(line, probes=probes, watches_first=context == min(lines))
        self._read_prompts()
        self._fill(
            {
                context: [workload for workload in line if workload.batch_size < ends[context]]
                for context, line in lines.items()
            }
        )
        return True

    def _read_prompts(self) -> None:
        """Visit every prompt that has not been; energy is watched at the shortest and the longest."""
        prompts = [workload for workload in self._workloads if workload.phase is Phase.PREFILL]
        for workload in prompts:
            self._visit(workload, _always if workload in (prompts[0], prompts[-1]) else _never)

    def _fill(self, lines: dict[int, list[Workload]]) -> None:
        """Visit what was left out of each context's line, always in the one of which least is known."""
        missing = {
            context: [workload for workload in line if workload.key not in self._done]
            for context, line in lines.items()
        }
        while any(missing.values()):
            sparsest = min(
                (context for context in missing if missing[context]),
                key=lambda context: len(lines[context]) - len(missing[context]),
            )
            self._visit(missing[sparsest].pop(0), _never)

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
        peaks: dict[int, int] = {}
        visited = 0
        for position in range(0, len(line), _STRIDE):
            workload = line[position]
            following = line[position + _STRIDE] if position + _STRIDE < len(line) else None
            if not self._limit.allows(workload, peaks):
                if self._device.kind == "cpu":
                    self._refuse_by_bytes(workload)
                break

            def watch(
                pairs: PairedSamples, workload: Workload = workload, following: Workload | None = following
            ) -> bool:
                reached = workload.batch_size / median(pairs.arm.wall_time_seconds)
                last = following is None or not self._limit.allows(following, peaks)
                alone = watches_first and workload is line[0]
                return alone or last or is_flat({**rates, workload.batch_size: reached})

            outcome = self._visit(workload, watch)
            if isinstance(outcome, Skip):
                break
            if outcome is None and self._over():
                break
            visited = workload.batch_size
            if outcome is not None:
                rates[visited] = visited / median(outcome.timing.wall_time_seconds)
                if outcome.memory.peak_bytes is not None:
                    peaks[visited] = outcome.memory.peak_bytes
            if is_flat(rates):
                break
        closed = line[-1].key in self._request.done
        if probes and visited and not closed and self._device.kind != "cpu" and not self._over():
            largest = self._measure_limit(line[0], visited, peaks)
            return visited if is_flat(rates) else largest
        return visited

    def _measure_limit(self, workload: Workload, known: int, peaks: dict[int, int]) -> int:
        """Find the largest batch that fits, record the smallest that does not, and measure the former.

        Returns:
            The largest batch measured.
        """
        try:
            largest, refused = self._limit.search(workload, known, peaks)
        except Exception as exc:  # noqa: BLE001 - a kernel may fail on sizes nobody tried; the other lines go on
            reason = f"the end of memory could not be found: {type(exc).__name__}: {first_line(exc)}"
            self._skip(self._limit.sized(workload, self._limit.tried), SkipKind.CRASHED, reason)
            return known
        how = " with the step not compiled" if workload.execution in _COMPILED else ""
        self._skip(
            self._limit.sized(workload, refused),
            SkipKind.OUT_OF_MEMORY,
            f"found by bisection{how}: {refused} sequences of {tokens(workload.sequence_length)} tokens do not fit "
            f"into {binary_bytes(self._device.memory().total_bytes)}, {largest} do",
        )
        for _ in range(_LIMIT_ATTEMPTS):
            if largest <= known or self._over():
                return known
            if isinstance(self._visit(self._limit.sized(workload, largest), _never), Run):
                return largest
            largest = max(known, int(largest * _LIMIT_STEP))
        return known

    def _visit(self, workload: Workload, watch: Callable[[PairedSamples], bool]) -> Run | Skip | None:
        """Measure and report one workload; None where it is done already or the time is up."""
        if workload.key in self._done or self._over():
            return None
        self._done.add(workload.key)
        self._pipe.send(encode_event(Event(event="started", key=workload.key)))

        def measure() -> Run:
            return self._runner.measure(workload, None, kept=self._kept, watch=watch)[0]

        outcome = attempt_with(self._runner, self._request, workload, measure)
        self._pipe.send(encode(outcome))
        if workload.execution in _COMPILED:
            plain_regions(self._kept.model)  # compiled for this batch alone
        gc.collect()
        self._device.empty_cache()
        return outcome

    def _refuse_by_bytes(self, workload: Workload) -> None:
        """Record a batch that was not tried: filling the memory of a machine others use would harm them."""
        if workload.key not in self._done:
            self._skip(
                workload,
                SkipKind.OUT_OF_MEMORY,
                f"{workload.batch_size} sequences of {tokens(workload.sequence_length)} tokens need more than half of "
                "the machine's free memory; not tried",
            )

    def _skip(self, workload: Workload, kind: SkipKind, reason: str) -> None:
        skip = Skip(
            session_id=self._request.session_id,
            started_at=utc_now(),
            workload=workload,
            kind=kind,
            reason=reason,
        )
        self._pipe.send(encode(skip))

    def _over(self) -> bool:
        deadline = self._request.deadline_seconds
        return deadline is not None and time.perf_counter() > deadline


def _always(_: PairedSamples) -> bool:
    return True


def _never(_: PairedSamples) -> bool:
    return False


if __name__ == "__main__":
    main(run_sweep)
