"""The request of a comparison from the texts of its options, as the command line gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from pamprof.api.texts import (
    checkpoints,
    choice,
    duration,
    layers_with_sources,
    names,
    own_sizes,
    perplexity,
    some_names,
)
from pamprof.errors import UsageError
from pamprof.records import Dtype, Effort, Execution, Parallel, Phase, RankLayout, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Unpack

    from pamprof.measure.comparison.request import CompareRequest

MOST_RANKS = 64


class CompareOptions(TypedDict):
    """Options of ``pamprof compare`` by their names, each as its text is on the command line; None: not given."""

    preset: str | None
    batch_size: Sequence[str] | None
    sequence_length: Sequence[str] | None
    phase: str
    scope: str
    dtype: str | None
    device: str
    implementation: str
    execution: str
    layer: Sequence[str] | None
    layer_arg: Sequence[str] | None
    checkpoint: Sequence[str] | None
    match: str
    model_dim: int | None
    heads: int | None
    head_dim: int | None
    depth: int | None
    hidden_dim: int | None
    vocabulary_size: int | None
    chunk_size: int | None
    state_count: int | None
    activation: str | None
    dropout: float | None
    perplexity: Sequence[str] | None
    effort: str
    time_budget: str | None
    repeat: int | None
    on: str | None
    ranks: int
    parallel: str
    activation_checkpointing: bool
    time_limit: str | None
    half_width: float | None
    monitor: str | None
    point_timeout: str
    cold_cache: bool
    seed: int
    trace: bool


def compare_request(*, command: str, output_dir: Path, resume: bool, **given: Unpack[CompareOptions]) -> CompareRequest:
    """What ``given`` asks for.

    Args:
        command: The command line that reproduces it, kept with the records.
        output_dir: Folder of the records.
        resume: Go on with the records that are there.
        given: The options.

    Raises:
        UsageError: An option that cannot be.
    """
    from pamprof.measure.comparison.points import parse_sizes
    from pamprof.measure.comparison.request import CompareRequest

    changes: dict[str, int | float | bool | None] = {
        "time_limit_seconds": duration(given["time_limit"], "--time-limit"),
        "target_half_width": given["half_width"],
        "monitor_seconds": duration(given["monitor"], "--monitor", zero=True),
        "point_timeout_seconds": duration(given["point_timeout"], "--point-timeout"),
        "cold_cache": given["cold_cache"],
        "seed": given["seed"],
        "trace": given["trace"],
    }
    layer, dtype = given["layer"], given["dtype"]
    layers, sources = layers_with_sources(layer, given["layer_arg"] or ()) if layer else ((), {})
    return CompareRequest(
        command=command,
        output_dir=output_dir,
        resume=resume,
        device=given["device"],
        preset=given["preset"],
        sizes=own_sizes(
            model_dim=given["model_dim"],
            heads=given["heads"],
            head_dim=given["head_dim"],
            depth=given["depth"],
            hidden_dim=given["hidden_dim"],
            vocabulary_size=given["vocabulary_size"],
            chunk_size=given["chunk_size"],
            state_count=given["state_count"],
            activation=given["activation"],
            dropout=given["dropout"],
        ),
        layers=layers,
        sources=sources,
        implementations=names(given["implementation"]),
        executions=tuple(choice(Execution, name, "--execution") for name in names(given["execution"])),
        phases=tuple(choice(Phase, name, "--phase") for name in some_names(given["phase"], "--phase")),
        scope=choice(Scope, given["scope"], "--scope"),
        batch_sizes=parse_sizes(given["batch_size"] or [], option="--batch-size"),
        sequence_lengths=parse_sizes(given["sequence_length"] or [], option="--sequence-length"),
        dtype=None if dtype is None else choice(Dtype, dtype, "--dtype"),
        match_axis=given["match"],
        checkpoints=checkpoints(given["checkpoint"] or ()),
        perplexities=tuple(perplexity(text) for text in given["perplexity"] or ()),
        settings={name: value for name, value in changes.items() if value is not None},
        effort=choice(Effort, given["effort"], "--effort"),
        time_budget_seconds=duration(given["time_budget"], "--time-budget"),
        repeat=given["repeat"],
        on=given["on"],
        layout=_layout(
            given["ranks"], given["parallel"], checkpoints=given["activation_checkpointing"], on=given["on"]
        ),
    )


def _layout(ranks: int, parallel: str, *, checkpoints: bool, on: str | None) -> RankLayout | None:
    """Which ranks share a step; None for one device alone."""
    way = choice(Parallel, parallel, "--parallel")
    if not 1 <= ranks <= MOST_RANKS:
        raise UsageError(f"--ranks {ranks} is no number of devices of one machine; give 1 to {MOST_RANKS}")
    if ranks > 1 and on is not None:
        raise UsageError("--ranks shares a step on one machine and --on hands points to several; leave one of them out")
    if ranks == 1:
        if checkpoints:
            raise UsageError("--activation-checkpointing is measured by several ranks; add --ranks 2")
        return None
    return RankLayout(parallel=way, ranks=ranks, checkpoints_activations=checkpoints)
