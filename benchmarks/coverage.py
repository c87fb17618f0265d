"""Do 95 % intervals cover, do marks fall on series that deserve them, and is a true difference of 1 % found?

    python benchmarks/coverage.py                  # synthetic series, a few minutes on two cores
    python benchmarks/coverage.py --quick          # the same with fewer series, seconds; nothing is written
    python benchmarks/coverage.py --timed          # also timed trials of known truth, 10 minutes on a quiet machine
    python benchmarks/coverage.py --timed --device cuda --output reports/coverage-gpu
    python benchmarks/coverage.py --recorded RUN…  # windows of effort reference, resampled; nothing is written

Everything goes through the product's own estimators, stationarity test, stopping rule and verdicts. Exit status 1 when
a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
from datetime import UTC, datetime
from math import exp, sqrt
from pathlib import Path
from statistics import NormalDist, median
from typing import TYPE_CHECKING

import numpy as np
from coverage_recorded import recorded_references, resampled
from coverage_series import KINDS, RATIO, Kind, pair, power_capped, processes, true_ratio

from pamprof.statistics import (
    CONFIDENCE,
    QuotedRatio,
    StationarityVerdict,
    Verdict,
    compare_processes,
    half_width,
    paired_estimate,
    ratio_interval,
    should_stop,
    stationarity,
    verdict,
    window_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.records import Interval
    from pamprof.statistics.log_estimate import LogEstimate

QUICK_LENGTHS = (10, 20, 40, 60)  # pairs: a CPU comparison yields 10 to 40, a quick point on a GPU 20 to 60
QUICK_NOISE = 0.01  # of one sample of an arm
WINDOWS = 20  # of an arm and process
PROCESSES = 3
WINDOW_NOISE = 0.003  # of one window of about a second
SPREAD = 0.002  # between fresh processes
REFERENCE_COVERAGE = (0.93, 0.97)
QUICK_COVERAGE = (0.93, 1.0)
MOST_FALSE = 0.05
MOST_MISLEADING = 0.07
FEWEST_FOUND = 0.90
TOO_SHORT_LENGTH = 8
SERIES, SERIES_QUICK = 600, 50
_SEED = 20_261_128
_DIFFERENT = {Verdict.FASTER, Verdict.SLOWER}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One series: whether it was marked, whether the interval holds the truth, and its relative half width."""

    mark: StationarityVerdict
    covers: bool
    half_width: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table; ``hits`` of ``count`` against the least and the largest share wanted, None for no target.

    ``half_width``, ``too_short_ratio`` and ``not_stationary_ratio`` are None where the line is not about coverage.
    """

    part: str
    what: str
    hits: int
    count: int
    wanted: tuple[float, float] | None
    half_width: float | None = None
    too_short_ratio: float | None = None
    not_stationary_ratio: float | None = None

    @property
    def met(self) -> bool | None:
        """A target is missed only when the whole interval of the share lies outside; None without one or a series."""
        if self.wanted is None or not self.count:
            return None
        low, high = binomial_interval(self.hits, self.count)
        return high >= self.wanted[0] and low <= self.wanted[1]

    @property
    def cells(self) -> tuple[str, ...]:
        """What is printed."""
        low, high = binomial_interval(self.hits, self.count)
        share = f"{self.hits / self.count:.1%}" if self.count else "–"
        reached = f"{share} [{low:.1%}, {high:.1%}] of {self.count}"
        return (
            self.what,
            _wanted(self.wanted),
            reached,
            _percent(self.half_width, 2),
            _percent(self.too_short_ratio, 0),
            _percent(self.not_stationary_ratio, 0),
            {True: "yes", False: "NO", None: "–"}[self.met],
        )


def _percent(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _wanted(wanted: tuple[float, float] | None) -> str:
    if wanted is None:
        return "–"
    low, high = wanted
    if low <= 0:
        return f"at most {high:.0%}"
    return f"at least {low:.0%}" if high >= 1 else f"{low:.0%} to {high:.0%}"


def binomial_interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; 0 to 1 of nothing."""
    if not count:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf(0.975), hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def covered(
    part: str, kind: Kind, length: str, outcomes: list[Outcome], wanted: tuple[float, float], *, demanded: bool
) -> Line:
    """The line of one kind of series; ``demanded`` when it has a target.

    Where the ratio is settled: the share of intervals that cover, of series without a mark. Where it is not, no
    interval is right, so the line counts the series that mislead: neither marked nor covering the settled ratio.
    """
    unmarked = [one for one in outcomes if one.mark is StationarityVerdict.STATIONARY]
    shares = {mark: sum(one.mark is mark for one in outcomes) / len(outcomes) for mark in StationarityVerdict}
    misleading = not kind.settled
    return Line(
        part=part,
        what=f"{kind.name}, {length}" + (": misleading" if misleading else ""),
        hits=sum(one.covers is not misleading for one in unmarked),
        count=len(outcomes) if misleading else len(unmarked),
        wanted=((0.0, MOST_MISLEADING) if misleading else wanted) if demanded else None,
        half_width=median(one.half_width for one in outcomes),
        too_short_ratio=shares[StationarityVerdict.TOO_SHORT],
        not_stationary_ratio=shares[StationarityVerdict.NOT_STATIONARY],
    )


def quick_outcome(subject: list[float], reference: list[float], truth: float) -> Outcome:
    """A quick comparison's interval and mark."""
    interval = ratio_interval(subject, reference)
    mark = stationarity([mine / theirs for mine, theirs in zip(subject, reference, strict=True)]).verdict
    return Outcome(mark=mark, covers=interval.low <= truth <= interval.high, half_width=half_width(interval))


def quick_coverage(generator: np.random.Generator, series: int) -> Iterator[Line]:
    """Quick lengths: every kind at every number of pairs, then ended by the stopping rule."""
    for kind in KINDS:
        truth = true_ratio(kind, of_means=False)
        for length in (TOO_SHORT_LENGTH, *QUICK_LENGTHS) if kind is KINDS[0] else QUICK_LENGTHS:
            pairs = (pair(generator, kind, length, noise=QUICK_NOISE) for _ in range(series))
            outcomes = [quick_outcome(*one, truth) for one in pairs]
            yield covered("quick", kind, f"{length} pairs", outcomes, QUICK_COVERAGE, demanded=kind.demanded_quick)
    for kind in KINDS[:3]:
        pairs = (stopped(*pair(generator, kind, 200, noise=QUICK_NOISE)) for _ in range(series // 2))
        outcomes = [quick_outcome(*one, true_ratio(kind, of_means=False)) for one in pairs]
        yield covered("quick", kind, "ended by the stopping rule", outcomes, QUICK_COVERAGE, demanded=True)


def stopped(subject: list[float], reference: list[float]) -> tuple[list[float], list[float]]:
    """What the stopping rule leaves of the pairs."""
    count = next(count for count in range(1, 201) if should_stop(subject[:count], reference[:count]))
    return subject[:count], reference[:count]


def reference_coverage(generator: np.random.Generator, series: int) -> Iterator[Line]:
    """Reference length: windows of three fresh processes."""
    for kind in KINDS:
        truth = true_ratio(kind, of_means=True)
        outcomes = []
        for _ in range(series):
            windows = processes(generator, kind, count=PROCESSES, windows=WINDOWS, noise=WINDOW_NOISE, spread=SPREAD)
            found = window_estimate(windows).paired
            covers = found.interval.low <= truth <= found.interval.high
            mark = found.stationarity.verdict
            outcomes.append(Outcome(mark=mark, covers=covers, half_width=half_width(found.interval)))
        yield covered(
            "reference", kind, f"{PROCESSES} x {WINDOWS} windows", outcomes, REFERENCE_COVERAGE, demanded=kind.demanded
        )


def differences(generator: np.random.Generator, series: int) -> Iterator[Line]:
    """A against A, and true differences of 1 and 3 %."""

    def line(what: str, hit: Callable[[], bool], wanted: tuple[float, float] | None) -> Line:
        hits = sum(hit() for _ in range(series))
        return Line(part="differences", what=what, hits=hits, count=series, wanted=wanted)

    def quick(ratio: float) -> Interval:
        return ratio_interval(*stopped(*pair(generator, KINDS[0], 200, noise=QUICK_NOISE, ratio=ratio)))

    def reference(ratio: float, *, count: int, spread: float, draw: float) -> Interval:
        windows = power_capped(
            generator, count=count, windows=WINDOWS, noise=WINDOW_NOISE, spread=spread, subject_draw=draw, ratio=ratio
        )
        found = window_estimate(windows)
        coupled.append(found.quoted is QuotedRatio.ALONE)
        return found.ratio.interval

    coupled: list[bool] = []
    false, most = (0.0, MOST_FALSE), (FEWEST_FOUND, 1.0)
    yield line("quick: A against A called faster or slower", lambda: verdict(quick(1.0)) in _DIFFERENT, false)
    yield line("quick: a true 3 % called slower", lambda: verdict(quick(1.03)) is Verdict.SLOWER, most)
    yield line("quick: a true 1 % found (interval above 1)", lambda: quick(1.01).low > 1, None)
    yield line(
        "reference: A against A under a power cap called faster or slower",
        lambda: verdict(reference(1.0, count=PROCESSES, spread=SPREAD, draw=1.0)) in _DIFFERENT,
        false,
    )
    yield Line(
        part="differences",
        what="reference: A against A called power-coupled",
        hits=sum(coupled),
        count=len(coupled),
        wanted=false,
    )
    for count, spread in ((3, 0.001), (3, 0.002), (3, 0.005), (5, 0.005)):
        yield line(
            f"reference: a true 1 % found, {count} processes that scatter by {spread:.1%}",
            lambda count=count, spread=spread: reference(1.01, count=count, spread=spread, draw=1.0).low > 1,
            most if spread <= SPREAD else None,
        )
    coupled.clear()

    def holds_the_ratio_alone() -> bool:
        interval = reference(RATIO, count=PROCESSES, spread=SPREAD, draw=1.05)
        return interval.low <= RATIO <= interval.high

    yield line(
        "reference: 5 % more draw, quoted interval covers the ratio alone", holds_the_ratio_alone, REFERENCE_COVERAGE
    )
    yield Line(
        part="differences",
        what="reference: 5 % more draw called power-coupled",
        hits=sum(coupled),
        count=len(coupled),
        wanted=most,
    )


def sessions(generator: np.random.Generator, series: int) -> Iterator[Line]:
    """Two sessions of one code on a machine whose fresh processes scatter by 7 %, as pamprof diff compares them."""
    scatter = 0.07

    def estimate() -> LogEstimate:
        moved = exp(scatter * generator.standard_normal())
        return paired_estimate(*pair(generator, KINDS[0], 20, noise=QUICK_NOISE, ratio=moved))

    for count in (1, 2, 3, 5):
        intervals = []
        for _ in range(series):
            head, base = ([estimate() for _ in range(count)] for _ in range(2))
            found = compare_processes(head, base, presumed_spread_ratio=scatter)
            intervals.append(found.estimate.interval(CONFIDENCE))
        yield Line(
            part="sessions",
            what=f"one code, {count} process{'es' if count > 1 else ''} a session, called faster or slower",
            hits=sum(verdict(one) in _DIFFERENT for one in intervals),
            count=series,
            wanted=(0.0, MOST_FALSE),
            half_width=median(half_width(one) for one in intervals),
        )


def recorded(generator: np.random.Generator, series: int, paths: list[Path]) -> Iterator[Line]:
    """A true difference of none and of 1 % between arms whose windows a device wrote."""
    for name, processes_there in recorded_references(paths).items():

        def interval(ratio: float, processes_there=processes_there) -> Interval:
            drawn = resampled(generator, processes_there, count=PROCESSES, windows=WINDOWS, ratio=ratio)
            return window_estimate(drawn).ratio.interval

        for what, ratio, hit, wanted in (
            ("A against A called faster or slower", 1.0, lambda found: verdict(found) in _DIFFERENT, (0.0, MOST_FALSE)),
            ("a true 1 % found (interval above 1)", 1.01, lambda found: found.low > 1, (FEWEST_FOUND, 1.0)),
        ):
            found = [interval(ratio) for _ in range(series)]
            yield Line(
                part="recorded",
                what=f"{name}: {what}",
                hits=sum(map(hit, found)),
                count=series,
                wanted=wanted,
                half_width=median(half_width(one) for one in found),
            )


PARTS = {"quick": quick_coverage, "reference": reference_coverage, "differences": differences, "sessions": sessions}


def timed(options: argparse.Namespace) -> Iterator[Line]:
    """Equal arms, and an arm that does three percent more; every trial is written to a CSV file."""
    import torch
    from coverage_timing import SLOWER_UNITS, UNITS, check_injected_factor, trials

    from pamprof.hardware.device import open_device

    # Small steps gain nothing from more threads, and threads that wait for each other measure other processes' load.
    torch.set_num_threads(1)
    device = open_device(options.device)
    print(f"injected by count: {check_injected_factor(device)}", flush=True)
    for name, units, what, names, wanted in (
        ("equal", UNITS, "A against A called faster or slower", _DIFFERENT, (0.0, MOST_FALSE)),
        ("slower", SLOWER_UNITS, "3 % more work called slower", {Verdict.SLOWER}, (FEWEST_FOUND, 1.0)),
    ):
        rows = []
        with (options.output / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for trial in trials(device, arm_units=units, count=options.trials, seconds=options.seconds):
                values = dataclasses.asdict(trial)
                if not rows:
                    writer.writerow(values)
                writer.writerow(values.values())
                file.flush()
                rows.append(trial)
        yield Line(
            part="timed",
            what=what,
            hits=sum(row.verdict in names for row in rows),
            count=len(rows),
            wanted=wanted,
            half_width=median((row.high - row.low) / 2 / row.ratio for row in rows),
        )


def table(lines: list[Line]) -> str:
    """Markdown that is readable in a terminal too."""
    heading = ("", "wanted", "reached [95 %]", "half width", "too short", "not stationary", "met")
    rows = [heading, *(line.cells for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


README = """# Coverage of intervals, marks and verdicts

{date}, {series} series a line, {cores} cores. Made by

```sh
python benchmarks/coverage.py
```

A line about coverage counts the 95 % intervals that hold the true ratio, of series that were not marked; the share of
marked ones stands beside it. Of a transient no interval is right: its line counts the series that mislead, which are
neither marked nor cover the settled ratio. A target is missed when the whole interval of the share lies outside.
`benchmarks/coverage_series.py` says what the kinds are. Quick series have {quick_noise:.0%} of noise a sample and arm,
windows {window_noise:.1%}, fresh processes scatter by {spread:.1%}.

{table}

A correlation of 0.8 is no target: few pairs do not show it, and an interval that presumes it is 1.4 times as wide for
all the others at 10 pairs. `tests/statistics` holds a quick run of this table to its targets.
"""


def main() -> int:
    """Run the parts, print and write the table; 0 when every target is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=tuple(PARTS), help="run only this; nothing is written")
    parser.add_argument("--quick", action="store_true", help=f"{SERIES_QUICK} series a line; nothing is written")
    parser.add_argument("--series", type=int, help=f"series a line (default {SERIES})")
    parser.add_argument(
        "--recorded", type=Path, nargs="+", help="records of effort reference: resample their windows, nothing else"
    )
    parser.add_argument("--timed", action="store_true", help="also time equal arms, and 3 percent more work")
    parser.add_argument("--trials", type=int, default=200, help="trials of each timed line (default 200)")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="longest sampling of a timed trial in s (default 1.5)"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of timed trials, default cpu")
    parser.add_argument("--output", type=Path, default=Path("reports/coverage"), help="folder of the results")
    options = parser.parse_args()
    series = options.series or (SERIES_QUICK if options.quick else SERIES)
    if min(options.trials, series // 2) < 1 or options.seconds <= 0:
        parser.error("--trials and --seconds must be positive, --series 2 or more")
    if options.recorded:
        lines = list(recorded(np.random.default_rng(_SEED), series, options.recorded))
        print(table(lines))
        return 1 if any(line.met is False for line in lines) else 0
    writes = not (options.quick or options.part)
    if writes or options.timed:
        options.output.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for number, (name, part) in enumerate(PARTS.items()):
        if name in (options.part or PARTS):
            # Each part has its own generator, so that it gives the same by itself.
            lines += part(np.random.default_rng([_SEED, number]), series)
    if options.timed:
        lines += timed(options)
    print(table(lines))
    if writes:
        write(options.output, lines, series)
    return 1 if any(line.met is False for line in lines) else 0


def write(folder: Path, lines: list[Line], series: int) -> None:
    """README.md with the table, and its lines as coverage.csv."""
    with (folder / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in dataclasses.fields(Line)])
        writer.writerows(dataclasses.astuple(line) for line in lines)
    text = README.format(
        date=datetime.now(UTC).date().isoformat(),
        series=series,
        cores=len(os.sched_getaffinity(0)),
        quick_noise=QUICK_NOISE,
        window_noise=WINDOW_NOISE,
        spread=SPREAD,
        table=table(lines),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
