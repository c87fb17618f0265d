"""Serving that is checked: step times, a prediction on the disk, then the same requests served in real time.

The server's decisions and the prediction are ``analysis.simulation``'s, its steps ``measure.serving``'s.
"""

from __future__ import annotations

import gc
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.checked import checked_load
from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.highest_rate import highest_rate
from pamprof.analysis.simulation.live import WallClock, loop_seconds, serve
from pamprof.analysis.simulation.measured_times import CurveTable, End, MeasuredTimes
from pamprof.analysis.simulation.metrics import measure_load
from pamprof.analysis.simulation.sampled_times import SampledTimes
from pamprof.analysis.simulation.server import SequenceMemory, Server
from pamprof.api.served_prediction import predict, seconds_of
from pamprof.errors import RecordError, UsageError
from pamprof.records import PredictedLoad, SampledSteps, ServeCheck, ServerPolicy
from pamprof.records.store import RECORDS_FILE, RunStore
from pamprof.units import binary_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.simulation.checked import CheckedLoad
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.server import StepTimes
    from pamprof.api.serve_request import AskedLoad, ServeCheckRequest
    from pamprof.hardware.device import Device
    from pamprof.measure.serving.served_model import ServedModel
    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.records import Dtype, Environment, Unknown

# The batch is filled so often before the highest rate is believed.
_FILLS = 10
_OVERLOAD_PER_SECOND = 1e7
_MATCHED_LENGTH = 2048  # tokens that the facts of matched arms refer to


def serve_checks(request: ServeCheckRequest, say: Callable[[str], None]) -> Iterator[CheckedLoad]:
    """Each arm at each load as it is done; its record is on the disk by then.

    The last one is of an interrupted server where it was interrupted.

    Raises:
        UsageError: Arms or loads that cannot be served.
        UnsupportedError: A layer that cannot serve.
        OutputError: The folder cannot be written, or holds records already.
    """
    from pamprof.hardware.device import open_device
    from pamprof.hardware.environment import read_environment
    from pamprof.hardware.nvml.lookup import open_nvml
    from pamprof.measure.session.matched_arms import check_implementations, planned_arms
    from pamprof.records import Dtype

    path = request.output_dir / RECORDS_FILE
    if path.exists():
        raise UsageError(f"{path} holds records already; choose another --output-dir")
    device = open_device(request.device)
    cuda = device.kind == "cuda"
    dtype = request.dtype or (Dtype.BFLOAT16 if cuda else Dtype.FLOAT32)
    arms, left_out = planned_arms(
        preset=request.preset or ("100m" if cuda else "tiny"),
        sizes={},
        layers=request.layers,
        match_axis="parameters",
        sequence_length=_MATCHED_LENGTH,
        dtype=dtype,
    )
    check_implementations(arms, request.implementations)
    for failed in left_out:
        say(failed.words)
    environment, unknowns = read_environment(device, open_nvml(device.uuid))
    store = RunStore(path)
    session = _Session(
        request=request,
        device=device,
        environment=environment,
        unknowns=unknowns,
        dtype=dtype,
        store=store,
        say=say,
        session_id=uuid.uuid4().hex[:12],
    )
    try:
        for arm in arms:
            for checked in session.arm(arm, cuda=cuda):
                yield checked
                if checked.check.interrupted:
                    return
    finally:
        store.discard_if_empty()
        store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """A load at its rate, and what is expected of it."""

    asked: AskedLoad
    requests: Requests
    prediction: PredictedLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One command on one device."""

    request: ServeCheckRequest
    device: Device
    environment: Environment
    unknowns: tuple[Unknown, ...]
    dtype: Dtype
    store: RunStore
    say: Callable[[str], None]
    session_id: str

    def arm(self, arm: PlannedArm, *, cuda: bool) -> Iterator[CheckedLoad]:
        """Sample, predict all loads, then serve them."""
        from pamprof.measure.serving.arms import served_implementation
        from pamprof.measure.serving.served_model import ServedModel

        request = self.request
        implementation = served_implementation(arm, request.implementations, cuda=cuda)
        several = len(arm.definition.implementations) > 1
        title = f"{arm.definition.title} ({implementation})" if several else arm.definition.title
        longest = max(each.longest_tokens for each in request.requests.values())
        self.say(f"{title}: up to {request.largest_batch} sequences of up to {longest} tokens")
        model = ServedModel(
            arm.spec,
            arm.definition,
            self.device,
            implementation=implementation,
            dtype=self.dtype,
            largest_batch=request.largest_batch,
            longest_tokens=longest,
            seed=request.seed,
        )
        server, steps, source = self._server(model, title, longest)
        highest, sustained = self._highest(server)
        known = (
            "no rate holds the limits" if highest is None else f"the limits hold up to {highest:.4g} requests a second"
        )
        self.say(f"{title}: predicted: {known}; in full use it completes {sustained:.4g} a second")
        loads = [self._predicted(load, highest or sustained, server, title, source) for load in request.loads]
        for load in loads:
            rate = load.requests.per_second
            self.say(
                f"{title}, {load.asked.name} ({load.asked.arrivals}): {rate:.4g} requests a second for "
                f"{len(load.requests) / rate:.0f} s; predicted in {load.prediction.file}"
            )
            check = replace(
                self._serve(load, model, server), title=title, highest_requests_per_second=highest, steps=steps
            )
            self.store.append(check)
            yield checked_load(check)
            if check.interrupted:
                return

    def _predicted(self, load: AskedLoad, highest: float, server: Server, title: str, source: str) -> _Load:
        """The load's requests, and what is expected of them, which is on the disk when this returns."""
        request = self.request
        requests = request.requests[load.arrivals]
        if load.share is not None:
            requests = requests.at_rate(load.share * highest)
        elif load.per_second is not None:
            requests = requests.at_rate(load.per_second)
        told: dict[str, str | int] = {
            "arm": title,
            "load": load.name,
            "arrivals": load.arrivals,
            "seed": request.seed,
            "step_times": source,
        }
        prediction = predict(requests, server, request.level, request.output_dir, told=told)
        return _Load(asked=load, requests=requests, prediction=prediction)

    def _server(self, model: ServedModel, title: str, longest: int) -> tuple[Server, SampledSteps | None, str]:
        request = self.request
        memory = SequenceMemory(
            room_bytes=request.room_bytes or float(model.room_bytes),
            bytes_per_sequence=model.bytes_per_sequence,
            bytes_per_token=model.bytes_per_token,
        )
        shortest = min(each.shortest_tokens for each in request.requests.values())
        if memory.kept_bytes(shortest - 1) > memory.room_bytes:
            raise UsageError(
                f"{binary_bytes(memory.room_bytes)} hold no sequence of {title}: one of {shortest} tokens takes "
                f"{binary_bytes(memory.kept_bytes(shortest - 1))}; give --memory of more"
            )

        def server(times: StepTimes) -> Server:
            return Server(
                times=times,
                memory=memory,
                largest_batch=request.largest_batch,
                chunk_tokens=request.chunk_tokens,
                policy=request.policy,
            )

        self._warm(model)
        if request.curves:
            curve = _curve_of(request.curves, model, title)
            sessions = ", ".join(sorted({run.session_id for run in curve.runs}))
            table = CurveTable(curve=curve, longest_context=longest)
            return server(MeasuredTimes(table, End.MEDIAN)), None, f"pamprof serve-sweep, session {sessions}"
        from pamprof.measure.serving.step_samples import sample_axes, sample_steps

        every = tuple(request.requests.values())
        axes = sample_axes(
            model,
            longest_prompt=max(int(each.input_tokens.max()) for each in every),
            shortest_prompt=min(int(each.input_tokens.min()) for each in every),
            longest_tokens=longest,
            chunk_tokens=request.chunk_tokens,
        )
        steps = sample_steps(model, self.device, axes, budget_seconds=request.sample_seconds)
        own = loop_seconds(next(iter(request.requests.values())), server(SampledTimes(steps=steps)))
        steps = replace(steps, host_seconds=own)
        return server(SampledTimes(steps=steps)), steps, "steps of the server itself, sampled before it served"

    def _warm(self, model: ServedModel) -> None:
        from pamprof.measure.serving.step_samples import warm_pieces

        chunk = self.request.chunk_tokens
        lengths = (min(int(tokens), chunk) for each in self.request.requests.values() for tokens in each.input_tokens)
        warm_pieces(model, lengths, self.request.sample_seconds)

    def _highest(self, server: Server) -> tuple[float | None, float]:
        """The highest rate that holds the limits, and the one in full use, of the first load's arrivals."""
        request = self.request
        first = request.requests[request.loads[0].arrivals]
        enough = first.at_least(_FILLS * request.largest_batch, measured_from=request.largest_batch)
        found = highest_rate(
            lambda rate: simulate(enough.at_rate(rate), server),
            lambda outcome: measure_load(outcome, request.level),
            request.level,
            overload_per_second=_OVERLOAD_PER_SECOND,
        )
        return found.requests_per_second, found.sustained_per_second

    def _serve(self, load: _Load, model: ServedModel, server: Server) -> ServeCheck:
        from pamprof.measure.session.runner import utc_now

        request, requests = self.request, load.requests
        model.begin(requests.input_tokens.tolist())
        # Nothing but the device and the loop may take time: whatever is there now is looked through once.
        gc.collect()
        gc.freeze()
        gc.disable()
        started_at = utc_now()
        try:
            served = serve(requests, server, model, WallClock())
        finally:
            gc.enable()
            gc.unfreeze()
        outcome, limits, memory = served.outcome, request.level.limits, server.memory
        return ServeCheck(
            session_id=self.session_id,
            started_at=started_at,
            command=request.command,
            environment=self.environment,
            unknowns=self.unknowns,
            title="",
            workload=model.workload,
            load=load.asked.name,
            arrivals=load.asked.arrivals,
            seed=request.seed,
            requests_per_second=requests.per_second,
            highest_requests_per_second=None,
            limit_seconds_to_first_token=limits.seconds_to_first_token,
            limit_seconds_per_output_token=limits.seconds_per_output_token,
            percentile=request.level.percentile,
            policy=ServerPolicy(
                largest_batch=server.largest_batch,
                chunk_tokens=server.chunk_tokens,
                memory_policy=server.policy.value,
                room_bytes=memory.room_bytes,
                bytes_per_sequence=memory.bytes_per_sequence,
                bytes_per_token=memory.bytes_per_token,
            ),
            steps=None,
            prediction=load.prediction,
            measured_from=requests.measured_from,
            arrival_seconds=tuple(requests.arrival_seconds.tolist()),
            input_tokens=tuple(requests.input_tokens.tolist()),
            output_tokens=tuple(requests.output_tokens.tolist()),
            first_seconds=seconds_of(outcome.first_seconds),
            finish_seconds=seconds_of(outcome.finish_seconds),
            token_count=sum(map(len, model.answers.values())),
            step_count=served.steps,
            piece_count=served.reads,
            decode_step_count=outcome.decode_steps,
            busy_seconds=outcome.busy_seconds,
            device_seconds=served.device_seconds,
            expected_seconds=served.expected_seconds,
            preemption_count=outcome.preemptions,
            interrupted=served.interrupted,
            notes=_NOTES,
        )


_NOTES = (
    "a step decodes every running sequence and then reads prompts, waiting for each, as the simulation adds them up",
    "seats of a cache are allocated for the longest request; admission counts the tokens that are held",
    "random weights and prompts; every answer has the length that was asked for",
)


def _curve_of(curves: Sequence[ServingCurve], model: ServedModel, title: str) -> ServingCurve:
    """The curve of the layer and implementation that is served."""
    wanted = model.workload
    for curve in curves:
        found = curve.runs[0].workload
        same = found.spec.layer == wanted.spec.layer and found.implementation == wanted.implementation
        if same and found.spec.model_dim == wanted.spec.model_dim and found.dtype is wanted.dtype:
            return curve
    there = ", ".join(curve.title for curve in curves) or "none"
    raise RecordError(
        f"the records hold no serving curve of {title} at its sizes (there is {there}); leave out "
        "--step-times, and the server samples its own steps"
    )
