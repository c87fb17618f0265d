"""A comparison on a fleet from request to records: planned here, measured wherever the engine has room."""

from __future__ import annotations

import contextlib
import heapq
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import PamprofError, UsageError
from pamprof.hardware.host import processor_use
from pamprof.measure.comparison.request import COMPARISON
from pamprof.measure.fleet.engine import counted, open_engine
from pamprof.measure.fleet.head import FleetRunner
from pamprof.measure.fleet.messages import Machine
from pamprof.measure.session.pace import ExpectedTime, Pace
from pamprof.measure.session.run import closing, groups_task, header_of, planned
from pamprof.records.store import RunStore
from pamprof.units import rough_seconds, usd, usd_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pamprof.measure.comparison.request import CompareRequest
    from pamprof.measure.fleet.engine import Engine, FleetCapacity
    from pamprof.measure.session.request import PriceLookup
    from pamprof.measure.session.run import SessionPlan
    from pamprof.measure.session.runner import Reporter, SessionOutcome
    from pamprof.records import PriceQuote, Session

# A group's process and worker import torch one after the other; measured on two busy cores, November 2026.
_START_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetForecast:
    """What a comparison on a fleet will do.

    Attributes:
        plan: Its groups are whole points.
        pace: Expected times.
        device_kind: ``cpu`` or ``cuda``.
        whole: Seconds of devices in all, the start of each group included.
        quotes: What an hour of each kind of device costs, as far as it is known before anything runs.
        fleet: Identifier of its sessions; that of the comparison that it goes on with.
        sentence: Points, groups, time and dollars.
    """

    plan: SessionPlan
    pace: Pace
    device_kind: str
    whole: ExpectedTime
    quotes: tuple[PriceQuote, ...]
    fleet: str
    sentence: str


def run_fleet(request: CompareRequest, *, reporter: Reporter, price: PriceLookup) -> SessionOutcome:
    """Measure on the fleet that ``request.on`` names; every outcome is in the records when this returns.

    Raises:
        UsageError: The request is wrong, or the engine's package is not installed.
        OutputError: The folder cannot be written.
        DeviceError: The fleet cannot be reached, lacks what was asked for, or runs another version.
    """
    with _opened(request) as engine:
        forecast = _forecast(request, engine.capacity(request.device), price)
        plan = forecast.plan
        fresh = not request.path.exists()
        store = RunStore(request.path)

        def begin_session(machine: Machine) -> Session:
            quote, reason = _priced(price, machine)
            header = header_of(
                request,
                COMPARISON.kind,
                plan,
                session_id=uuid.uuid4().hex[:12],
                quote=quote,
                quote_unknown_reason=reason,
                fleet=forecast.fleet,
            )
            store.append(header)
            reporter.recorded(header)
            return header

        with closing(store, None, fresh=fresh):
            for remark in (*plan.remarks, forecast.sentence):
                reporter.message(remark)
            task = groups_task(request, plan, session_id=forecast.fleet, device=forecast.device_kind)
            runner = FleetRunner(
                engine=engine,
                task=replace(task, groups=(), references=(), fresh_processes=1),
                copies=plan.fresh_processes or 1,
                store=store,
                reporter=reporter,
                pace=forecast.pace,
                begin_session=begin_session,
                further=plan.further,
            )
            return runner.run(plan.groups)


def forecast_fleet(request: CompareRequest, price: PriceLookup) -> FleetForecast:
    """What ``run_fleet`` would do; nothing is measured or written.

    Raises:
        UsageError, DeviceError: As ``run_fleet``.
    """
    with _opened(request) as engine:
        return _forecast(request, engine.capacity(request.device), price)


@contextlib.contextmanager
def _opened(request: CompareRequest) -> Iterator[Engine]:
    assert request.on is not None
    if request.settings.get("trace"):
        raise UsageError("--trace writes beside the records of one machine; leave it out with --on")
    if request.device.startswith("cuda:"):
        raise UsageError(f"--device {request.device} numbers a GPU of one machine; use --device cuda with --on")
    engine = open_engine(request.on, folder=request.output_dir)
    try:
        yield engine
    finally:
        engine.close()


def _forecast(request: CompareRequest, capacity: FleetCapacity, price: PriceLookup) -> FleetForecast:
    begun = time.perf_counter()
    earlier = request.earlier_records(COMPARISON.kind)
    plan = planned(request, COMPARISON, capacity.device_kind, earlier)
    sessions = () if earlier is None else earlier.sessions
    fleets = [session.fleet for session in sessions if session.fleet is not None]
    pace = Pace(plan.expected_seconds or {}, budget_seconds=plan.time_budget_seconds, begun=begun)
    # A device whose name nobody tells before a group runs is priced where the price alone says what it is.
    names = capacity.devices or ("",)
    kind = capacity.device_kind
    processor = processor_use() if kind == "cpu" and capacity.devices else None  # then it is this machine
    machines = [Machine(node="", device_kind=kind, device_name=name, processor=processor) for name in names]
    quotes = tuple(quote for machine in machines if (quote := _priced(price, machine)[0]) is not None)
    points, starts = pace.whole(plan.pending), _START_SECONDS * len(plan.groups)
    whole = ExpectedTime(low=points.low + starts, seconds=points.seconds + starts, high=points.high + starts)
    return FleetForecast(
        plan=plan,
        pace=pace,
        device_kind=kind,
        whole=whole,
        quotes=quotes,
        fleet=fleets[-1] if fleets else uuid.uuid4().hex[:12],
        sentence=_sentence(plan, pace, capacity, quotes, whole),
    )


def _priced(price: PriceLookup, machine: Machine) -> tuple[PriceQuote | None, str | None]:
    try:
        return price(machine.device_kind, machine.device_name, machine.processor, None)
    except PamprofError as exc:  # one GPU of several is not the one that a price was asked for
        return None, str(exc)


def _sentence(
    plan: SessionPlan, pace: Pace, capacity: FleetCapacity, quotes: Sequence[PriceQuote], whole: ExpectedTime
) -> str:
    """What a plan still has to measure, in time of devices, by the clock and in dollars."""
    pending = plan.pending
    device = "GPU" if capacity.device_kind == "cuda" else "node"
    text = f"{counted(len(pending), 'point')} in {counted(len(plan.groups), 'group')} on {capacity.name}"
    if capacity.devices:
        text += f" ({', '.join(capacity.devices)})"
    text += f": about {rough_seconds(whole.seconds)} of one {device} ({rough_seconds(whole.low)} to "
    text += f"{rough_seconds(whole.high)})"
    if capacity.slots is None:
        text += ", as the queue lets them begin"
    elif capacity.slots > 1:
        text += f", about {rough_seconds(_clock_seconds(plan, pace, capacity.slots))} by the clock"
    rates = sorted(float(quote.chosen.usd_per_device_hour) for quote in quotes)
    if rates:
        low, high = (usd(whole.seconds / 3600 * rate) for rate in (rates[0], rates[-1]))
        hour_low, hour_high = usd_rate(rates[0]), usd_rate(rates[-1])
        text += (
            f", about {low} at {hour_low} an hour"
            if low == high
            else (f", {low} to {high} at {hour_low} to {hour_high} an hour")
        )
    else:
        text += ", dollars unknown before a group runs: name the device by --gpu, or its rate by --price"
    if plan.effort is not None:
        text += f"; effort {plan.effort}"
    if plan.time_budget_seconds is not None:
        text += f", at most {rough_seconds(plan.time_budget_seconds)} by the clock"
    return text


def _clock_seconds(plan: SessionPlan, pace: Pace, slots: int) -> float:
    """When the last group ends, each begun as soon as a slot is free."""
    free = [0.0] * min(slots, max(1, len(plan.groups)))
    for group in plan.groups:
        heapq.heapreplace(free, free[0] + _START_SECONDS + pace.needed(group))
    return max(free)
