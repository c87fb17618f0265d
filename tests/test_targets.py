"""The targets are judged by the ratio of the arms alone where the power couples them, and by all processes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.records import Execution, Phase
from pamprof.records.codec import encode
from pamprof.records.store import RunStore
from tests.cli.answers import damage_last_line
from tests.synthetic import (
    REFERENCE_FACTS,
    synthetic_records,
    synthetic_run,
    synthetic_session,
    synthetic_workload,
)
from tests.synthetic_windows import process_run

ROOT = Path(__file__).resolve().parents[1]
POINT = {"phase": Phase.PREFILL, "batch_size": 1, "sequence_length": 16384}
REFERENCE = synthetic_workload("transformer", execution=Execution.GRAPH, **POINT)
FUSED = synthetic_workload("pam", "fused", Execution.GRAPH, **POINT)


def table_of(folder, *, alone, layer="transformer"):
    """What the script prints of three processes: 0.49 in turn, which reaches the target of 0.50, and ``alone``."""
    reference = replace(REFERENCE, spec=replace(REFERENCE.spec, layer=layer))
    session = synthetic_session()
    with closing(RunStore(folder / "runs.jsonl")) as store:
        store.append(replace(session, layers=(*session.layers, *REFERENCE_FACTS)))
        for number in range(3):
            shift = 0.001 * (number - 1)
            for workload, paired, by_itself in ((reference, 1.0, 0.9), (FUSED, 0.49 + shift, 0.9 * (alone + shift))):
                run = synthetic_run(workload, reference=reference)
                store.append(
                    process_run(run, number, paired=(paired,) * 12, reference=(1.0,) * 12, alone=(by_itself,) * 12)
                )
    found = subprocess.run(
        [sys.executable, "benchmarks/targets.py", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    (row,) = [line for line in found.stdout.splitlines() if line.startswith("| prefill, 1 × 16384: ratio")]
    return row, found.stdout


@pytest.mark.parametrize(
    ("alone", "figure", "words", "sentence"),
    [
        (0.53, "0.53 [", "| feasible |  | alone (paired 0.49), 3 processes |", "feasible: prefill, 1 × 16384: ratio"),
        (0.49, "0.49 [", "| target |  | paired (alone 0.49), 3 processes |", "hold: prefill, 1 × 16384: ratio"),
    ],
)
def test_the_alone_ratio_decides_where_it_differs_from_the_paired_one(tmp_path, alone, figure, words, sentence):
    row, text = table_of(tmp_path, alone=alone)
    assert figure in row
    assert words in row
    assert sentence in text


def test_where_the_papers_transformer_is_missing_the_fastest_reference_is_judged_and_named(tmp_path):
    row, _ = table_of(tmp_path, alone=0.53, layer="llama")
    assert "| feasible |  | alone (paired 0.49), 3 processes, against llama |" in row


def test_a_damaged_record_is_no_basis_for_a_verdict(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"".join(map(encode, synthetic_records("cpu").runs[:3])))
    damage_last_line(path)
    told = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "targets.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert "runs.jsonl line 3: the record does not match its checksum" in told.stderr
