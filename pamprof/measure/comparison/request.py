"""A comparison: what ``pamprof compare`` asks for, and the session that measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.measure.comparison.plan import plan_groups
from pamprof.measure.comparison.points import points
from pamprof.measure.session.matched_arms import matched_arms
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest
from pamprof.measure.session.run import Planner, SessionPlan
from pamprof.measure.session.settings import default_settings
from pamprof.records import Execution, Perplexity, Phase, Scope, SessionKind, SkipKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.records import Dtype
    from pamprof.records.store import RecordFile

DEFAULT_LAYERS = ("transformer", "real_pam", "pam")
# Measured besides on a GPU, where they decide what the strongest reference is; a CPU's default has to stay short.
DEFAULT_GPU_REFERENCES = ("wide_head_transformer", "llama")

# Skips that a second attempt may well turn into a run.
_WORTH_ANOTHER_TRY = (SkipKind.TIMEOUT, SkipKind.CRASHED, SkipKind.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest(MeasuringRequest):
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        sizes: Own sizes of the PAM arm that replace the preset's, by ``LayerSpec`` field.
        executions: In order.
        phases, scope, batch_sizes, sequence_lengths: The points.
        match_axis: What the arms are matched on.
        perplexities: Quality figures to carry.
    """

    sizes: Mapping[str, int | float | str]
    executions: tuple[Execution, ...]
    phases: tuple[Phase, ...]
    scope: Scope
    batch_sizes: Mapping[Phase | None, tuple[int, ...]]
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]]
    match_axis: str
    perplexities: tuple[Perplexity, ...]


def _finished_keys(records: RecordFile | None) -> frozenset[str]:
    """Keys that need no second measurement."""
    if records is None:
        return frozenset()
    return frozenset(
        [run.workload.key for run in records.runs]
        + [skip.workload.key for skip in records.skips if skip.kind not in _WORTH_ANOTHER_TRY]
    )


def _plan(request: CompareRequest, device_kind: str, earlier: RecordFile | None) -> SessionPlan:
    cuda = device_kind == "cuda"
    dtype, preset = request.dtype_on(cuda=cuda), request.preset_on(cuda=cuda)
    arms, remarks = _arms(request, preset=preset, dtype=dtype, cuda=cuda)
    executions = request.executions or (
        (Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH) if cuda else (Execution.EAGER,)
    )
    groups = plan_groups(
        arms,
        points=points(
            device_kind=device_kind,
            phases=request.phases,
            scope=request.scope,
            dtype=dtype,
            batch_sizes=request.batch_sizes,
            sequence_lengths=request.sequence_lengths,
        ),
        implementations=request.implementations,
        executions=executions,
    )
    return SessionPlan(
        arms=arms,
        groups=groups,
        done=_finished_keys(earlier),
        planned=tuple(workload.key for group in groups for workload in group),
        preset=None if request.sizes else preset,
        match_axis=request.match_axis,
        phases=request.phases,
        scope=request.scope,
        dtype=dtype,
        perplexities=request.perplexities or _published_perplexities(preset, request.sizes),
        settings=default_settings(device_kind).changed(request.settings),
        remarks=remarks,
    )


def _arms(
    request: CompareRequest, *, preset: str, dtype: Dtype, cuda: bool
) -> tuple[tuple[PlannedArm, ...], tuple[str, ...]]:
    """The matched arms, and a sentence for each reference that nobody asked for and that has no matching size."""

    def matched(*layers: str) -> tuple[PlannedArm, ...]:
        return matched_arms(
            preset=preset,
            sizes=request.sizes,
            layers=layers,
            match_axis=request.match_axis,
            sequence_length=MATCHED_LENGTH,
            dtype=dtype,
        )

    if request.layers:
        return matched(*request.layers), ()
    first, *others = matched(*DEFAULT_LAYERS)
    references: list[PlannedArm] = []
    remarks: list[str] = []
    for layer in DEFAULT_GPU_REFERENCES if cuda else ():
        try:
            references += matched(layer)
        except UsageError as exc:
            remarks.append(f"{layer} is left out, because no size of it matches: {exc}")
    return (first, *references, *others), tuple(remarks)


def _published_perplexities(preset: str, sizes: Mapping[str, int | float | str]) -> tuple[Perplexity, ...]:
    """The paper's own figures, for the pair the paper trained and for no other."""
    if preset != "100m" or sizes:
        return ()
    source = "the paper's validation perplexity (arXiv:2604.05030), not measured here"
    return (
        Perplexity(layer="pam", value=30.0, source=source),
        Perplexity(layer="transformer", value=27.1, source=source),
    )


COMPARISON = Planner(kind=SessionKind.COMPARISON, worker_module="pamprof.measure.session.worker", plan=_plan)
