"""Sealed records whose values are absurd: every output is written, or a sentence says why not; nothing else happens."""

import json
import random
import re
import zlib
from dataclasses import replace
from functools import cache

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.history.trend import trend_of
from pamprof.errors import RecordError
from pamprof.records import Interval
from pamprof.records.codec import decode, encode
from pamprof.records.store import RecordFile, read_records
from pamprof.render.arms import Arm
from pamprof.render.charts import (
    ArmLine,
    Chart,
    Dot,
    DotPanel,
    LadderBar,
    LadderPanel,
    LinePanel,
    Mark,
    MemoryBar,
    MemoryPanel,
    RooflineDot,
    RooflinePanel,
    RooflineSlope,
    Signal,
    Strip,
    TrendPanel,
    Window,
)
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.write import write_report
from pamprof.render.history.trend import trend_view
from pamprof.render.plots.picture import draw_png, draw_svg
from tests.synthetic import synthetic_records

# matplotlib and numpy warn of axes without a length and of sums of infinities, which is what these tests draw.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Attempting to set identical low and high:UserWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]

# Within what a record may hold (records/magnitudes.py); what lies beyond is refused and has tests of its own.
VALUES = (1, 2, 10**15, 2**63 - 1, 10**30, 1e-30, 1e-20, 1e-9, 0.5, 1e9, 1e20, 1e30, 0, 0, -1, -1e-30, -1e30)
ARM = Arm(key="pam/planar", label="PAM planar", role="plain1", marker="D")


@cache
def small_file(device):
    """The header, and the reference and three arms of two points, as JSON."""
    records = synthetic_records(device)
    points = list(dict.fromkeys(run.workload.point for run in records.runs))
    chosen = [runs_at(records, point)[:4] for point in (points[0], points[-1])]
    return tuple(json.loads(encode(record)) for record in (*records.sessions, *chosen[0], *chosen[1]))


def runs_at(records, point):
    return [run for run in records.runs if run.workload.point == point and run.workload.execution == "eager"]


def sealed(line):
    body = json.dumps(line["record"], separators=(",", ":"), ensure_ascii=False).encode()
    head = f'{{"schema_version":1,"type":"{line["type"]}","crc32":"{zlib.crc32(body):08x}","record":'
    return head.encode() + body + b"}\n"


def numbers(value, path=()):
    """Paths of all numbers, grouped by field, so that a list of samples counts as much as a lone number."""
    found = {}
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {tuple(key for key in path if isinstance(key, str)): [path]} if is_number else {}
    for key, below in items:
        for field, paths in numbers(below, (*path, key)).items():
            found.setdefault(field, []).extend(paths)
    return found


def put(record, path, value):
    for key in path[:-1]:
        record = record[key]
    before, record[path[-1]] = record[path[-1]], value
    return before


def mutate(rng, line):
    """Give one field of a record an absurd value, in one place or in all, that reading still accepts."""
    fields = numbers(line["record"])
    for _ in range(20):
        paths = fields[rng.choice(list(fields))]
        paths = paths if rng.random() < 0.5 else [rng.choice(paths)]
        value = rng.choice(VALUES)
        before = [put(line["record"], path, value) for path in paths]
        try:
            decode(sealed(line))
        except RecordError:
            for path, old in zip(paths, before, strict=True):
                put(line["record"], path, old)
        else:
            return


def absurd_records(path, seed):
    rng = random.Random(seed)
    lines = json.loads(json.dumps(small_file(rng.choice(("cpu", "cuda")))))
    for _ in range(rng.choice((1, 2, 4, 16))):
        mutate(rng, rng.choice(lines))
    path.write_bytes(b"".join(map(sealed, lines)))
    records = read_records(path)
    assert records.problems == ()
    return records


def sane(records):
    """A whole comparison on the machine that ``records`` come from."""
    return synthetic_records(records.runs[0].environment.device_kind)


def test_words_and_tables_of_absurd_values_are_written_or_refused_with_a_sentence(tmp_path):
    written = 0
    for seed in range(40):
        records = absurd_records(tmp_path / "runs.jsonl", f"words {seed}")
        try:
            analysis = analyse(records)
            texts = (render_markdown(build_view(records, analysis=analysis)), measurements_csv(records, analysis))
            trend = trend_of([("absurd", records), ("sane", sane(records))], within=0.01)
        except RecordError:
            continue
        except Exception as error:
            error.add_note(f"seed: words {seed}")
            raise
        written += 1
        assert not re.search(r"\b(nan|inf|None)\b", texts[0]), f"words {seed}"
        assert trend_view(trend).table.rows
    assert written > 25


def test_whole_reports_of_absurd_values_are_written_or_refused_with_a_sentence(tmp_path):
    written = 0
    for seed in range(3):
        records = absurd_records(tmp_path / "runs.jsonl", f"report {seed}")
        try:
            paths = write_report(records, tmp_path / "out").paths
        except RecordError:
            continue
        except Exception as error:
            error.add_note(f"seed: report {seed}")
            raise
        written += 1
        assert all(path.stat().st_size > 100 for path in paths)
    assert written


def interval(median):
    return Interval(low=median, median=median, high=median, confidence=0.95)


WIDE = Interval(low=5e-324, median=1.0, high=1.7e308, confidence=0.95)
LOOKS = {
    "huge": interval(1e300),
    "tiny": interval(1e-300),
    "zero": interval(0.0),
    "negative": interval(-1.0),
    "the whole range": WIDE,
    "infinite": interval(float("inf")),
}


def panels(value):
    """A panel of every kind of picture with ``value`` wherever a measured number stands."""
    number = value.high
    bar = LadderBar(label="rung", detail="", role="plain1", start=number, factor=value, cumulative=value, measured=True)
    dot = Dot(arm=ARM, label="PAM", value=value, text="", slower=(number,), sample_count=5)
    line = ArmLine(arm=ARM, xs=(min(number, 1e30), 2048.0), values=(value, interval(1.0)))
    roof = RooflinePanel(
        title="Decode",
        dots=(RooflineDot(arm=ARM, intensity=number, flops_per_second=value),),
        peak_flops_per_second=1e15,
        slopes=(RooflineSlope(label="copy", bytes_per_second=4e12), RooflineSlope(label="read", bytes_per_second=5e12)),
        ceiling="measured",
    )
    return {
        "ladder": LadderPanel(title="Decode", bars=(bar, bar)),
        "dots": DotPanel(title="Decode", axis_group="decode", dots=(dot,)),
        "lines": LinePanel(
            title="Decode", x_label="context", lines=(line,), marks=(Mark(x=value, text="here", basis=None),)
        ),
        "roofline": roof,
        "trend": TrendPanel(
            arm=ARM,
            title="PAM",
            text="",
            runs=(("1 Nov",), ("2 Nov",)),
            values=(value, interval(1.0)),
            changes=(),
            noise=(value.low, value.high),
        ),
    }


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["ladder", "dots", "lines", "roofline", "trend"])
def test_a_picture_of_absurd_numbers_is_drawn(kind, look):
    chart = Chart(
        name="absurd", kind=kind, title="", subtitle="", axis="US dollars", caption="", source="", alt="",
        panels=(panels(LOOKS[look])[kind],),
    )  # fmt: skip
    assert draw_svg(chart, narrow=True).startswith("<svg")


@pytest.mark.parametrize("size", [0, -1, 1, 10**30])
def test_a_memory_picture_of_absurd_sizes_is_drawn(size):
    panel = MemoryPanel(
        title="Decode", bars=(MemoryBar(arm=ARM, label="PAM", parts=(("parameters", size),), total_bytes=size),)
    )
    chart = Chart(
        name="absurd", kind="memory", title="", subtitle="", axis="", caption="", source="", alt="", panels=(panel,)
    )
    assert draw_svg(chart, narrow=True).startswith("<svg")


@pytest.mark.parametrize("number", [0.0, -1.0, 1e30, 1e-30])
def test_a_strip_of_absurd_signals_is_drawn(number):
    strip = Strip(
        windows=(Window(start=0.0, end=abs(number), phase="Decode", arm=ARM, execution="eager"),),
        signals=(Signal(label="power", unit="W", top=number, segments=(((0.0, number), (number, number)),)),),
    )
    chart = Chart(
        name="absurd", kind="strip", title="", subtitle="", axis="", caption="", source="", alt="", panels=(strip,)
    )
    assert draw_png(chart).startswith(b"\x89PNG")


@pytest.mark.parametrize("seconds", [1e300, 1e-300, 0.0, -1.0])
def test_absurd_times_past_the_reader_are_a_sentence_or_a_report(seconds):
    first, *others = synthetic_records("cpu").runs[:3]
    timing = replace(first.timing, wall_time_seconds=(seconds,) * len(first.timing.wall_time_seconds))
    records = RecordFile(sessions=(), runs=(replace(first, timing=timing), *others), skips=(), problems=())
    if seconds > 0:
        assert len(build_view(records).rows) == 3
    else:
        with pytest.raises(RecordError, match="a time is a positive number"):
            build_view(records)
