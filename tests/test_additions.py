"""What an addition costs: a layer from elsewhere touches no file of the package, a metric one row.

A GPU is one row (tests/devices/test_one_row.py), a price source one file (tests/pricing/sources).
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from pamprof.analysis import analyse
from pamprof.render.comparison import metrics
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from tests.synthetic import synthetic_records

LAYER = '''
from dataclasses import replace

from pamprof.workloads.layers.transformer.definition import DEFINITION as TRANSFORMER, TransformerDefinition


class Wide(TransformerDefinition):
    """A transformer under a name of its own, as a package from elsewhere would bring it."""

    name = "wide"
    title = "Wide transformer"

    def preset(self, name):
        return replace(TRANSFORMER.preset(name), layer="wide")


DEFINITION = Wide()
'''


@pytest.fixture
def package(tmp_path):
    """A package outside the project: the layer's one file, and the metadata that installing it writes."""
    (tmp_path / "wide_layer.py").write_text(LAYER, encoding="utf-8")
    metadata = tmp_path / "wide_layer-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: wide-layer\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[pamprof.layers]\nwide = wide_layer:DEFINITION\n", encoding="utf-8")
    return tmp_path


def test_a_layer_is_one_file_outside_the_package(package):
    path = os.pathsep.join((str(package), *filter(None, [os.environ.get("PYTHONPATH")])))
    made = subprocess.run(
        [sys.executable, "-m", "pamprof", "layers", "--layer", "transformer,wide", "--preset", "tiny", "--json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Wide transformer" in made.stdout
    assert json.loads(made.stdout)


def test_a_metric_is_one_row_of_a_table(monkeypatch):
    added = metrics.Metric(
        name="operators",
        heading="Operators",
        unit="per step",
        meaning="operators dispatched by one eager step",
        read=lambda measured: measured.run.flops.operator_count,
        written=lambda value: f"{value:.0f} operators",
        csv=("operators_per_eager_step",),
    )
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, added))
    records = synthetic_records("cpu")
    analysis = analyse(records)
    view = build_view(records, analysis=analysis)
    value = view.rows[0].cell("operators").text
    assert value.endswith(" operators")
    assert value in render_html(view)
    assert "operators dispatched by one eager step" in render_html(view)
    assert value in render_markdown(view)
    (first, *_) = csv.DictReader(io.StringIO(measurements_csv(records, analysis)))
    assert first["operators_per_eager_step"] == first["operator_count_per_step"]
