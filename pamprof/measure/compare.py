"""The comparison itself: match, plan, measure; what ``pamprof compare`` calls before anything is reported."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.hardware.device import resolve_device
from pamprof.hardware.host import cpu_name
from pamprof.hardware.nvml import open_nvml
from pamprof.measure.arms import matched_arms
from pamprof.measure.plan import Plan, build_plan
from pamprof.measure.points import points
from pamprof.measure.process import WorkerProcess
from pamprof.measure.session import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.measure.settings import Settings, default_settings
from pamprof.records import (
    Dtype,
    Execution,
    Perplexity,
    Phase,
    PriceQuote,
    Scope,
    Session,
    SkipKind,
)
from pamprof.records.store import RunStore, is_only_begun, read_records

if TYPE_CHECKING:
    from pathlib import Path

RECORDS_FILE = "runs.jsonl"

# Skips that a second attempt may well turn into a run.
_WORTH_ANOTHER_TRY = (SkipKind.TIMEOUT, SkipKind.CRASHED, SkipKind.INTERRUPTED)

# Device kind and name to a quote, or None with the reason.
PriceLookup = Callable[[str, str], tuple[PriceQuote | None, str | None]]

_MATCHED_LENGTH = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        command: The command line that reproduces it.
        output_dir: Folder of the records.
        resume: Go on with the records that are there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        preset: Sizes by name.
        sizes: Own sizes of the PAM arm that replace the preset's, by ``LayerSpec`` field.
        layers: Arms; the first that is a transformer, or else the first, is the reference.
        implementations: Names to keep.
        executions: In order.
        phases, scope, batch_sizes, sequence_lengths, dtype: The points.
        match_axis: What the arms are matched on.
        perplexities: Quality figures to carry.
        settings: Changes to the device's default sampling rules, by ``Settings`` field.
    """

    command: str
    output_dir: Path
    resume: bool
    device: str
    preset: str | None
    sizes: Mapping[str, int | float | str]
    layers: tuple[str, ...]
    implementations: tuple[str, ...]
    executions: tuple[Execution, ...]
    phases: tuple[Phase, ...]
    scope: Scope
    batch_sizes: Mapping[Phase | None, tuple[int, ...]]
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]]
    dtype: Dtype | None
    match_axis: str
    perplexities: tuple[Perplexity, ...]
    settings: Mapping[str, int | float | bool]


def compare(request: CompareRequest, *, reporter: Reporter, price: PriceLookup) -> SessionOutcome:
    """Measure what was asked for; every outcome is in ``output_dir/runs.jsonl`` when this returns.

    Args:
        request: What to compare.
        reporter: Who hears of progress.
        price: Finds the price of the measured device, to be kept with the records.

    Raises:
        UsageError: The request is wrong, or the folder holds records and ``resume`` was not asked for.
        OutputError: The folder cannot be written.
        DeviceError: A GPU was asked for and is not there.
    """
    path = request.output_dir / RECORDS_FILE
    done = _finished_keys(path, resume=request.resume)
    fresh = not path.exists()
    store = RunStore(path)
    worker = WorkerProcess()  # imports torch while this process plans
    try:
        kind, ordinal, name = identify_device(request.device)
        settings = _settings(kind, request.settings)
        session_id = uuid.uuid4().hex[:12]
        plan, header = _plan(request, kind)
        quote, unknown_reason = price(kind, name)
        store.append(replace(header, session_id=session_id, quote=quote, quote_unknown_reason=unknown_reason))
        runner = SessionRunner(
            session_id=session_id,
            device="cpu" if kind == "cpu" else f"cuda:{ordinal}",
            settings=settings,
            store=store,
            reporter=reporter,
            first_worker=worker,
        )
        return runner.run(plan.groups, done)
    except BaseException:
        worker.kill()
        if fresh and path.stat().st_size == 0:
            # Nothing was measured: leave nothing that a second attempt would stumble over.
            path.unlink()
            with contextlib.suppress(OSError):  # the folder held something before
                request.output_dir.rmdir()
        raise
    finally:
        store.close()


def identify_device(name: str) -> tuple[str, int, str]:
    """Kind, number and product name of a device, without opening it: this process must not occupy the GPU it measures.

    Raises:
        UsageError: No device is called that.
        DeviceError: It is not there.
    """
    kind, ordinal = resolve_device(name)
    if kind == "cpu":
        return kind, ordinal, cpu_name()
    product = open_nvml(ordinal=ordinal).name().value
    if product is None:
        import torch

        product = torch.cuda.get_device_name(ordinal)
    return kind, ordinal, product


def _finished_keys(path: Path, *, resume: bool) -> frozenset[str]:
    """Keys that need no second measurement.

    A comparison killed before its header was whole leaves an empty file or one unfinished line. Nothing is lost with
    it, so both ways of going on are allowed.

    Raises:
        UsageError: ``resume`` does not fit what the folder holds.
        RecordError: The file cannot be read.
    """
    if not path.exists():
        if resume:
            raise UsageError(f"--resume needs the records of an earlier comparison, and {path} is not there")
        return frozenset()
    if is_only_begun(path):
        return frozenset()
    if not resume:
        raise UsageError(f"{path} holds an earlier comparison; go on with --resume or choose another --output-dir")
    records = read_records(path)
    return frozenset(
        [run.workload.key for run in records.runs]
        + [skip.workload.key for skip in records.skips if skip.kind not in _WORTH_ANOTHER_TRY]
    )


def _settings(kind: str, changes: Mapping[str, int | float | bool]) -> Settings:
    return replace(default_settings(kind), **changes)  # type: ignore[arg-type]  # checked by Settings itself


def _plan(request: CompareRequest, kind: str) -> tuple[Plan, Session]:
    cuda = kind == "cuda"
    dtype = request.dtype or (Dtype.BFLOAT16 if cuda else Dtype.FLOAT32)
    preset = request.preset or ("100m" if cuda else "tiny")
    arms = matched_arms(
        preset=preset,
        sizes=request.sizes,
        layers=request.layers,
        match_axis=request.match_axis,
        sequence_length=_MATCHED_LENGTH,
        dtype=dtype,
    )
    executions = request.executions or (
        (Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH) if cuda else (Execution.EAGER,)
    )
    plan = build_plan(
        arms,
        points=points(
            device_kind=kind,
            phases=request.phases,
            scope=request.scope,
            dtype=dtype,
            batch_sizes=request.batch_sizes,
            sequence_lengths=request.sequence_lengths,
        ),
        implementations=request.implementations,
        executions=executions,
    )
    header = Session(
        session_id="",
        started_at=utc_now(),
        command=request.command,
        preset=None if request.sizes else preset,
        match_axis=request.match_axis,
        arms=tuple(arm.facts for arm in arms),
        sequence_length=_MATCHED_LENGTH,
        planned=tuple(workload.key for workload in plan.workloads),
        reference_layer=arms[0].definition.name,
        phases=request.phases,
        scope=request.scope,
        dtype=dtype,
        perplexities=request.perplexities or _published_perplexities(preset, request.sizes),
        quote=None,
        quote_unknown_reason=None,
    )
    return plan, header


def _published_perplexities(preset: str, sizes: Mapping[str, int | float | str]) -> tuple[Perplexity, ...]:
    """The paper's own figures, for the pair the paper trained and for no other."""
    if preset != "100m" or sizes:
        return ()
    source = "the paper's validation perplexity (arXiv:2604.05030), not measured here"
    return (
        Perplexity(layer="pam", value=30.0, source=source),
        Perplexity(layer="transformer", value=27.1, source=source),
    )
