from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pamprof.records import StepTrace
from pamprof.records.store import RecordFile
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.plots.style import LIGHT
from tests.render.conftest import hostile

_VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use"}


class _Outline(HTMLParser):
    """Every tag with its attributes, and whether tags nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open.pop() == tag


def outline(html: str) -> _Outline:
    parser = _Outline()
    parser.feed(html)
    return parser


def styled(html: str) -> list[tuple[str, str | None]]:
    """Elements with a style attribute, which a page's content security policy may forbid, and its text."""
    return [(tag, attributes["style"]) for tag, attributes in outline(html).tags if "style" in attributes]


def test_no_element_of_the_page_carries_a_style(gpu_html):
    assert styled(gpu_html) == []


def test_every_colour_in_the_body_has_the_light_one_for_pages_without_style_sheets(gpu_html):
    body = gpu_html.partition("</style>")[2]
    used = re.findall(r"var\(--([\w-]+)(,[^)]*)?\)", body)
    assert len(used) > 1000
    assert {fallback for _, fallback in used if not fallback} == set()
    assert {(role, said[1:]) for role, said in used if role != "font"} <= LIGHT.items()


def test_page_refers_to_nothing_outside_itself(gpu_html):
    for tag, attributes in outline(gpu_html).tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", gpu_html)
    assert "fetch(" not in gpu_html
    assert "XMLHttpRequest" not in gpu_html


def test_page_is_under_two_megabytes(gpu_html):
    assert len(gpu_html.encode()) < 2_000_000


def test_tags_nest_and_ids_are_unique(gpu_html):
    parsed = outline(gpu_html)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert parsed.open == []
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_picture_resolves(gpu_html):
    ids = set(re.findall(r'\bid="([^"]+)"', gpu_html))
    used = set(re.findall(r"url\(#([^)]+)\)", gpu_html)) | set(re.findall(r'href="#([^"]+)"', gpu_html))
    assert used
    assert used <= ids


def test_sections_stand_in_the_order_a_reader_needs(gpu_html):
    wanted = [
        "<h1>",
        'class="price"',
        'class="answer"',
        'class="tiles"',
        'id="ladder"',
        'id="cost"',
        'id="cost-context"',
        'id="ratio-context"',
        'id="throughput"',
        'id="memory"',
        'id="roofline"',
        'id="utilisation"',
        'id="every-workload"',
        'id="fairness-heading"',
        'id="method-heading"',
    ]
    places = [gpu_html.index(mark) for mark in wanted]
    assert places == sorted(places)


def test_every_picture_has_its_finding_as_alternative_text(gpu_html, gpu_view):
    pictures = [a for tag, a in outline(gpu_html).tags if a.get("role") == "img"]
    assert len(pictures) == len(gpu_view.charts)
    assert all(len(a["aria-label"] or "") > 40 for a in pictures)


def test_pictures_take_every_colour_from_the_theme(gpu_html):
    body = gpu_html[gpu_html.index("<body") :]
    assert not re.search(r"(?:fill|stroke): #[0-9a-f]{3,6}", body)
    for name in set(re.findall(r"var\(--([a-z0-9]+)\)", body)):
        assert f"--{name}:" in gpu_html


def test_hostile_names_stay_text(gpu_records):
    html = render_html(build_view(hostile(gpu_records)))
    scripts = [tag for tag, _ in outline(html).tags if tag == "script"]
    assert scripts == ["script"]
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "\x1b" not in html
    assert "\u202e" not in html


@pytest.mark.usefixtures("drawn_anew")
def test_same_records_give_the_same_bytes(cpu_records, cpu_html):
    assert render_html(build_view(cpu_records)) == cpu_html


def test_unknown_is_a_dash_with_its_reason_never_a_bare_word(gpu_html, cpu_html):
    for html in (gpu_html, cpu_html):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
        assert not re.search(r"\b(nan|NaN|None|inf|Infinity)\b", text)
    assert 'aria-label="unknown: ' in cpu_html


def test_unknown_peak_is_explained_instead_of_drawn(cpu_view, cpu_html):
    chart = cpu_view.chart("roofline")
    assert chart.panels == ()
    assert "CPU" in chart.reason
    assert f"No picture: {chart.reason[:20]}" in cpu_html


def test_table_without_script_holds_every_run(gpu_html, gpu_records):
    table = re.search(r'<table class="table grouped".*?</table>', gpu_html, re.DOTALL)
    assert table
    assert table[0].count("<tr class=") == len(gpu_records.runs)


def test_records_without_a_run_say_so(gpu_records):
    empty = RecordFile(sessions=gpu_records.sessions, runs=(), skips=gpu_records.skips, problems=())
    html = render_html(build_view(empty))
    assert "Nothing was measured" in html
    assert "Incomplete" in html


def test_single_point_without_monitor_or_peak_still_makes_a_page(gpu_records):
    runs = tuple(
        replace(run, monitor=None, memory=replace(run.memory, peak_bytes=None)) for run in gpu_records.runs[:14]
    )
    html = render_html(build_view(replace(gpu_records, runs=runs)))
    assert "utilisation was not sampled" in html
    assert "no peak was recorded" in html


@pytest.mark.parametrize("words", ["launch-bound", "Dropout", "Noise floor", "Stopping rule", "schema version"])
def test_page_says(words, gpu_html):
    assert words in gpu_html


def test_a_trace_is_linked_with_its_size_only_where_it_lies_beside_the_records(cpu_records, undrawn):
    files = ("traces/pam-planar.json.gz", "javascript:alert(1)")
    runs = [
        replace(run, trace=StepTrace(file=file, byte_count=2048))
        for run, file in zip(cpu_records.runs, files, strict=False)
    ]
    html = render_html(build_view(replace(cpu_records, runs=tuple(runs))))
    links = [attributes.get("href") or "" for tag, attributes in outline(html).tags if tag == "a"]
    assert [link for link in links if not link.startswith("#")] == [files[0]]
    assert "traces/pam-planar.json.gz, 2.00 KiB" in html
    assert "Traces of single steps" not in render_html(build_view(cpu_records))
