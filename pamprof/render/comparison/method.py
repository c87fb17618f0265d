"""How the numbers were made: device, software, clocks, noise, stopping rule, conventions, provenance, schema."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.joined import JoinedRun
from pamprof.analysis.comparison.names import protocol_label
from pamprof.devices.parts import part_of
from pamprof.pricing.rates.rate_words import VCPU_MEANING, machine, rate_per_hour, standing, why_this_machine
from pamprof.records import Effort
from pamprof.records.codec import SCHEMA_VERSION
from pamprof.render.comparison.model import Fact
from pamprof.render.text import brackets, ceiling_words, listed, plural, point_label, roof_share

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import ProcessRatios
    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import Environment, Interval, PriceQuote
    from pamprof.render.comparison.inputs import ReportInputs

_STOPS = {
    "precision": "interval narrow enough",
    "sample-count": "sample count reached",
    "timeout": "time used up",
    "interrupted": "interrupted",
}


def method(inputs: ReportInputs) -> tuple[Fact, ...]:
    """Facts in reading order."""
    environment = inputs.environment
    facts = [*_machine(inputs, environment)] if environment is not None else []
    facts += [
        Fact(name="Noise floor", value=_noise(inputs)),
        Fact(name="Stopping rule", value=_stops(inputs)),
        Fact(name="Samples", value=_samples(inputs)),
        *_estimator(inputs),
        *_processes(inputs),
        *_weights(inputs),
        Fact(
            name="FLOP convention",
            value="A real multiply-add is 2, a complex one 8; causal attention is counted as causal. Elementwise work "
            "is counted apart (real 1, complex multiply 6, complex add 2) and is in no ratio here.",
        ),
        Fact(name="Ceilings", value=_ceilings(inputs)),
        Fact(name="Uncounted operators", value=_uncounted(inputs)),
        Fact(name="Clocks and throttling", value=_clocks(inputs)),
        Fact(name="Price", value=price_provenance(inputs.quote, inputs.quote_reason)),
        Fact(name="Records", value=f"{plural(len(inputs.records.runs), 'run')}, schema version {SCHEMA_VERSION}"),
    ]
    return tuple(facts)


def _weights(inputs: ReportInputs) -> list[Fact]:
    """Which arms run on stored weights; nothing where all run on initial values."""
    stored = {run.workload.spec.layer: run.workload.spec.checkpoint for run in inputs.records.runs}
    told = listed(
        tuple(f"{inputs.story.names.title(layer)} runs on {file}" for layer, file in stored.items() if file is not None)
    )
    return [Fact(name="Weights", value=f"{told}; other arms on initial values from the seed.")] if told else []


def _machine(inputs: ReportInputs, e: Environment) -> list[Fact]:
    reasons = {u.field: u.reason for run in inputs.records.runs for u in run.unknowns}

    # A report may show records of several commits.
    found = dict.fromkeys(run.environment.git_commit for run in inputs.records.runs)
    commits = ", ".join(commit for commit in found if commit is not None)

    def known(value: str | None, field: str) -> str:
        reason = reasons.get(f"environment.{field}", reasons.get(field, "not readable on this machine"))
        return value if value is not None else f"{units.UNKNOWN} ({reason})"

    device = f"{e.device_name}, {units.binary_bytes(e.device_memory_bytes)}"
    if e.device_kind != "cpu":
        device += f", {plural(e.device_count, 'device')} visible"
    facts = [Fact(name="Device", value=device)]
    if e.device_kind != "cpu":
        facts += [
            Fact(name="Driver", value=known(e.driver_version, "driver_version")),
            Fact(name="CUDA", value=known(e.cuda_version, "cuda_version")),
            Fact(
                name="Power limit",
                value=known(
                    None if e.power_limit_watts is None else f"{e.power_limit_watts:.0f} W", "power_limit_watts"
                ),
            ),
            Fact(
                name="Highest SM clock",
                value=known(
                    None if e.maximum_sm_clock_hertz is None else f"{e.maximum_sm_clock_hertz / 1e6:.0f} MHz",
                    "maximum_sm_clock_hertz",
                ),
            ),
            Fact(
                name="MIG",
                value=known(None if e.mig_enabled is None else ("on" if e.mig_enabled else "off"), "mig_enabled"),
            ),
        ]
        part = part_of(e)
        if part is not None:
            facts.append(Fact(name="Part of a board", value=part.words))
    facts += [
        Fact(
            name="Host",
            value=f"{e.cpu_name}, {plural(e.cpu_core_count, 'core')} usable, {plural(e.cpu_thread_count, 'thread')}, "
            f"{units.binary_bytes(e.host_memory_bytes)}, {e.operating_system}"
            + (f", {e.virtualisation}" if e.virtualisation else ""),
        ),
        Fact(
            name="Software",
            value=f"pamprof {e.pamprof_version}{f' ({commits})' if commits else ''}, "
            f"torch {e.torch_version}, {f'Triton {e.triton_version}, ' if e.triton_version else ''}"
            f"Python {e.python_version}",
        ),
        Fact(
            name="Precision flags",
            value=f"TF32 {'allowed' if e.tf32_allowed else 'off'}, float32 matmul precision "
            f"{e.float32_matmul_precision}, SDPA backends {listed(e.sdpa_backends) if e.sdpa_backends else 'none'}",
        ),
    ]
    return facts


def noise(inputs: ReportInputs) -> str:
    """``±1.2 % on this machine, 24 samples``; a dash with its reason where the reference was not paired with itself."""
    floor = inputs.analysis.noise_floor
    if floor is None:
        return f"{units.UNKNOWN} (the reference was not paired with itself at any point)"
    return f"{units.plus_minus(floor.half_width)} on this machine, {plural(floor.samples, 'sample')}"


def _noise(inputs: ReportInputs) -> str:
    floor = inputs.analysis.noise_floor
    if floor is None:
        return noise(inputs)
    where = f"{floor.point.phase}, {point_label(floor.point)}"
    quietest = units.plus_minus(floor.smallest_half_width)
    others = (
        f"the noisiest of {floor.measured_points} points, the quietest has {quietest}"
        if floor.measured_points > 1
        else "the only point"
    )
    return (
        f"{noise(inputs)}: half width of the interval of the reference's time over its own, sampled like every other "
        f"arm, at {where} ({others}). Its median was {units.percent(floor.median_deviation)} off 1, where nothing "
        f"differs."
    )


def _stops(inputs: ReportInputs) -> str:
    counts = Counter(str(run.timing.stop_reason) for run in inputs.records.runs)
    return (
        ", ".join(f"{_STOPS.get(name, name)} in {plural(count, 'run')}" for name, count in counts.most_common())
        or "no run"
    )


def _samples(inputs: ReportInputs) -> str:
    runs = inputs.records.runs
    if not runs:
        return "none"
    counts = sorted(len(run.timing.wall_time_seconds) for run in runs)
    steps = sorted(run.timing.steps_per_sample for run in runs)
    cold = sum(run.timing.cold_cache for run in runs)
    cache = "warm cache" if cold == 0 else "cold cache" if cold == len(runs) else f"cold cache in {plural(cold, 'run')}"
    return f"{counts[0]} to {counts[-1]} a run, {steps[0]} to {steps[-1]} steps a sample, {cache}, random data"


def _ceilings(inputs: ReportInputs) -> str:
    roofs = inputs.analysis.roofs
    found = tuple(f"{roof.dtype}: {_rates(roof)} ({roof.source})" for roof in roofs if roof.source is not None)
    reasons = dict.fromkeys(roof.unknown_reason for roof in roofs if roof.unknown_reason is not None)
    return "; ".join(found) or f"{units.UNKNOWN} ({'; '.join(reasons) or 'nothing was measured'})"


def _rates(roof: Roof) -> str:
    memory = (f"{b.kind} {units.si(b.bytes_per_second, 'B/s')}" for b in roof.bandwidths)
    return ", ".join((f"{roof.peak_kind} {units.si(roof.peak_flops_per_second, 'FLOP/s')}", *memory))


def roof_shares(inputs: ReportInputs) -> str:
    """``train 41.2 %, prefill 38.0 % of product, decode 93.4 % of read (transformer)``, or why that is unknown.

    The shares are those of each phase's baseline; a ceiling is named behind the last of the phases that it bounds.
    """
    placed = [(told, told.point.baseline.roof) for told in inputs.story.phases]
    known = [(told, place) for told, place in placed if place is not None and place.ceiling is not None]
    if not known:
        reasons = dict.fromkeys(roof.unknown_reason for roof in inputs.analysis.roofs if roof.unknown_reason)
        return f"{units.UNKNOWN} ({'; '.join(reasons) or 'nothing was measured'})"
    following = [ceiling_words(place) for _, place in known[1:]] + [""]
    shares = ", ".join(
        f"{told.phase} {roof_share(place)}" + ("" if ceiling_words(place) == after else f" of {ceiling_words(place)}")
        for (told, place), after in zip(known, following, strict=True)
    )
    labels = dict.fromkeys(inputs.arm(told.point.baseline.workload).label for told, _ in known)
    return f"{shares} ({', '.join(labels)})"


def _estimator(inputs: ReportInputs) -> tuple[Fact, ...]:
    """How ratios of samples were estimated; nothing where all runs are windows."""
    runs = [summary.run for point in inputs.analysis.points for summary in point.summaries]
    if runs and all(isinstance(run, JoinedRun) for run in runs):
        return ()
    return (
        Fact(
            name="Estimator",
            value="Arms and reference are sampled in turns in one process; intervals come from a block bootstrap of "
            "the paired samples. One estimate: an arm's step time is the baseline's own median times the arm's ratio, "
            "and tokens per second, FLOP/s and dollars follow from it, so that they divide to the ratio shown. "
            "No sample is dropped.",
        ),
    )


def _processes(inputs: ReportInputs) -> tuple[Fact, ...]:
    """How runs of windows were joined, and both ratios of every arm in a tile; nothing without such runs."""
    joined = [s.run for point in inputs.analysis.points for s in point.summaries if isinstance(s.run, JoinedRun)]
    if not joined:
        return ()
    told = dict.fromkeys(
        (f"{phase.phase}, {point_label(phase.point.point)}", comparison)
        for phase in inputs.story.phases
        for comparison in phase.point.comparisons
        if comparison.processes is not None and comparison.subject in phase.quoted
    )
    ratios = "; ".join(
        f"{where}, {inputs.full_label(comparison.subject)}: {_both(comparison.processes)}"
        for where, comparison in told
        if comparison.processes is not None
    )
    return (
        Fact(
            name="Windows and processes",
            value=f"{plural(len(joined), 'arm')} of effort {Effort.REFERENCE}: windows of back-to-back steps in the "
            "order reference, arm, arm, reference, then each arm alone, in fresh processes. A ratio is that of mean "
            "window times, joined over processes. Arms in turn share the power limit: where the ratio of the arms "
            "alone differs by more than noise, it is quoted. An arm's step time is the mean of the baseline's windows "
            "alone times the arm's ratio, and tokens per second, FLOP/s and dollars follow from it. None is dropped."
            + (f" {ratios}." if ratios else ""),
        ),
    )


def _both(ratios: ProcessRatios) -> str:
    alone = "alone not measured" if ratios.alone is None else f"alone {_ratio(ratios.alone)}"
    quoted = "each arm's own is quoted" if ratios.quoted is None else f"{ratios.quoted} is quoted"
    return (
        f"paired {_ratio(ratios.paired)}, {alone}, {quoted} "
        f"({protocol_label(ratios.process_count, ratios.spread_ratio)})"
    )


def _ratio(interval: Interval) -> str:
    return f"{units.ratio(interval.median)} {brackets(interval)}".rstrip()


def _uncounted(inputs: ReportInputs) -> str:
    found: Counter[str] = Counter()
    for run in inputs.records.runs:
        for operator in run.flops.uncounted_operators:
            found[operator.operator] += operator.count
    if not found:
        return "none; every operator that does arithmetic has a formula"
    shown = ", ".join(f"{name} ({count})" for name, count in found.most_common(12))
    return f"{shown}{f' and {len(found) - 12} more' if len(found) > 12 else ''}; FLOPs of these runs are lower bounds"


def _clocks(inputs: ReportInputs) -> str:
    monitors = [run.monitor for run in inputs.records.runs if run.monitor is not None]
    values = [v / 1e6 for m in monitors for s in m.series if s.signal == "sm_clock_hertz" for v in s.values]
    clock = f"SM clock {min(values):.0f} to {max(values):.0f} MHz while monitored; " if values else ""
    readable = [m.throttle_reasons for m in monitors if m.throttle_reasons is not None]
    if not readable:
        reasons = dict.fromkeys(
            u.reason for run in inputs.records.runs for u in run.unknowns if "throttle_reasons" in u.field
        )
        return f"{clock}throttling {units.UNKNOWN} ({'; '.join(reasons) or 'clock-event reasons cannot be read here'})"
    seen = Counter(reason for reasons in readable for reason in reasons)
    named = ", ".join(f"{name} in {plural(count, 'run')}" for name, count in seen.most_common())
    return f"{clock}{named or 'no throttling seen'}"


def price_provenance(quote: PriceQuote | None, reason: str) -> str:
    """Provider, instance, region, purchase option, date and source of the rate; or why there is none."""
    if quote is None:
        return f"{units.UNKNOWN} ({reason})"
    p = quote.chosen
    dated = p.observed_on.isoformat() if p.observed_on is not None else f"{p.observed_text} (no exact day)"
    count = f", {plural(p.device_count, 'device')}" if p.device_count != 1 else ""
    if p.used_vcpu_count is not None:
        return (
            f"{rate_per_hour(p)}: {machine(p)} ({why_this_machine(quote)}), {p.region}, {p.purchase_option}, read "
            f"{dated}, {p.source}. {VCPU_MEANING}"
        )
    place = standing(quote)
    return (
        f"{rate_per_hour(p)}: {p.provider} {p.instance}{count}, {p.region}, {p.purchase_option}, read {dated}, "
        f"{p.source}{f'; {place}' if place else ''}"
    )
