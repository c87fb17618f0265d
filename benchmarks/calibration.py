"""Does the tool say "slower" when nothing differs, find three percent when they are there, and do its intervals cover?

    python benchmarks/calibration.py                     # everything, about 15 minutes on a quiet machine
    python benchmarks/calibration.py --part equal        # one part; the others' files are kept and reported with it
    python benchmarks/calibration.py --device cuda --output reports/calibration-gpu

Every trial goes through the product's own sampling, estimator and verdict. Writes one CSV a part and a README.md with
the table; exit status 1 when a wanted figure is missed or a part has not been run.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import NormalDist, median
from typing import TYPE_CHECKING

import torch
from calibration_series import RATIO, Coverage, coverages
from calibration_timing import SLOWER_UNITS, UNITS, Trial, check_injected_factor, trials

from pamprof.hardware.device import open_device
from pamprof.statistics import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PARTS = ("equal", "slower", "coverage")
MOST_FALSE = 0.05
FEWEST_FOUND = 0.90
FEWEST_COVERED = 0.93
_DIFFERENT = {Verdict.FASTER.value, Verdict.SLOWER.value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: ``hits`` of ``count``; ``wanted`` is text, ``met`` None where nothing is wanted."""

    what: str
    wanted: str
    hits: int
    count: int
    met: bool | None

    @property
    def cells(self) -> tuple[str, ...]:
        """What is printed."""
        low, high = binomial_interval(self.hits, self.count)
        reached = f"{self.hits / self.count:.1%} ({self.hits} of {self.count})"
        verdict = {True: "yes", False: "NO", None: "–"}[self.met]
        return self.what, self.wanted, reached, f"{low:.1%} to {high:.1%}", verdict


def binomial_interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    z, share = NormalDist().inv_cdf(0.975), hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def equal_lines(rows: Sequence[dict[str, str]]) -> list[Line]:
    """A against A."""
    count = len(rows)
    false = sum(row["verdict"] in _DIFFERENT for row in rows)
    covered = sum(float(row["low"]) <= 1 <= float(row["high"]) for row in rows)
    return [
        Line(
            what="A against A called faster or slower",
            wanted=f"at most {MOST_FALSE:.0%}",
            hits=false,
            count=count,
            met=false <= MOST_FALSE * count,
        ),
        Line(what="A against A, interval contains 1", wanted="–", hits=covered, count=count, met=None),
    ]


def slower_lines(rows: Sequence[dict[str, str]]) -> list[Line]:
    """The injected slowdown."""
    count, truth = len(rows), SLOWER_UNITS / UNITS
    found = sum(row["verdict"] == Verdict.SLOWER.value for row in rows)
    covered = sum(float(row["low"]) <= truth <= float(row["high"]) for row in rows)
    return [
        Line(
            what="3 % more work called slower",
            wanted=f"at least {FEWEST_FOUND:.0%}",
            hits=found,
            count=count,
            met=found >= FEWEST_FOUND * count,
        ),
        Line(what="3 % more work, interval contains 1.03", wanted="–", hits=covered, count=count, met=None),
    ]


def coverage_lines(rows: Sequence[dict[str, str]]) -> list[Line]:
    """Synthetic series: all together, then every kind; a kind misses only when its whole interval lies below."""

    def line(what: str, chosen: Sequence[dict[str, str]], *, alone: bool) -> Line:
        hits = sum(float(row["low"]) <= RATIO <= float(row["high"]) for row in chosen)
        reached = hits / len(chosen) if alone else binomial_interval(hits, len(chosen))[1]
        wanted = f"at least {FEWEST_COVERED:.0%}" if alone else f"{FEWEST_COVERED:.0%} within its interval"
        return Line(what=what, wanted=wanted, hits=hits, count=len(chosen), met=reached >= FEWEST_COVERED)

    kinds = list(dict.fromkeys(row["scenario"] for row in rows))
    return [
        line("95 % interval covers, all series", rows, alone=True),
        *(line(f"correlation {kind}", [row for row in rows if row["scenario"] == kind], alone=False) for kind in kinds),
    ]


LINES = {"equal": equal_lines, "slower": slower_lines, "coverage": coverage_lines}


def run_part(part: str, options: argparse.Namespace) -> None:
    """Measure one part into its CSV."""
    path = options.output / f"{part}.csv"
    if part == "coverage":
        write_rows(path, coverages(options.series))
        return
    # Small steps gain nothing from more threads, and threads that wait for each other measure other processes' load.
    torch.set_num_threads(1)
    device = open_device(options.device)
    if part == "slower":
        print(f"injected by count: {check_injected_factor(device)}", flush=True)
    units = SLOWER_UNITS if part == "slower" else UNITS
    write_rows(path, trials(device, arm_units=units, count=options.trials, seconds=options.seconds))


def write_rows(path: Path, rows: Iterable[Trial] | Iterable[Coverage]) -> None:
    """Append each row as soon as it is known, and say how far it is."""
    every = 50 if path.stem != "coverage" else 2000
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, row in enumerate(rows):
            values = dataclasses.asdict(row)
            if number == 0:
                writer.writerow(values)
            writer.writerow(values.values())
            if number % every == every - 1:
                file.flush()
                print(f"{path.name}: {number + 1} trials", file=sys.stderr, flush=True)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a part; none where it has not been run."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(lines: Sequence[Line]) -> str:
    """Markdown that is readable in a terminal too."""
    heading = ("", "wanted", "reached", "95 % interval", "met")
    rows = [heading, *(line.cells for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def details(part: str, rows: Sequence[dict[str, str]]) -> str:
    """How a timed part went, in one line."""
    verdicts = ", ".join(f"{count} {name}" for name, count in Counter(row["verdict"] for row in rows).most_common())
    stops = ", ".join(f"{count} by {name}" for name, count in Counter(row["stop_reason"] for row in rows).most_common())
    width = median((float(row["high"]) - float(row["low"])) / 2 / float(row["ratio"]) for row in rows)
    return (
        f"- `{part}`: {verdicts}; median {median(int(row['samples']) for row in rows):g} samples, half width "
        f"{width:.2%}; stopped {stops}; {sum(float(row['seconds']) for row in rows):.0f} s in all."
    )


def machine(options: argparse.Namespace) -> str:
    """Where and with what."""
    name = open_device(options.device).name
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores usable, torch {torch.__version__} with one thread, "
        f"{datetime.now(UTC).date().isoformat()}"
    )


README = """# Calibration of verdicts and intervals

{machine}. Made by

```sh
python benchmarks/calibration.py --device {device}
```

`equal` times the same work on both sides, `slower` {slower} units of it against {units} (checked by counting FLOPs and
operators), each trial with arms of its own, up to {seconds:g} s of sampling and the product's other default rules;
`coverage` takes intervals of synthetic series whose ratio is {ratio}, with a drift common to both arms; their kinds are
named by first-order correlation, tails and number of samples, or `stopped` where the product's rule ended them. A kind
misses when the whole interval of its share lies below {covered:.0%}. The CSV files hold every trial.

`memory-*` is what `python benchmarks/memory_adds_up.py --csv FILE` printed and wrote: the parts of the peak memory of
every arm, block and model, in every phase.

{table}

{details}
"""


def main() -> int:
    """Run the parts asked for, print and write the table; 0 when everything wanted is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="run only this; may be repeated (default all)")
    parser.add_argument("--trials", type=int, default=200, help="trials of each timed part (default 200)")
    parser.add_argument("--series", type=int, default=200, help="series of each synthetic kind (default 200)")
    parser.add_argument("--seconds", type=float, default=1.5, help="longest sampling of a trial in s (default 1.5)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    parser.add_argument("--output", type=Path, default=Path("reports/calibration"), help="folder of the results")
    options = parser.parse_args()
    if min(options.trials, options.series) < 1 or options.seconds <= 0:
        parser.error("--trials, --series and --seconds must be positive")
    options.output.mkdir(parents=True, exist_ok=True)
    for part in options.part or PARTS:
        run_part(part, options)
    found = {part: rows for part in PARTS if (rows := read_rows(options.output / f"{part}.csv"))}
    lines = [line for part, rows in found.items() for line in LINES[part](rows)]
    text = README.format(
        machine=machine(options),
        device=options.device,
        slower=SLOWER_UNITS,
        units=UNITS,
        seconds=options.seconds,
        ratio=RATIO,
        covered=FEWEST_COVERED,
        table=table(lines),
        details="\n".join(
            details(part, found[part]) if part in found else f"- `{part}` has not been run."
            for part in PARTS
            if part != "coverage"
        ),
    )
    (options.output / "README.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    print(table(lines))
    missing = [part for part in PARTS if part not in found]
    if missing:
        print(f"not run yet: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing or any(line.met is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
