"""Does the architecture to deploy change between a steady batch and load? Twenty demands on a sweep's records.

    python benchmarks/twenty_demands.py -o reports/twenty-demands reports/2026-11-23-nvidia-h200-serving/100m/*.jsonl

Five kinds of requests at four rates of the busiest moment. Lengths vary (log-normal, sigma 1), as those of services do;
a steady batch has requests of their mean. For each demand the fewest replicas of PAM (either state), of the Llama-style
decoder and of the transformer, by both answers; the decision is between PAM and Llama, and between PAM and the
transformer: who needs fewer. It flips where the two answers name another one, ties included. One replica holds what
keeps 95 % of the requests within 2 s to the first token and 50 ms per output token; rates are found to 1 %, at the
medians of the step times, with 10,000 requests or as many as fill the batch ten times (seed 0).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.operating_point import OperatingPoint, operating_point
from pamprof.analysis.simulation.arm import ServerSettings, loaded_arm, mean_traffic
from pamprof.analysis.simulation.metrics import Level
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.pricing.serving.defaults import PERCENTILE, REQUESTS, SEED, default_limits
from pamprof.pricing.serving.fleet import CONSTANT_DEMAND, fleet
from pamprof.records.store import merged, read_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.curve import ServingCurve

RATES = (100.0, 500.0, 1_500.0, 5_000.0)
LAYERS = ("pam", "llama", "transformer")
SIGMA = 1.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Requests of one kind: mean tokens in and out, and how much the gaps between them vary (1: Poisson)."""

    name: str
    input_tokens: int
    output_tokens: int
    variation: float


KINDS = (
    Kind(name="chat", input_tokens=500, output_tokens=300, variation=1.0),
    Kind(name="question with its material", input_tokens=1500, output_tokens=300, variation=1.0),
    Kind(name="the same in bursts", input_tokens=1500, output_tokens=300, variation=3.0),
    Kind(name="long answers", input_tokens=1000, output_tokens=1000, variation=1.0),
    Kind(name="search results in bursts", input_tokens=4000, output_tokens=300, variation=3.0),
)


def rates_of(curve: ServingCurve, kind: Kind) -> tuple[float, float]:
    """Requests a second that one device holds: in a steady batch, and under load."""
    limits = default_limits()
    requests = draw_requests(
        REQUESTS,
        Arrivals(per_second=1.0, variation=kind.variation),
        Lengths(mean=kind.input_tokens, sigma=SIGMA),
        Lengths(mean=kind.output_tokens, sigma=SIGMA),
        seed=SEED,
    )
    point = operating_point(curve, mean_traffic(requests), limits)
    if not isinstance(point, OperatingPoint):
        raise SystemExit(f"{curve.title}, {kind.name}: {point.sentence}")
    level = Level(limits=limits, percentile=PERCENTILE)
    found = loaded_arm(curve, point, requests, level, ServerSettings()).highest_rate().requests_per_second
    if found is None:
        raise SystemExit(f"{curve.title}, {kind.name}: no rate holds the limits")
    return 1 / point.device_seconds.median, found


def decision(ours: int, theirs: int) -> str:
    """Who needs fewer."""
    return "equal" if ours == theirs else "PAM" if ours < theirs else "rival"


def rows_of(kind: Kind, held: dict[str, tuple[float, float]]) -> list[dict[str, object]]:
    """One row a rate; ``held`` has the best device's two rates of each layer."""
    rows: list[dict[str, object]] = []
    for rate in RATES:
        row: dict[str, object] = {
            "requests": kind.name,
            "input_tokens": kind.input_tokens,
            "output_tokens": kind.output_tokens,
            "gap_variation": kind.variation,
            "requests_per_second": rate,
        }
        count = {
            (layer, answer): fleet(rate, per_second, CONSTANT_DEMAND, 1).largest
            for layer, both in held.items()
            for answer, per_second in zip(("steady", "load"), both, strict=True)
        }
        for (layer, answer), replicas in count.items():
            row[f"{layer}_{answer}_replicas"] = replicas
        for rival in (layer for layer in held if layer != "pam"):
            steady, loaded = (decision(count["pam", answer], count[rival, answer]) for answer in ("steady", "load"))
            row[f"fewer_against_{rival}_steady"], row[f"fewer_against_{rival}_load"] = steady, loaded
            row[f"flips_against_{rival}"] = steady != loaded
        rows.append(row)
    return rows


def study(curves: Sequence[ServingCurve], kinds: Sequence[Kind] = KINDS) -> list[dict[str, object]]:
    """All demands of these kinds."""
    rows = []
    for kind in kinds:
        held: dict[str, tuple[float, float]] = {}
        for layer in LAYERS:
            found = [rates_of(c, kind) for c in curves if c.runs[0].workload.spec.layer == layer]
            if found:
                steady, loaded = zip(*found, strict=True)
                held[layer] = max(steady), max(loaded)
        rows += rows_of(kind, held)
    return rows


def main() -> None:
    """Write ``demands.csv``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("-o", "--output-dir", type=Path, required=True)
    given = parser.parse_args()
    records = merged([read_records(path) for path in given.records])
    rows = study(serving_curves(records.runs, records.skips))
    given.output_dir.mkdir(parents=True, exist_ok=True)
    names = sorted({name for row in rows for name in row}, key=list(rows[0]).index)
    with (given.output_dir / "demands.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for rival in LAYERS[1:]:
        flips = sum(bool(row[f"flips_against_{rival}"]) for row in rows)
        print(f"{flips} of {len(rows)} decisions against {rival} flip")


if __name__ == "__main__":
    main()
