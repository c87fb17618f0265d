"""What every measuring command does alike: run one session, read its records back, say how to go on."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from json import dumps
from typing import TYPE_CHECKING, TypeVar

import typer

from pamprof.cli.configuration.invocation import folder_to_resume
from pamprof.cli.stored_files import read_stored
from pamprof.errors import PamprofError, StoppedError

if TYPE_CHECKING:
    from pamprof.measure.comparison.request import CompareRequest
    from pamprof.measure.session.request import MeasuringRequest, PriceLookup
    from pamprof.measure.session.run import Planner
    from pamprof.measure.session.runner import SessionOutcome
    from pamprof.records.store import RecordFile

    Request = TypeVar("Request", bound=MeasuringRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A session that left at least one run.

    Attributes:
        outcome: How it ended.
        records: Everything in its file, earlier sessions included.
        go_on: The options that go on with it.
    """

    outcome: SessionOutcome
    records: RecordFile
    go_on: str


def measure(request: Request, planner: Planner[Request], price: PriceLookup) -> Measured:
    """Run one session, here or on the fleet that a comparison names, and read its records.

    ``SIGTERM``, and a terminal that hangs up, interrupt it as Ctrl-C does.

    Raises:
        PamprofError: The session was refused, or its file holds no run.
    """
    from rich.console import Console

    from pamprof.measure.comparison.request import CompareRequest
    from pamprof.measure.fleet.run import run_fleet
    from pamprof.measure.session.run import run_session
    from pamprof.render.formats.progress import ProgressReporter

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup asks for
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    reporter = ProgressReporter(Console(stderr=True))
    if isinstance(request, CompareRequest) and request.on is not None:
        outcome = run_fleet(request, reporter=reporter, price=price)
    else:
        outcome = run_session(request, planner, reporter=reporter, price=price)
    records = read_stored(request.path)
    go_on = f"go on with --output-dir {shlex.quote(str(folder_to_resume(request.output_dir)))} --resume"
    if outcome.interrupted and not records.runs:
        raise StoppedError(f"interrupted before a point was measured; {go_on}")
    if not records.runs:
        reason = f"; the first reason: {records.skips[0].reason}" if records.skips else ""
        raise PamprofError(f"nothing could be measured{reason}; the skips are in {request.path}; {go_on}")
    return Measured(outcome=outcome, records=records, go_on=go_on)


def show_plan(request: CompareRequest, price: PriceLookup, *, gpu: str | None, json: bool) -> None:
    """Print what a comparison would measure, in order, with expected times; nothing is measured or written.

    Args:
        request: What to measure.
        price: Finds the price of the device.
        gpu: The GPU to plan for where this machine has none.
        json: Print JSON.
    """
    from pamprof.cli.output import print_table
    from pamprof.measure.comparison.request import COMPARISON
    from pamprof.measure.fleet.run import forecast_fleet
    from pamprof.measure.session.run import plan_session, what_to_expect
    from pamprof.render.text import clean
    from pamprof.units import rough_seconds, seconds, tokens

    if request.on is not None:
        forecast = forecast_fleet(request, price)
        plan, pace, quotes, sentence = forecast.plan, forecast.pace, forecast.quotes, forecast.sentence
        whole = forecast.whole
    else:
        plan, own_pace, quote = plan_session(request, COMPARISON, price, gpu=gpu)
        assert own_pace is not None
        whole = own_pace.whole(plan.pending)
        pace, quotes, sentence = own_pace, () if quote is None else (quote,), what_to_expect(plan, own_pace, quote)
    for remark in plan.remarks:
        typer.echo(clean(f"pamprof: {remark}"), err=True)
    pending = plan.pending
    if json:
        rows = [
            {
                "key": workload.key,
                "layer": workload.spec.layer,
                "implementation": workload.implementation,
                "execution": workload.execution,
                "phase": workload.phase,
                "batch_size": workload.batch_size,
                "sequence_length": workload.sequence_length,
                "expected_seconds": round(pace.expected(workload), 3),
            }
            for workload in pending
        ]
        expected = {"expected_seconds": whole.seconds, "low_seconds": whole.low, "high_seconds": whole.high}
        rate = max((float(quote.chosen.usd_per_device_hour) for quote in quotes), default=None)
        usd = None if rate is None else whole.seconds / 3600 * rate
        typer.echo(dumps({"rows": rows, **expected, "time_budget_seconds": plan.time_budget_seconds, "usd": usd}))
        return
    table, spent = [], 0.0
    for number, workload in enumerate(pending, start=1):
        needed = pace.expected(workload)
        spent += needed
        point = f"{workload.phase} {workload.batch_size} × {tokens(workload.sequence_length)}"
        arm = f"{workload.spec.layer} {workload.implementation} {workload.execution}"
        table.append((str(number), point, arm, seconds(needed, 2), rough_seconds(spent)))
    print_table(("", "point", "arm", "expected", "until then"), table, right=frozenset({0, 3, 4}))
    typer.echo(sentence)
