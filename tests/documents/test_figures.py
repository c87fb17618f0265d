"""Figures in README and FAQ are those of the committed reports."""

import csv
import importlib.util
import re
import sys
from functools import cache

import pytest

from pamprof.analysis.serving.from_records import serving_curves
from pamprof.records.store import merged, read_records
from tests.documents.documents import PAGES, REPOSITORY, links, text_of

FUSED, QUICK = "2026-11-23-nvidia-h200-fused", "2026-11-28-nvidia-h100-quick"
STEADY = "2026-11-28-nvidia-h200-reference"

README, FAQ = "README.md", "docs/faq.md"
# Words of a document around the ratio, the report, and the row: layer, implementation, execution, phase, batch size,
# tokens.
CLAIMS = (
    (
        README,
        "{:.2f} times that in training at 2k tokens at equal",
        FUSED,
        "pam published compiled-graph train 18 2048",
    ),
    (README, "{:.1f} times when it runs eager", FUSED, "pam published eager train 18 2048"),
    (README, "the kernels bring it to {:.2f}", FUSED, "pam fused compiled-graph train 18 2048"),
    (README, "finds {:.2f} [{low:.2f}, {high:.2f}] in training", QUICK, "pam fused graph train 18 2048"),
    (README, "{:.2f} for a prompt at batch 1", QUICK, "pam fused graph prefill 1 2048"),
    (README, "and {:.3f} in decode at batch 64", QUICK, "pam fused graph decode 64 2048"),
    (
        README,
        "{:.2f} [{low:.2f}, {high:.2f}] times the cost in training at 2k",
        STEADY,
        "pam fused graph train 18 2048",
    ),
    (README, "{:.3f} [{low:.3f}, {high:.3f}] at 8k", STEADY, "pam fused graph train 4 8192"),
    (README, "{:.3f} [{low:.3f}, {high:.3f}] at 32k", STEADY, "pam fused graph train 1 32768"),
    (README, "{:.3f} [{low:.3f}, {high:.3f}] for a prompt of 16k", STEADY, "pam fused graph prefill 1 16384"),
    (README, "{:.3f} [{low:.3f}, {high:.3f}] in decode at batch 64 and 2k", STEADY, "pam fused graph decode 64 2048"),
    (FAQ, "training at 2k tokens costs {:.2f} times as much, at 32k", STEADY, "pam fused graph train 18 2048"),
    (FAQ, "at 32k {:.3f} times;", STEADY, "pam fused graph train 1 32768"),
    (FAQ, "a prompt of 16k tokens costs {:.3f} times,", STEADY, "pam fused graph prefill 1 16384"),
    (FAQ, "decode of 64 sequences at 2k tokens {:.3f} times ([steady", STEADY, "pam fused graph decode 64 2048"),
    (
        FAQ,
        "Against the paper's own transformer training at 2k tokens costs {:.2f} times as much",
        FUSED,
        "pam fused compiled-graph train 18 2048",
    ),
    (FAQ, "at 8k {:.2f} times", FUSED, "pam fused compiled-graph train 4 8192"),
    (FAQ, "decode of 64 sequences at 16k tokens costs {:.3f} times", FUSED, "pam fused compiled-graph decode 64 16384"),
    (FAQ, "at 2k tokens costs {:.1f} times the transformer", FUSED, "pam published eager train 18 2048"),
    (FAQ, "bring that to {:.2f},", FUSED, "pam published compiled-graph train 18 2048"),
    (FAQ, "training costs {:.2f} times, a prompt", QUICK, "pam fused graph train 18 2048"),
    (FAQ, "a prompt of 2k tokens {:.2f} times", QUICK, "pam fused graph prefill 1 2048"),
    (FAQ, "at 2k tokens {:.3f} times ([H100]", QUICK, "pam fused graph decode 64 2048"),
    (FAQ, "In training the first takes {:.2f} and", QUICK, "transformer sdpa compiled-graph train 18 2048"),
    (FAQ, "the second {:.2f} times", QUICK, "wide_head_transformer sdpa compiled-graph train 18 2048"),
    (FAQ, "decode of 64 sequences {:.2f} and", QUICK, "transformer sdpa compiled-graph decode 64 2048"),
    (FAQ, "and {:.2f} times; the headline", QUICK, "wide_head_transformer sdpa compiled-graph decode 64 2048"),
)
PERPLEXITIES = {"30.0", "27.1"}  # of PAM and its transformer, arXiv:2604.05030


@cache
def rows(report):
    with (REPOSITORY / "reports" / report / "measurements.csv").open(encoding="utf-8-sig", newline="") as file:
        return tuple(csv.DictReader(file))


def ratio(report, arm):
    names = ("layer", "implementation", "execution", "phase", "batch_size", "sequence_length_tokens")
    (row,) = (row for row in rows(report) if [row[name] for name in names] == arm.split())
    return tuple(float(row[f"cost_against_baseline_{end}_ratio"]) for end in ("median", "low", "high"))


def said_in(document):
    return " ".join(text_of(REPOSITORY / document).split())


@pytest.mark.parametrize(("document", "words", "report", "arm"), CLAIMS)
def test_a_ratio_in_a_document_is_the_records(document, words, report, arm):
    median, low, high = ratio(report, arm)
    assert words.format(median, low=low, high=high) in said_in(document)


def test_the_twenty_demands_of_the_readme_are_those_of_the_table():
    with (REPOSITORY / "reports" / "twenty-demands" / "demands.csv").open(encoding="utf-8", newline="") as file:
        demands = list(csv.DictReader(file))
    assert len(demands) == 20
    flips = [row for row in demands if row["flips_against_llama"] == "True"]
    to_equal, to_pam = (
        [row for row in flips if (row["fewer_against_llama_steady"], row["fewer_against_llama_load"]) == how]
        for how in (("rival", "equal"), ("equal", "PAM"))
    )
    assert all(int(row["pam_steady_replicas"]) - int(row["llama_steady_replicas"]) == 1 for row in to_equal)
    assert [row["flips_against_transformer"] for row in demands] == ["False"] * 20
    assert all(row["pam_steady_replicas"] == row["pam_load_replicas"] for row in demands)
    changes = [
        (int(row[f"{layer}_load_replicas"]) - int(row[f"{layer}_steady_replicas"]), layer, row)
        for row in demands
        for layer in ("pam", "llama", "transformer")
    ]
    _, layer, row = max(changes, key=lambda change: change[0])
    assert layer == "transformer"
    said = said_in(README)
    assert f"demands on an H200 at 100M {len(flips)} decisions between PAM and the Llama-style decoder flip" in said
    assert f"In {len(to_equal)} of them a steady batch needs one replica fewer with Llama" in said
    assert f"in {len(to_pam)} PAM then needs fewer" in said
    assert len(to_equal) + len(to_pam) == len(flips)
    assert f"from {row['transformer_steady_replicas']} to {row['transformer_load_replicas']} (" in said
    assert f"| {len(flips)} of 20 |" in said_in("reports/twenty-demands/README.md")


@pytest.mark.slow
def test_the_table_of_twenty_demands_is_what_the_benchmark_computes():
    spec = importlib.util.spec_from_file_location("twenty_demands", REPOSITORY / "benchmarks" / "twenty_demands.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made  # its dataclasses look their module up
    spec.loader.exec_module(made)
    folder = REPOSITORY / "reports" / "2026-11-23-nvidia-h200-serving" / "100m"
    records = merged([read_records(path) for path in sorted(folder.glob("*.jsonl"))])
    found = made.study(serving_curves(records.runs, records.skips), made.KINDS[:2])
    with (REPOSITORY / "reports" / "twenty-demands" / "demands.csv").open(encoding="utf-8", newline="") as file:
        stored = list(csv.DictReader(file))[: len(found)]
    assert [{name: str(value) for name, value in row.items()} for row in found] == stored


def answers():
    """Objections of the FAQ with their answers."""
    parts = re.split(r"^## (.+)\n", text_of(REPOSITORY / FAQ), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def passages():
    """What rests on a committed report: answers of the FAQ, and paragraphs of other pages that link to one."""
    found = answers()
    for page in PAGES:
        if page.name not in {"faq.md", "index.md"}:
            paragraphs = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE).split("\n\n")
            found |= {f"{page.name}: {text[:40]}": text for text in paragraphs if reports_of(text)}
    return found


def reports_of(text):
    """Texts of reports that a passage links to; a page or a picture is no text."""
    targets = (link.partition("#")[0] for link in links(text) if link.startswith("../reports/"))
    return tuple(REPOSITORY / "docs" / target for target in dict.fromkeys(targets) if target.endswith((".md", ".txt")))


def numbers(text):
    """Numbers as written, without separators of thousands; not those inside names, such as H200 or 16k."""
    joined = re.sub(r"(?<=\d)[,\u2009\u202f](?=\d{3})", "", text)
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w]|\.\d)", joined))


def measured_in(text):
    """Numbers of a passage that a report must have; those of one digit are in every file."""
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`|arXiv:[\d.]+|\b[A-Z]\w+ 2 to 4\b", "", text)
    return {number for number in numbers(prose) if len(number) > 1}


@pytest.mark.parametrize("passage", passages())
def test_every_number_of_a_passage_is_in_a_report_that_it_links_to(passage):
    text = passages()[passage]
    known = set().union(*(numbers(text_of(report)) for report in reports_of(text)))
    assert measured_in(text) - known - PERPLEXITIES == set()


@pytest.mark.parametrize("objection", answers())
def test_every_answer_has_a_measured_figure_and_its_report(objection):
    assert reports_of(answers()[objection])
    assert measured_in(answers()[objection])
