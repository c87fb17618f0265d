"""In which order workloads are visited; expectations are read off the rules by hand."""

from dataclasses import replace

from pamprof.measure.comparison.worth import Worth, in_order, rank_by_worth
from pamprof.records import (
    Execution,
    ImplementationFacts,
    ImplementationKind,
    LayerFacts,
    LayerRole,
    Phase,
)
from tests.synthetic import synthetic_workload

E, C, G, CG = Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH
REPLAYS_FIRST = (CG, G, E, C)


def layer(name, role, **kinds):
    implementations = tuple(ImplementationFacts(name=key, kind=kind) for key, kind in kinds.items())
    return LayerFacts(
        layer=name, title=name, role=role, complex_valued=False, fixed_state=False, implementations=implementations
    )


PLAIN, PUBLISHED, KERNELS = ImplementationKind.PLAIN, ImplementationKind.PUBLISHED, ImplementationKind.KERNELS
FACTS = {
    "transformer": layer("transformer", LayerRole.REFERENCE, sdpa=PLAIN),
    "real_pam": layer("real_pam", LayerRole.TWIN, planar=PLAIN),
    "pam": layer("pam", LayerRole.SUBJECT, published=PUBLISHED, planar=PLAIN, fused=KERNELS),
}
ARMS = (("transformer", "sdpa"), ("real_pam", "planar"), ("pam", "published"), ("pam", "planar"), ("pam", "fused"))


def group(phase, batch, length, *, arms=ARMS, executions=REPLAYS_FIRST):
    """Every arm in every execution at one point, the reference's replays first."""
    return tuple(
        synthetic_workload(name, implementation, execution, phase, batch, sequence_length=length)
        for name, implementation in arms
        for execution in executions
    )


def ranked(groups, *, facts=FACTS, length=2048, has_kernels=True):
    found = rank_by_worth(groups, facts, sequence_length=length, has_kernels=has_kernels)
    assert list(found) == list(Worth)
    everything = [workload for workloads in found.values() for workload in workloads]
    assert sorted(w.key for w in everything) == sorted(w.key for members in groups for w in members)
    return {worth: [told(workload) for workload in workloads] for worth, workloads in found.items()}


def told(workload):
    arm = f"{workload.spec.layer} {workload.implementation} {workload.execution}"
    return f"{workload.phase} {workload.batch_size}x{workload.sequence_length} {arm}"


def test_a_gpu_plan_begins_with_the_best_arms_of_every_phase():
    found = ranked(
        (
            group(Phase.TRAIN, 3, 2048), group(Phase.TRAIN, 18, 2048), group(Phase.PREFILL, 1, 2048),
            group(Phase.PREFILL, 1, 16384), group(Phase.DECODE, 1, 2048), group(Phase.DECODE, 64, 2048),
            group(Phase.DECODE, 1, 16384), group(Phase.DECODE, 64, 16384),
        )
    )  # fmt: skip
    main = ("train 18x2048", "prefill 1x2048", "decode 64x2048")
    best = ("transformer sdpa compiled-graph", "pam fused graph")
    assert found[Worth.BEST] == [f"{place} {arm}" for place in main for arm in best]
    published = ("pam published compiled-graph", "pam published eager")
    assert found[Worth.PUBLISHED] == [f"{place} {arm}" for place in main for arm in published]
    # Batches of the main points first, and of those decode; then other batches, decode before training.
    others = ("decode 64x16384", "prefill 1x16384", "decode 1x2048", "decode 1x16384", "train 3x2048")
    assert found[Worth.CROSSOVER] == [f"{place} {arm}" for place in others for arm in best]
    assert found[Worth.TWIN] == [f"{place} real_pam planar compiled-graph" for place in main]
    # The kernels' own compiled replay is no rung: their best execution is measured already.
    assert found[Worth.LADDER] == [f"{place} pam planar compiled-graph" for place in main]
    assert found[Worth.PUBLISHED_ELSEWHERE] == [f"{place} {arm}" for place in others for arm in published]


def test_a_cpu_plan_takes_plain_code_for_the_best_and_kernels_last():
    points = ((Phase.TRAIN, 2, 512), (Phase.DECODE, 1, 512), (Phase.DECODE, 1, 1024))
    found = ranked([group(*point, executions=(E,)) for point in points], has_kernels=False)
    main = ("train 2x512", "decode 1x512")
    assert found[Worth.BEST] == [
        f"{place} {arm}" for place in main for arm in ("transformer sdpa eager", "pam planar eager")
    ]
    assert found[Worth.CROSSOVER] == ["decode 1x1024 transformer sdpa eager", "decode 1x1024 pam planar eager"]
    assert found[Worth.PUBLISHED] == [f"{place} pam published eager" for place in main]
    assert found[Worth.TWIN] == [f"{place} real_pam planar eager" for place in main]
    assert found[Worth.LADDER] == [f"{place} pam fused eager" for place in main]
    assert found[Worth.REST] == ["decode 1x1024 real_pam planar eager", "decode 1x1024 pam fused eager"]


def test_the_session_s_length_is_the_main_one_where_it_was_planned_and_else_the_shortest():
    points = ((Phase.PREFILL, 1, 512), (Phase.PREFILL, 1, 1024))
    groups = [group(*point, executions=(E,)) for point in points]
    assert ranked(groups, length=1024)[Worth.BEST][0].startswith("prefill 1x1024")
    assert ranked(groups, length=2048)[Worth.BEST][0].startswith("prefill 1x512")


def test_a_foreign_layer_without_published_code_is_visited_like_any_subject():
    facts = FACTS | {"mamba": LayerFacts(layer="mamba", title="Mamba-2")}
    arms = (("transformer", "sdpa"), ("mamba", "plain"), ("mamba", "other"))
    members = tuple(
        synthetic_workload(name if name == "transformer" else "pam", implementation, execution)
        for name, implementation in arms
        for execution in (CG, E)
    )
    renamed = tuple(w if w.spec.layer == "transformer" else _of_layer(w, "mamba") for w in members)
    found = ranked((renamed,), facts=facts)
    place = "train 3x2048"
    assert found[Worth.BEST] == [f"{place} transformer sdpa compiled-graph", f"{place} mamba plain compiled-graph"]
    assert found[Worth.PUBLISHED] == found[Worth.TWIN] == []
    assert found[Worth.LADDER] == [f"{place} mamba other compiled-graph"]


def _of_layer(workload, name):
    return replace(workload, spec=replace(workload.spec, layer=name))


def test_where_one_layer_is_measured_alone_its_first_workload_still_comes_first_at_each_point():
    arms = (("pam", "published"), ("pam", "fused"))
    found = ranked((group(Phase.DECODE, 1, 2048, arms=arms), group(Phase.DECODE, 1, 16384, arms=arms)))
    first = ("pam published compiled-graph", "pam fused graph")
    assert found[Worth.BEST] == [f"decode 1x2048 {arm}" for arm in first]
    assert found[Worth.CROSSOVER] == [f"decode 1x16384 {arm}" for arm in first]


def test_the_best_way_of_every_reference_is_measured_before_published_code():
    facts = FACTS | {"llama": layer("llama", LayerRole.REFERENCE, sdpa=PLAIN)}
    base = group(Phase.TRAIN, 18, 2048)
    llama = tuple(_of_layer(workload, "llama") for workload in base[:4])
    found = ranked(((*base[:4], *llama, *base[4:]),), facts=facts)
    arms = ("transformer sdpa compiled-graph", "pam fused graph")
    assert found[Worth.BEST] == [f"train 18x2048 {arm}" for arm in arms]
    assert found[Worth.REFERENCES] == ["train 18x2048 llama sdpa compiled-graph"]
    assert Worth.BEST < Worth.REFERENCES < Worth.PUBLISHED < Worth.CROSSOVER < Worth.TWIN


def test_of_the_phases_the_cheapest_is_visited_first_and_only_what_was_asked_for():
    groups = [group(phase, 1, 2048, executions=(CG,)) for phase in (Phase.TRAIN, Phase.DECODE)]
    groups.append(group(Phase.DECODE, 1, 16384, executions=(CG,)))
    found = rank_by_worth(groups, FACTS, sequence_length=2048, has_kernels=True)
    seconds = {w.key: 9.0 if w.phase is Phase.TRAIN else 2.0 for members in groups for w in members}
    visits = in_order(found, seconds, worths=(Worth.CROSSOVER, Worth.BEST, Worth.TWIN))
    places = ("decode 1x2048", "train 1x2048", "decode 1x16384")
    arms = ("transformer sdpa compiled-graph", "pam fused compiled-graph")
    assert [told(w) for w in visits[:6]] == [f"{place} {arm}" for place in places for arm in arms]
    assert [told(w) for w in visits[6:]] == [f"{place} real_pam planar compiled-graph" for place in places[:2]]


def test_a_layer_of_a_factory_is_measured_without_the_compiler_too():
    facts = FACTS | {"gru": LayerFacts(layer="gru", title="gru", carrier="mixer")}
    points = ((Phase.DECODE, 64, 2048), (Phase.DECODE, 64, 16384))
    groups = [
        (*base[:4], *(replace(_of_layer(workload, "gru"), implementation="module") for workload in base[:4]))
        for base in (group(*point) for point in points)
    ]
    found = ranked(groups, facts=facts)
    arms = ("transformer sdpa compiled-graph", "gru module compiled-graph")
    assert found[Worth.BEST] == [f"decode 64x2048 {arm}" for arm in arms]
    assert found[Worth.UNCOMPILED] == ["decode 64x2048 gru module graph"]
    assert found[Worth.UNCOMPILED_ELSEWHERE] == ["decode 64x16384 gru module graph"]
    eager = ranked([(base[0], *base[4:]) for base in groups], facts=facts)
    assert eager[Worth.UNCOMPILED] == ["decode 64x2048 gru module graph"]
