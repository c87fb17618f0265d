"""One session from request to records, whatever it measures: what every measuring command calls."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from pamprof.errors import DeviceError
from pamprof.hardware.host import processor_use
from pamprof.measure.ranks.session import run_shared
from pamprof.measure.session.groups import GroupsTask, measure_groups
from pamprof.measure.session.pace import Pace, used_up
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.request import MATCHED_LENGTH, IdentifiedDevice, MeasuringRequest, identify_device
from pamprof.measure.session.runner import Reporter, SessionOutcome, SessionRunner, together, utc_now
from pamprof.records import Session
from pamprof.records.store import RunStore
from pamprof.units import rough_seconds, usd, usd_rate
from pamprof.workloads.base import layer_facts
from pamprof.workloads.standard_output import talk_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pamprof.measure.ranks.plan import RankPlan
    from pamprof.measure.session.further import FurtherPoints
    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.measure.session.request import PriceLookup
    from pamprof.measure.session.settings import Settings
    from pamprof.records import (
        Dtype,
        Effort,
        Perplexity,
        Phase,
        Point,
        PriceQuote,
        Scope,
        SessionKind,
        UnplannedLayer,
        Workload,
    )
    from pamprof.records.store import RecordFile

Request = TypeVar("Request", bound=MeasuringRequest)

# Reading the records, drawing and writing the report; on two CPU cores.
_REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """What one session will do on the device at hand.

    Attributes:
        arms: The reference layer first.
        groups: In the order in which they are visited. A sweep starts a worker for each; the first workload of a group
            is what the others are paired with. A comparison has a workload in each, paired with the first measured of
            its point, or with fresh processes a whole point in each.
        done: Keys of workloads that need no measurement, because earlier records have their outcome.
        planned: Keys of the workloads that will be measured; empty where the worker finds its points itself.
        preset: Sizes by name; None for the user's own.
        match_axis: What the arms are matched on.
        phases, scope, dtype: Of the workloads.
        perplexities: Quality figures to carry.
        settings: Sampling rules.
        time_budget_seconds: After which no further point is begun; None for no end.
        references: Of a comparison: what workloads are paired with at points that earlier records hold.
        expected_seconds: Of a comparison: by key, what each workload is expected to take; None in a sweep, which finds
            its points itself.
        monitor_seconds: Monitored window by key, where it is not that of ``settings``.
        fresh_processes: Of a comparison whose groups are whole points: how many fresh workers measure each; None where
            one worker visits single workloads.
        compiled_ahead: Workloads that other processes compile while earlier ones are measured.
        effort: Of a comparison.
        further: Of a comparison: decides about points to add.
        substitutes: Of a comparison: whether a step that cannot be compiled or captured is measured without that.
        unplanned_count: Of a comparison: workloads that a standard one would plan besides.
        unplanned_layers: Layers that failed while they were planned.
        shared: Of a comparison: ranks that measure every arm once more together, after one device; None for none.
        remarks: Sentences for the reporter before the first group.
    """

    arms: tuple[PlannedArm, ...]
    groups: tuple[tuple[Workload, ...], ...]
    done: frozenset[str]
    planned: tuple[str, ...] = ()
    preset: str | None
    match_axis: str
    phases: tuple[Phase, ...]
    scope: Scope
    dtype: Dtype
    perplexities: tuple[Perplexity, ...] = ()
    settings: Settings
    time_budget_seconds: float | None = None
    references: Mapping[Point, Workload] = field(default_factory=dict)
    expected_seconds: Mapping[str, float] | None = None
    monitor_seconds: Mapping[str, float] = field(default_factory=dict)
    fresh_processes: int | None = None
    compiled_ahead: tuple[Workload, ...] = ()
    effort: Effort | None = None
    further: FurtherPoints | None = None
    substitutes: bool = False
    unplanned_count: int | None = None
    unplanned_layers: tuple[UnplannedLayer, ...] = ()
    shared: RankPlan | None = None
    remarks: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[Workload, ...]:
        """What is still to be measured, in order."""
        return tuple(workload for group in self.groups for workload in group if workload.key not in self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner(Generic[Request]):
    """How one kind of session is planned.

    Attributes:
        kind: Written into the header.
        worker_module: Run as ``python -m`` for each group.
        plan: From the request, the device's kind (``cpu`` or ``cuda``) and the records of an earlier session.
    """

    kind: SessionKind
    worker_module: str
    plan: Callable[[Request, str, RecordFile | None], SessionPlan]

    def spawn(self) -> WorkerProcess:
        """Start a worker."""
        return WorkerProcess(self.worker_module)


def run_session(
    request: Request, planner: Planner[Request], *, reporter: Reporter, price: PriceLookup
) -> SessionOutcome:
    """Measure what was asked for; every outcome is in ``output_dir/runs.jsonl`` when this returns.

    Args:
        request: What to measure.
        planner: Of the kind of session that ``request`` asks for.
        reporter: Who hears of progress.
        price: Finds the price of the measured device, to be kept with the records.

    Raises:
        UsageError: The request is wrong, or the folder holds records and ``resume`` was not asked for.
        OutputError: The folder cannot be written.
        DeviceError: A GPU was asked for and is not there.
    """
    begun = time.perf_counter()
    earlier = request.earlier_records(planner.kind)
    fresh = not request.path.exists()
    store = RunStore(request.path)
    worker = planner.spawn()  # imports torch while this process plans
    with closing(store, worker, fresh=fresh):
        device = identify_device(request.device)
        kind, ordinal = device.kind, device.ordinal
        plan = planned(request, planner, kind, earlier)
        session_id = uuid.uuid4().hex[:12]
        quote, unknown_reason = _priced(price, device)
        header = header_of(
            request, planner.kind, plan, session_id=session_id, quote=quote, quote_unknown_reason=unknown_reason
        )
        store.append(header)
        reporter.recorded(header)
        pace = pace_of(plan, begun)
        remarks = plan.remarks if pace is None else (*plan.remarks, what_to_expect(plan, pace, quote))
        for remark in remarks:
            reporter.message(remark)
        task = groups_task(request, plan, session_id=session_id, device="cpu" if kind == "cpu" else f"cuda:{ordinal}")
        budget = plan.time_budget_seconds
        if pace is None:
            begun = time.perf_counter()
            outcome = SessionRunner(
                session_id=session_id,
                device=task.device,
                settings=task.settings,
                store=store,
                reporter=reporter,
                first_worker=worker,
                spawn=planner.spawn,
                checkpoints=task.checkpoints,
                time_budget_seconds=budget,
            ).run(plan.groups, plan.done)
        else:
            outcome = measure_groups(
                task,
                store=store,
                reporter=reporter,
                pace=pace,
                first_worker=worker,
                spawn=planner.spawn,
                further=plan.further,
            )
        if plan.shared is not None and not outcome.interrupted:
            # An effort's own budget is that of the first part.
            left = None if pace is None or request.time_budget_seconds is None else pace.budget_left
            shared = run_shared(
                plan.shared, task, store=store, reporter=reporter, path=request.path, time_budget_seconds=left
            )
            outcome = together(outcome, shared)
        ran_out = outcome.left_out or (pace is None and budget is not None and time.perf_counter() - begun > budget)
        if budget is not None and ran_out:
            count = 0 if pace is None else outcome.left_out  # a sweep finds its points itself
            reporter.message(used_up(budget, count))
        return outcome


def plan_session(
    request: Request, planner: Planner[Request], price: PriceLookup, *, gpu: str | None = None
) -> tuple[SessionPlan, Pace | None, PriceQuote | None]:
    """What ``run_session`` would do, without a worker and without touching the disk.

    Args:
        request: What to measure.
        planner: Of the kind of session that ``request`` asks for.
        price: Finds the price of the device.
        gpu: The GPU that a request for one is planned for where this machine has none.

    Raises:
        UsageError, DeviceError: As ``run_session``.
    """
    begun = time.perf_counter()
    earlier = request.earlier_records(planner.kind)
    try:
        device = identify_device(request.device)
    except DeviceError as exc:
        if gpu is None:
            raise DeviceError(f"{exc}; or name the GPU that is to be planned for with --gpu") from exc
        device = IdentifiedDevice(kind="cuda", ordinal=0, name=gpu)
    plan = planned(request, planner, device.kind, earlier)
    return plan, pace_of(plan, begun), _priced(price, device)[0]


def groups_task(request: MeasuringRequest, plan: SessionPlan, *, session_id: str, device: str) -> GroupsTask:
    """Everything that ``plan`` measures, as data."""
    return GroupsTask(
        session_id=session_id,
        device=device,
        groups=plan.groups,
        done=tuple(plan.done),
        settings=plan.settings,
        expected_seconds=dict(plan.expected_seconds or {}),
        monitor_seconds=dict(plan.monitor_seconds),
        references=tuple(plan.references.values()),
        fresh_processes=plan.fresh_processes,
        compiled_ahead=plan.compiled_ahead,
        substitutes=plan.substitutes,
        checkpoints={
            arm.spec.checkpoint: str(request.checkpoints[arm.spec.layer].resolve())
            for arm in plan.arms
            if arm.spec.checkpoint is not None
        },
    )


def planned(request: Request, planner: Planner[Request], kind: str, earlier: RecordFile | None) -> SessionPlan:
    """The plan, whose first remark names what could not be read of the earlier records."""
    from pamprof.measure.any_layer.registration import end_probe

    with talk_to_stderr():
        plan = planner.plan(request, kind, earlier)
        end_probe()
    if earlier is None or earlier.damage is None:
        return plan
    return replace(plan, remarks=(f"{earlier.damage}; a workload in them is measured again", *plan.remarks))


def _priced(price: PriceLookup, device: IdentifiedDevice) -> tuple[PriceQuote | None, str | None]:
    return price(device.kind, device.name, processor_use() if device.kind == "cpu" else None, device.part)


def pace_of(plan: SessionPlan, begun: float) -> Pace | None:
    """Expected times and budget of a session that began at ``begun``; None where nobody knows its points before."""
    if plan.expected_seconds is None:
        return None
    return Pace(
        plan.expected_seconds,
        budget_seconds=plan.time_budget_seconds,
        begun=begun,
        closing_seconds=_REPORT_SECONDS,
    )


def what_to_expect(plan: SessionPlan, pace: Pace, quote: PriceQuote | None) -> str:
    """Points, time with its range, and dollars of what a plan still has to measure, in one sentence."""
    pending = plan.pending
    whole = pace.whole(pending)
    span = f"{rough_seconds(whole.low)} to {rough_seconds(whole.high)}"
    text = f"{len(pending)} points, about {rough_seconds(whole.seconds)} ({span})"
    if quote is not None:
        rate = float(quote.chosen.usd_per_device_hour)
        text += f", about {usd(whole.seconds / 3600 * rate)} at {usd_rate(rate)} an hour"
        used, share = quote.chosen.used_vcpu_count, quote.chosen.share
        text += "" if used is None else f" of {used} vCPU{'s' if used != 1 else ''}"
        text += "" if share is None else f" of {share.part} ({share.numerator}/{share.denominator} of the board)"
    if plan.effort is not None:
        text += f"; effort {plan.effort}"
    if plan.fresh_processes is not None:
        text += f", {plan.fresh_processes} fresh processes a point"
    if plan.further is not None and (where := plan.further.may_add()):
        text += f"; a third length may be added near a crossover ({where})"
    budget = plan.time_budget_seconds
    if budget is not None:
        needed = pace.needed(pending)
        text += f", at most {rough_seconds(budget)}"
        if plan.fresh_processes is not None and needed > budget:
            text += f" at a time: all takes about {rough_seconds(needed)}, and --resume goes on"
    return text


def header_of(
    request: MeasuringRequest,
    kind: SessionKind,
    plan: SessionPlan,
    *,
    session_id: str,
    quote: PriceQuote | None,
    quote_unknown_reason: str | None,
    fleet: str | None = None,
) -> Session:
    """The header of a session that carries out ``plan``."""
    return Session(
        session_id=session_id,
        started_at=utc_now(),
        command=request.command,
        preset=plan.preset,
        match_axis=plan.match_axis,
        arms=tuple(arm.facts for arm in plan.arms),
        sequence_length=MATCHED_LENGTH,
        planned=plan.planned,
        reference_layer=plan.arms[0].definition.name,
        phases=plan.phases,
        scope=plan.scope,
        dtype=plan.dtype,
        perplexities=plan.perplexities,
        quote=quote,
        quote_unknown_reason=quote_unknown_reason,
        kind=kind,
        layers=tuple({arm.definition.name: layer_facts(arm.definition) for arm in plan.arms}.values()),
        effort=plan.effort,
        unplanned_count=plan.unplanned_count,
        time_budget_seconds=plan.time_budget_seconds,
        unplanned_layers=plan.unplanned_layers,
        fleet=fleet,
    )


@contextlib.contextmanager
def closing(store: RunStore, worker: WorkerProcess | None, *, fresh: bool) -> Iterator[None]:
    """Close ``store`` at the end; after an error, end ``worker`` and remove a file of records that is still empty.

    Args:
        store: Where outcomes go.
        worker: Started early, while this process was still planning, if any.
        fresh: Whether the file of ``store`` was made for it.
    """
    try:
        yield
    except BaseException:
        if worker is not None:
            worker.kill()
            if not worker.is_closed:
                worker.close()
        if fresh:
            store.discard_if_empty()
        raise
    finally:
        store.close()
