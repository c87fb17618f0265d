"""Serving that other tools measured: what users of a real server waited at a rate, as a point of a curve.

Read are the results that ``vllm bench serve --save-result`` writes (docs.vllm.ai, benchmarking; fields as in
vllm/benchmarks/serve.py, read November 2026; several where they were appended) and the summary of ``aiperf profile``,
``profile_export_aiperf.json`` (docs.nvidia.com/aiperf, JSON export schema, read November 2026). Both name TPOT the mean
gap between the tokens of a request, aiperf as ``inter_token_latency``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from pamprof.analysis.simulation.metrics import quantile
from pamprof.analysis.simulation.rate_grid import RateGrid, grid_through
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

VLLM, AIPERF = "vLLM bench", "aiperf"
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0, "seconds": 1.0}
_SHOWN = (50.0, 95.0, 99.0)
_AIPERF_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_LONGEST_SECONDS = 1e7
_LARGEST_RATE = 1e9
_NAME_LENGTH = 60

Percentages = dict[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedElsewhere:
    """One run of a load generator against a server.

    Attributes:
        file: Its name.
        tool: What wrote it.
        model: What was served, as the tool was told.
        requests_per_second: Offered, where the tool says so, else completed.
        completed_per_second: Completed.
        request_count: Completed requests.
        input_tokens, output_tokens: Of a request in the mean; None where the file does not say.
        first, each, end_to_end: Seconds by percentile.
    """

    file: str
    tool: str
    model: str
    requests_per_second: float
    completed_per_second: float
    request_count: int
    input_tokens: float | None
    output_tokens: float | None
    first: Mapping[float, float]
    each: Mapping[float, float]
    end_to_end: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCurve:
    """One model's runs of one tool, by rate; ``grid`` is None where two of them do not have the percentile."""

    model: str
    tool: str
    runs: tuple[ServedElsewhere, ...]
    grid: RateGrid | None


def curves_of(runs: Iterable[ServedElsewhere], percentile: float) -> tuple[MeasuredCurve, ...]:
    """The runs of each model and tool as a curve at the percentile, in the order of the first of each."""
    groups: dict[tuple[str, str], list[ServedElsewhere]] = defaultdict(list)
    for run in runs:
        groups[run.model, run.tool].append(run)
    found = []
    for (model, tool), members in groups.items():
        members.sort(key=lambda run: run.requests_per_second)
        known = [run for run in members if percentile in run.first]
        each = [run.each[percentile] for run in known if percentile in run.each]
        grid = grid_through(
            [run.requests_per_second for run in known],
            [run.first[percentile] for run in known],
            each if len(each) == len(known) else None,
        )
        found.append(MeasuredCurve(model=model, tool=tool, runs=tuple(members), grid=grid))
    return tuple(found)


def read_served_elsewhere(path: Path, percentile: float) -> tuple[ServedElsewhere, ...]:
    """The runs of a file, with the 50th, 95th and 99th percentile and ``percentile`` where it has them.

    Raises:
        RecordError: It cannot be read, or is no result of either tool.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc  # an OSError's own text names the file again
        raise RecordError(f"{path} cannot be read as a serving result: {reason}") from exc
    wanted = tuple(sorted({*_SHOWN, percentile}))
    return tuple(_run(path, document, wanted) for document in _documents(path, text))


def _documents(path: Path, text: str) -> list[dict[str, Any]]:
    """The JSON objects of a file: one, or one after the other where results were appended."""
    decoder, found, at = json.JSONDecoder(parse_constant=_no_constant), [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as exc:
            raise RecordError(f"{path} is no JSON: {exc}; give what vllm bench serve or aiperf wrote") from exc
        if not isinstance(document, dict):
            raise RecordError(f"{path} is no JSON object; give what vllm bench serve or aiperf wrote")
        found.append(document)
    if not found:
        raise RecordError(f"{path} is empty; give what vllm bench serve or aiperf wrote")
    return found


def _no_constant(name: str) -> float:
    """Not-a-number and infinities, which Python's JSON lets through, as what no bound admits."""
    return float(name.lower().replace("infinity", "inf"))


def _run(path: Path, document: dict[str, Any], percentiles: Sequence[float]) -> ServedElsewhere:
    if isinstance(document.get("time_to_first_token"), dict):
        return _aiperf(_Reader(path, document), percentiles)
    if "mean_ttft_ms" in document:
        return _vllm(_Reader(path, document), percentiles)
    raise RecordError(
        f"{path} is neither a result of vllm bench serve (no mean_ttft_ms) nor of aiperf (no time_to_first_token); "
        "streaming must be on, for without it no first token is timed"
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Numbers of a document, each within its bounds or the file is refused."""

    path: Path
    document: dict[str, Any]

    def number(self, name: str, value: object, most: float, *, least: float = 0.0) -> float:
        """``value`` as a number from ``least`` to ``most``."""
        fits = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not fits or not least <= float(value) <= most:  # type: ignore[arg-type]  # it is a number
            raise RecordError(f"{self.path}: {name} is {value!r}, not a number from {least:g} to {most:g}")
        return float(value)  # type: ignore[arg-type]

    def rate(self, name: str, value: object) -> float:
        """Requests a second, above zero."""
        return self.number(name, value, _LARGEST_RATE, least=1e-9)

    def rising(self, name: str, found: Percentages) -> Percentages:
        """Percentiles that rise, or none."""
        values = [found[percentile] for percentile in sorted(found)]
        if values != sorted(values):
            raise RecordError(f"{self.path}: percentiles of {name} fall from one to the next, as none can")
        return found


def _vllm(reader: _Reader, percentiles: Sequence[float]) -> ServedElsewhere:
    import numpy as np

    document = reader.document
    completed = int(reader.number("completed", document.get("completed"), 1e12, least=1))
    achieved = reader.rate("request_throughput", document.get("request_throughput"))
    offered = document.get("request_rate")
    unlimited = offered is None or (isinstance(offered, str | float) and str(offered).lower() in ("inf", "infinity"))
    detailed = _details(reader)

    def times(name: str) -> Percentages:
        found: Percentages = {}
        for percentile in percentiles:
            key = f"p{percentile:g}_{name}_ms"
            value = document.get("median_" + name + "_ms") if percentile == 50 and key not in document else None
            value = document.get(key, value)
            if value is not None:
                found[percentile] = reader.number(key, value, _LONGEST_SECONDS * 1e3) / 1e3
            of_all = quantile(np.array(detailed.get(name, ())), percentile)
            if of_all is not None:  # every request says more than a summary
                found[percentile] = of_all
        return reader.rising(name, found)

    def mean_tokens(name: str) -> float | None:
        value = document.get(name)
        return None if value is None else reader.number(name, value, 1e15) / completed

    return ServedElsewhere(
        file=reader.path.name,
        tool=VLLM,
        model=_name(document.get("model_id"), reader.path),
        requests_per_second=achieved if unlimited else reader.rate("request_rate", offered),
        completed_per_second=achieved,
        request_count=completed,
        input_tokens=mean_tokens("total_input_tokens"),
        output_tokens=mean_tokens("total_output_tokens"),
        first=times("ttft"),
        each=times("tpot"),
        end_to_end=times("e2el"),
    )


def _details(reader: _Reader) -> dict[str, list[float]]:
    """Seconds of every request where the result was saved with its details; failed ones have no first token."""
    firsts, gaps = reader.document.get("ttfts"), reader.document.get("itls")
    if not (isinstance(firsts, list) and isinstance(gaps, list) and len(firsts) == len(gaps)):
        return {}
    found: dict[str, list[float]] = {"ttft": [], "tpot": [], "e2el": []}
    for number, (first, of_request) in enumerate(zip(firsts, gaps, strict=True)):
        seconds = reader.number(f"ttfts[{number}]", first, _LONGEST_SECONDS)
        if not seconds or not isinstance(of_request, list):
            continue
        rest = [reader.number(f"itls[{number}]", gap, _LONGEST_SECONDS) for gap in of_request]
        found["ttft"].append(seconds)
        found["e2el"].append(seconds + sum(rest))
        if rest:
            found["tpot"].append(sum(rest) / len(rest))
    return found


def _aiperf(reader: _Reader, percentiles: Sequence[float]) -> ServedElsewhere:
    document = reader.document

    def block(name: str) -> dict[str, Any]:
        found = document.get(name)
        return found if isinstance(found, dict) else {}

    def times(name: str) -> Percentages:
        stats, found = block(name), {}
        unit = _UNIT_SECONDS.get(str(stats.get("unit", "")).lower())
        if stats and unit is None:
            raise RecordError(
                f"{reader.path}: {name} is in {stats.get('unit')!r}; known are {', '.join(_UNIT_SECONDS)}"
            )
        for percentile in percentiles:
            if percentile in _AIPERF_PERCENTILES and stats.get(f"p{percentile:g}") is not None:
                key = f"p{percentile:g}"
                value = reader.number(f"{name}.{key}", stats[key], _LONGEST_SECONDS / (unit or 1.0))
                found[percentile] = value * (unit or 1.0)
        return reader.rising(name, found)

    def mean(name: str) -> float | None:
        value = block(name).get("avg")
        return None if value is None else reader.number(f"{name}.avg", value, 1e15)

    achieved = reader.rate("request_throughput.avg", block("request_throughput").get("avg"))
    count = reader.number("request_count.avg", block("request_count").get("avg"), 1e12, least=1)
    return ServedElsewhere(
        file=reader.path.name,
        tool=AIPERF,
        model=_name(_aiperf_model(document), reader.path),
        requests_per_second=achieved,
        completed_per_second=achieved,
        request_count=int(count),
        input_tokens=mean("input_sequence_length"),
        output_tokens=mean("output_sequence_length"),
        first=times("time_to_first_token"),
        each=times("inter_token_latency"),
        end_to_end=times("request_latency"),
    )


def _aiperf_model(document: dict[str, Any]) -> object:
    """The first model of the run's configuration, which has had several shapes."""
    config = document.get("input_config")
    if not isinstance(config, dict):
        return None
    endpoint = config.get("endpoint")
    named = endpoint.get("model_names") if isinstance(endpoint, dict) else None
    for found in (named, config.get("models"), config.get("model")):
        first = found[0] if isinstance(found, list) and found else found
        name = first.get("name") if isinstance(first, dict) else first
        if isinstance(name, str):
            return name
    return None


def _name(found: object, path: Path) -> str:
    return found.strip()[:_NAME_LENGTH] if isinstance(found, str) and found.strip() else path.stem
