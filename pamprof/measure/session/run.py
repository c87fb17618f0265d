"""One session from request to records, whatever it measures: what every measuring command calls."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pamprof.hardware.host import processor_use
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest, identify_device
from pamprof.measure.session.runner import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.records import Session
from pamprof.records.store import RunStore
from pamprof.units import seconds
from pamprof.workloads.base import layer_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.measure.session.request import PriceLookup
    from pamprof.measure.session.settings import Settings
    from pamprof.records import Dtype, Perplexity, Phase, PriceQuote, Scope, SessionKind, Workload
    from pamprof.records.store import RecordFile

Request = TypeVar("Request", bound=MeasuringRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """What one session will do on the device at hand.

    Attributes:
        arms: The reference layer first.
        groups: One worker each; the first workload of a group is what the others are paired with.
        done: Keys of workloads that need no measurement, because earlier records have their outcome.
        planned: Keys of the workloads that will be measured; empty where the worker finds its points itself.
        preset: Sizes by name; None for the user's own.
        match_axis: What the arms are matched on.
        phases, scope, dtype: Of the workloads.
        perplexities: Quality figures to carry.
        settings: Sampling rules.
        time_budget_seconds: After which no further point is begun; None for no end.
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
    remarks: tuple[str, ...] = ()


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
    earlier = request.earlier_records(planner.kind)
    fresh = not request.path.exists()
    store = RunStore(request.path)
    worker = planner.spawn()  # imports torch while this process plans
    with _closing(store, worker, fresh=fresh):
        kind, ordinal, name = identify_device(request.device)
        plan = planner.plan(request, kind, earlier)
        session_id = uuid.uuid4().hex[:12]
        quote, unknown_reason = price(kind, name, processor_use() if kind == "cpu" else None)
        store.append(
            _header(
                request, planner.kind, plan, session_id=session_id, quote=quote, quote_unknown_reason=unknown_reason
            )
        )
        runner = SessionRunner(
            session_id=session_id,
            device="cpu" if kind == "cpu" else f"cuda:{ordinal}",
            settings=plan.settings,
            store=store,
            reporter=reporter,
            first_worker=worker,
            spawn=planner.spawn,
            time_budget_seconds=plan.time_budget_seconds,
        )
        for remark in plan.remarks:
            reporter.message(remark)
        begun = time.perf_counter()
        outcome = runner.run(plan.groups, plan.done)
        budget = plan.time_budget_seconds
        if budget is not None and time.perf_counter() - begun > budget:
            reporter.message(f"the time budget of {seconds(budget)} is used up; --resume measures what is missing")
        return outcome


def _header(
    request: MeasuringRequest,
    kind: SessionKind,
    plan: SessionPlan,
    *,
    session_id: str,
    quote: PriceQuote | None,
    quote_unknown_reason: str | None,
) -> Session:
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
    )


@contextlib.contextmanager
def _closing(store: RunStore, worker: WorkerProcess, *, fresh: bool) -> Iterator[None]:
    """Close ``store`` at the end; after an error, end ``worker`` and remove a file of records that is still empty.

    Args:
        store: Where outcomes go.
        worker: Started early, while this process was still planning.
        fresh: Whether the file of ``store`` was made for it.
    """
    path = store.path
    try:
        yield
    except BaseException:
        worker.kill()
        if fresh and path.stat().st_size == 0:
            path.unlink()
            with contextlib.suppress(OSError):  # the folder held something before
                path.parent.rmdir()
        raise
    finally:
        store.close()
