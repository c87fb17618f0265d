"""The process that runs a layer's code while a comparison is planned."""

import pytest

from pamprof.errors import UsageError
from pamprof.measure.any_layer import probe, registration
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.any_layer.probe import ProbeInspector
from pamprof.records import Phase
from pamprof.workloads.layers.foreign.definition import ForeignDefinition


@pytest.fixture
def asked():
    inspector = ProbeInspector()
    yield inspector
    inspector.close()


def spec_of(factory):
    local = ForeignDefinition("given", f"tests.measure.any_layer.given:{factory}", LocalInspector())
    return local.preset("tiny")


def test_the_process_that_was_asked_ends_until_it_is_asked_again(asked, monkeypatch):
    monkeypatch.setattr(registration, "_probe", lambda: asked)
    spec = spec_of("ByPosition")
    assert asked.block_facts(spec).parameter_count == spec.model_dim
    process = asked._process
    registration.end_probe()
    assert process._process.poll() is not None
    assert asked.block_facts(spec).parameter_count == spec.model_dim


def test_it_answers_what_this_process_would_and_outlives_what_ends_it(asked, monkeypatch, tmp_path):
    spec = spec_of("linear")  # which prints
    local = LocalInspector()
    assert asked.block_facts(spec) == local.block_facts(spec)
    declares = replaced(spec, "tests.measure.any_layer.given:proposes")
    assert asked.declared(declares) == local.declared(declares)
    assert asked.declared(declares).twin_of == "pam"
    shape = {"phase": Phase.PREFILL, "batch_size": 2, "sequence_length": 16}
    assert asked.flop_count(spec, **shape) == local.flop_count(spec, **shape)
    (tmp_path / "fatal.py").write_text("import os\ndef ends(width):\n    os._exit(3)\n", encoding="utf-8")
    (tmp_path / "slow.py").write_text("import time\ndef hangs(width):\n    time.sleep(60)\n", encoding="utf-8")
    with pytest.raises(UsageError, match="layer given at width 72 ended the process that ran it, with status 3"):
        ForeignDefinition("given", f"{tmp_path}/fatal.py:ends", asked).facts(
            replaced(spec, f"{tmp_path}/fatal.py:ends")
        )
    assert asked.block_facts(spec) == local.block_facts(spec)
    monkeypatch.setattr(probe, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(UsageError, match="layer given at width 72 gave no answer within 0 s"):
        asked.block_facts(replaced(spec, f"{tmp_path}/slow.py:hangs"))


def replaced(spec, source):
    from dataclasses import replace

    return replace(spec, source=source)
