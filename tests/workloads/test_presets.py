from pathlib import Path

import pytest

from pamprof.errors import UsageError
from pamprof.records import Scope
from pamprof.workloads.layers import presets
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition


def test_every_built_in_layer_can_be_built_in_every_preset():
    for layer in BUILT_IN_LAYERS:
        for name in presets.preset_names():
            definition(layer).check(definition(layer).preset(name))


def test_presets_of_one_name_agree_on_parameters_within_one_percent():
    for name in ("tiny", "25m", "1b"):
        counts = [
            definition(layer).parameter_count(definition(layer).preset(name), Scope.MODEL) for layer in BUILT_IN_LAYERS
        ]
        assert max(counts) / min(counts) < 1.02


def test_one_row_adds_a_preset_and_its_real_twin(tmp_path, monkeypatch):
    built_in = Path(presets.__file__).with_name("presets.csv").read_text(encoding="utf-8")
    table = tmp_path / "presets.csv"
    table.write_text(built_in + "2m,pam,32,2,16,2,96,1024,256,modrelu,64,,a test\n", encoding="utf-8")
    monkeypatch.setattr(presets, "_TABLE", table)
    presets._presets.cache_clear()
    try:
        assert "2m" in presets.preset_names()
        assert definition("pam").preset("2m").model_dim == 32
        assert definition("real_pam").preset("2m").activation == "relu"
        with pytest.raises(UsageError, match="no preset '2m' of layer transformer; presets are tiny"):
            definition("transformer").preset("2m")
    finally:
        presets._presets.cache_clear()
