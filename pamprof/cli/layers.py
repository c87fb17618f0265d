"""``pamprof layers``: sizes, parameters and FLOP of the layers that can be measured."""

from __future__ import annotations

from typing import Annotated

import typer

from pamprof.api.texts import choice, layers_with_sources, own_sizes
from pamprof.cli.options import (
    Activation,
    ChunkSize,
    Depth,
    HeadDim,
    Heads,
    HiddenDim,
    Json,
    LayerArguments,
    Match,
    ModelDim,
    NamedLayers,
    StateCount,
    VocabularySize,
    reporting_errors,
)
from pamprof.cli.output import print_json, print_table
from pamprof.records import Dtype
from pamprof.units import UNKNOWN, binary_bytes, significant, tokens


@reporting_errors
def layers(
    preset: Annotated[str, typer.Option(help="Sizes by name, such as tiny, 25m, 100m or 1b (parameters).")] = "100m",
    layer: NamedLayers = None,
    layer_arg: LayerArguments = None,
    match: Match = "parameters",
    sequence_length: Annotated[
        int, typer.Option(min=1, max=2**31, help="Tokens the per-token figures refer to.")
    ] = 2048,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16: what the state is counted in.")] = "bfloat16",
    model_dim: ModelDim = None,
    heads: Heads = None,
    head_dim: HeadDim = None,
    depth: Depth = None,
    hidden_dim: HiddenDim = None,
    vocabulary_size: VocabularySize = None,
    chunk_size: ChunkSize = None,
    state_count: StateCount = None,
    activation: Activation = None,
    json: Json = False,
) -> None:
    """Print every arm's sizes, parameters and FLOPs as matched. Measures nothing."""
    from pamprof.measure.any_layer.registration import register_named
    from pamprof.measure.comparison.request import DEFAULT_LAYERS
    from pamprof.measure.session.matched_arms import planned_arms
    from pamprof.records import UnplannedLayer
    from pamprof.render.text import clean
    from pamprof.workloads.registry import broken_layers
    from pamprof.workloads.standard_output import talk_to_stderr

    named, sources = layers_with_sources(layer or (), layer_arg or ())
    with talk_to_stderr():
        register_named(sources)
        arms, failed = planned_arms(
            preset=preset,
            sizes=own_sizes(
                model_dim=model_dim,
                heads=heads,
                head_dim=head_dim,
                depth=depth,
                hidden_dim=hidden_dim,
                vocabulary_size=vocabulary_size,
                chunk_size=chunk_size,
                state_count=state_count,
                activation=activation,
            ),
            layers=named or DEFAULT_LAYERS,
            match_axis=match,
            sequence_length=sequence_length,
            dtype=choice(Dtype, dtype, "--dtype"),
        )
        broken = [UnplannedLayer(layer=name, reason=reason) for name, reason in broken_layers().items()]
    for each in {each.layer: each for each in (*broken, *failed)}.values():
        typer.echo(clean(f"pamprof: layer {each.words}"), err=True)
    facts = [arm.facts for arm in arms]
    if json:
        import msgspec

        document = [
            {**msgspec.to_builtins(fact), "implementations": arm.definition.implementations}
            for arm, fact in zip(arms, facts, strict=True)
        ]
        print_json(document)
        return
    print_table(
        (
            "layer",
            "width",
            "heads",
            "layers",
            "hidden",
            "parameters",
            "forward MFLOP/token",
            "training",
            "decode",
            "state or cache",
            "implementations",
        ),
        [
            (
                fact.title,
                f"{fact.spec.model_dim}{' complex' if arm.definition.complex_valued else ''}",
                f"{fact.spec.heads} × {fact.spec.head_dim}"
                + (f", {fact.spec.state_count} states" if fact.spec.state_count > 1 else ""),
                str(fact.spec.depth),
                str(fact.spec.hidden_dim),
                f"{fact.parameter_count:,}",
                *(
                    UNKNOWN if flops is None else significant(flops / 1e6, 4)
                    for flops in (
                        fact.matrix_flop_count_per_token,
                        fact.train_matrix_flop_count_per_token,
                        fact.decode_matrix_flop_count_per_token,
                    )
                ),
                binary_bytes(fact.state_bytes),
                ", ".join(arm.definition.implementations),
            )
            for arm, fact in zip(arms, facts, strict=True)
        ],
        right=frozenset({3, 4, 5, 6, 7, 8, 9}),
    )
    typer.echo(
        f"Matched on {match}; per token at {tokens(sequence_length)} tokens; a real multiply-add is 2 FLOP, "
        "a complex one 8; causal attention counted as causal."
    )
    for fact in facts:
        residuals = ", ".join(f"{residual.axis} {residual.residual:+.1%}" for residual in fact.residuals)
        if residuals:
            typer.echo(clean(f"{fact.title} against the matched sizes: {residuals}"))
