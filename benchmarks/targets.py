"""The ``fused`` implementation against this project's targets for an H200, from records: target, feasible, reached.

    python benchmarks/targets.py RUN… --core core.json -o targets.md

RUN is a folder or file of ``pamprof compare``, one for each independent run; core.json comes from ``core.py``.
"Feasible" is what a first study of custom kernels reached on one NVIDIA H200 with the 100M pair; both columns were set
before these kernels existed. Ratios are PAM over transformer in time per token, each in its fastest execution; in
brackets is the 95 % interval. "By the median" means that an interval of some run reaches beyond. Tokens per second and
milliseconds are the transformer's own time times the ratio, as in every report.

Fresh processes of effort reference are joined to one figure of their RUN, whose ratio is that of the arms alone where
it differs from the paired one; the column "estimate" says which was judged, and the paired ratio stands beside it. The
last line says which targets hold.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.analysis import analyse
from pamprof.analysis.comparison.comparisons import compare
from pamprof.analysis.comparison.pairing import fastest
from pamprof.analysis.comparison.summaries import summarise
from pamprof.records import Interval, Phase, Run
from pamprof.records.store import read_records
from pamprof.statistics import QuotedRatio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Target:
    """One figure at one point; ``value`` finds it in a run's fused and transformer records."""

    title: str
    phase: Phase
    batch_size: int
    length: int
    feasible: float
    target: float
    value: Callable[[Run, Run], Interval]
    more_is_better: bool = False


def _ratio(fused: Run, transformer: Run) -> Interval:
    return compare(fused, transformer).time_ratio


def _tokens(fused: Run, transformer: Run) -> Interval:
    return summarise(fused, "fused", transformer).tokens_per_second


def _milliseconds(fused: Run, transformer: Run) -> Interval:
    seconds = summarise(fused, "fused", transformer).step_seconds
    low, median, high = (1e3 * value for value in (seconds.low, seconds.median, seconds.high))
    return Interval(low=low, median=median, high=high, confidence=seconds.confidence)


def _ratio_target(phase: Phase, batch_size: int, length: int, feasible: float, target: float) -> Target:
    title = f"{phase}, {batch_size} × {length}: ratio"
    return Target(
        title=title,
        phase=phase,
        batch_size=batch_size,
        length=length,
        feasible=feasible,
        target=target,
        value=_ratio,
    )


TARGETS = (
    Target(
        title="train, 18 × 2048: tokens/s",
        phase=Phase.TRAIN,
        batch_size=18,
        length=2048,
        feasible=344e3,
        target=440e3,
        value=_tokens,
        more_is_better=True,
    ),
    _ratio_target(Phase.TRAIN, 18, 2048, 1.50, 1.20),
    _ratio_target(Phase.TRAIN, 9, 4096, 1.32, 1.05),
    _ratio_target(Phase.TRAIN, 4, 8192, 1.04, 0.82),
    _ratio_target(Phase.TRAIN, 2, 16384, 0.71, 0.56),
    _ratio_target(Phase.TRAIN, 1, 32768, 0.45, 0.36),
    _ratio_target(Phase.PREFILL, 1, 2048, 1.70, 1.30),
    _ratio_target(Phase.PREFILL, 1, 16384, 0.77, 0.50),
    Target(
        title="decode, 1 × 2048: ms per token",
        phase=Phase.DECODE,
        batch_size=1,
        length=2048,
        feasible=0.306,
        target=0.20,
        value=_milliseconds,
    ),
    _ratio_target(Phase.DECODE, 1, 2048, 0.62, 0.40),
    _ratio_target(Phase.DECODE, 1, 16384, 0.41, 0.27),
    _ratio_target(Phase.DECODE, 64, 2048, 0.50, 0.20),
    _ratio_target(Phase.DECODE, 64, 16384, 0.09, 0.035),
)
# What the targets were set against. Where it was not measured, the fastest other reference is judged, and named.
_REFERENCE = "transformer"
# Microseconds of the core: sequences, length, direction, feasible, target.
CORE_TARGETS = (
    (18, 2048, "forward", 111.0, 75.0),
    (3, 2048, "forward", 39.0, 20.0),
    (1, 16384, "forward", 72.0, 42.0),
    (18, 2048, "forward and backward", 440.0, 250.0),
)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one run says of a target: the figure that is judged, and which estimate it is."""

    figure: Interval
    estimate: str


def reached(target: Target, runs: Sequence[Run], references: Sequence[str] = (_REFERENCE,)) -> Reached | None:
    """The figure in one run's records, processes joined; None where fused or every reference was not measured there."""
    here = [
        run
        for run in runs
        if (run.workload.phase, run.workload.batch_size, run.workload.sequence_length)
        == (target.phase, target.batch_size, target.length)
    ]
    fused = fastest(run for run in here if run.workload.implementation == "fused")
    own = [run for run in here if run.workload.spec.layer == _REFERENCE]
    reference = fastest(own or [run for run in here if run.workload.spec.layer in references])
    if fused is None or reference is None:
        return None
    against = "" if own else f", against {reference.workload.spec.layer}"
    return Reached(figure=target.value(fused, reference), estimate=estimate(fused, reference) + against)


def estimate(fused: Run, transformer: Run) -> str:
    """``alone (paired 1.17), 3 processes``; only ``paired`` where nothing was measured alone."""
    found = compare(fused, transformer).processes
    if found is None:
        return "paired"
    count = f"{found.process_count} process{'es' if found.process_count > 1 else ''}"
    if found.alone is None:
        return f"paired, alone not measured, {count}"
    both = {QuotedRatio.PAIRED: found.paired, QuotedRatio.ALONE: found.alone}
    if found.quoted is None:
        listed = ", ".join(f"{name} {number(value.median)}" for name, value in both.items())
        return f"each arm's own ({listed}), {count}"
    (other,) = both.keys() - {found.quoted}
    return f"{found.quoted} ({other} {number(both[other].median)}), {count}"


def number(value: float) -> str:
    """Three digits, or whole thousands."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def cell(found: Interval | float | None) -> str:
    """``1.17 [1.14, 1.21]``, or a number that has no interval."""
    if found is None:
        return "–"
    if isinstance(found, float):
        return number(found)
    return f"{number(found.median)} [{number(found.low)}, {number(found.high)}]"


def verdict(feasible: float, target: float, found: Sequence[Interval | float], more_is_better: bool) -> str:
    """What all runs reach, by their intervals or only by their medians."""
    sign = -1 if more_is_better else 1
    worst = max(sign * (v if isinstance(v, float) else v.median) for v in found)
    ends = max(sign * (v if isinstance(v, float) else v.low if more_is_better else v.high) for v in found)
    word, limit = ("target", target) if worst <= sign * target else ("feasible", feasible)
    if worst > sign * limit:
        return "missed"
    return word if ends <= sign * limit else f"{word} by the median"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table, and what it says."""

    title: str
    text: str
    verdict: str


def line(
    title: str,
    feasible: float,
    target: float,
    found: Sequence[Interval | float | None],
    more_is_better: bool,
    *,
    estimates: str = "",
) -> Line:
    """A row of the table."""
    known = [value for value in found if value is not None]
    cells = [title, number(feasible), number(target), *(cell(value) for value in found)]
    if not known:
        return Line(title=title, text=" | ".join((*cells, "not measured", "", "")), verdict="not measured")
    medians = [value if isinstance(value, float) else value.median for value in known]
    spread = f"{max(medians) / min(medians) - 1:.1%}" if len(known) > 1 else ""
    judged = verdict(feasible, target, known, more_is_better)
    return Line(title=title, text=" | ".join((*cells, judged, spread, estimates)), verdict=judged)


def target_line(target: Target, runs: Sequence[Sequence[Run]], references: Sequence[Sequence[str]]) -> Line:
    """The row of one target; of each run its records and the layers that are references there."""
    found = [reached(target, run, layers) for run, layers in zip(runs, references, strict=True)]
    estimates = dict.fromkeys(one.estimate for one in found if one is not None)
    figures = [None if one is None else one.figure for one in found]
    return line(
        target.title, target.feasible, target.target, figures, target.more_is_better, estimates="; ".join(estimates)
    )


def which_hold(lines: Sequence[Line]) -> str:
    """The targets by what was reached, a line each."""
    judged = ("target", "target by the median", "feasible", "feasible by the median", "missed", "not measured")
    words = dict(zip(judged, ("hold", "hold by the median only", *judged[2:]), strict=True))
    found = {word: [one.title for one in lines if one.verdict == word] for word in judged}
    return "\n".join(f"- {len(t)} of {len(lines)} {words[w]}: {'; '.join(t)}" for w, t in found.items() if t)


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders or files of records, one a run")
    parser.add_argument("--core", type=Path, action="append", default=[], help="JSON of core.py, one or several")
    parser.add_argument("-o", "--output", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    if len(options.core) > len(options.runs):
        parser.error("there are more --core than runs; give one for each run at most")
    files = [read_records(path / "runs.jsonl" if path.is_dir() else path) for path in options.runs]
    if unreadable := [problem for file in files for problem in file.problems]:
        parser.exit(1, f"lines that could not be read may hold any run: {'; '.join(unreadable)}\n")
    analyses = [analyse(file) for file in files]
    runs = [[one.run for point in analysis.points for one in point.summaries] for analysis in analyses]
    references = [analysis.story.roles.references for analysis in analyses]
    names = [f"run {index + 1}" for index in range(len(runs))]
    rows = [target_line(target, runs, references) for target in TARGETS]
    times = [
        {(row["batch_size"], row["length"], row["direction"]): 1e6 * row["warm_seconds"] for row in content["rows"]}
        for content in (json.loads(path.read_text(encoding="utf-8")) for path in options.core)
    ]
    for batch_size, length, direction, feasible, target in CORE_TARGETS if times else ():
        found = [time.get((batch_size, length, direction)) for time in times]
        found += [None] * (len(runs) - len(found))
        rows.append(line(f"core {direction}, {batch_size} × {length}: µs", feasible, target, found, False))
    head = " | ".join(("", "feasible", "target", *names, "reaches", "spread", "estimate"))
    rule = " | ".join(["---", *["--:"] * (2 + len(names)), "---", "--:", "---"])
    table = "".join(f"| {row} |\n" for row in (head, rule, *(row.text for row in rows)))
    text = f"{table}\n{which_hold(rows)}\n"
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
