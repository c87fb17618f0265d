"""The registry finds layers, built-ins without metadata, and survives broken ones."""

import subprocess
import sys
import types
from importlib.metadata import EntryPoint

import pytest

from pamprof.errors import UsageError
from pamprof.workloads import registry
from pamprof.workloads.layers.transformer.definition import DEFINITION as TRANSFORMER


class _Foreign:
    """A complete third-party definition: the transformer under another name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> object:
        return getattr(TRANSFORMER, attribute)


@pytest.fixture
def register(monkeypatch):
    """Makes ``name -> object`` (or an import path that fails) known as third-party entry points."""
    points = []
    module = types.ModuleType("foreign_layers")
    monkeypatch.setitem(sys.modules, "foreign_layers", module)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [p for p in points if p.group == group])
    # Only the layer that surely exists here: the test is about finding, not about the other built-ins.
    monkeypatch.setattr(
        registry, "BUILT_IN_LAYERS", {"transformer": "pamprof.workloads.layers.transformer.definition:DEFINITION"}
    )
    monkeypatch.setattr(registry, "PEER_LAYERS", {})
    registry._load.cache_clear()

    def add(name: str, value: object) -> None:
        attribute = f"layer_{len(points)}"
        if not isinstance(value, str):
            setattr(module, attribute, value)
            value = f"foreign_layers:{attribute}"
        points.append(EntryPoint(name=name, value=value, group=registry.ENTRY_POINT_GROUP))

    yield add
    registry._load.cache_clear()


def test_built_in_layers_are_found_without_installed_metadata(register):
    assert registry.layer_names() == ("transformer",)
    assert registry.definition("transformer") is TRANSFORMER
    assert registry.definitions() == {"transformer": TRANSFORMER}


def test_fallback_table_equals_the_entry_points_of_the_package():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][registry.ENTRY_POINT_GROUP] == registry.BUILT_IN_LAYERS


def test_third_party_layer_is_found_after_the_built_ins(register):
    foreign = _Foreign("lstm")
    register("lstm", foreign)
    assert registry.layer_names() == ("transformer", "lstm")
    assert registry.definition("lstm") is foreign
    assert list(registry.definitions()) == ["transformer", "lstm"]


def test_unknown_layer_names_the_nearest_and_all(register):
    with pytest.raises(UsageError, match=r"no layer 'transfromer'; did you mean transformer\? layers are transformer"):
        registry.definition("transfromer")
    with pytest.raises(UsageError, match=r"^no layer 'zzz'; layers are transformer$"):
        registry.definition("zzz")


def test_broken_layer_fails_only_when_asked_for_by_name(register):
    register("broken", "no_such_package_anywhere:DEFINITION")
    register("lstm", _Foreign("lstm"))
    assert list(registry.definitions()) == ["transformer", "lstm"]
    with pytest.raises(UsageError, match=r"layer 'broken' cannot be loaded from no_such_package_anywhere.*uninstall"):
        registry.definition("broken")
    assert list(registry.broken_layers()) == ["broken"]
    assert "no_such_package_anywhere" in registry.broken_layers()["broken"]


def test_object_that_is_no_layer_is_refused_with_what_it_lacks(register):
    register("empty", types.SimpleNamespace(name="empty", title="empty"))
    with pytest.raises(
        UsageError, match="layer 'empty' at foreign_layers:layer_0 lacks implementations, complex_valued"
    ):
        registry.definition("empty")


def test_layer_registered_under_another_name_is_refused(register):
    register("lstm", _Foreign("gru"))
    with pytest.raises(UsageError, match="calls itself 'gru'"):
        registry.definition("lstm")


def test_name_claimed_by_two_packages_is_refused_and_a_built_in_name_is_safe(register):
    register("lstm", _Foreign("lstm"))
    register("lstm", _Foreign("lstm"))
    register("transformer", _Foreign("transformer"))
    with pytest.raises(UsageError, match="registered twice, by foreign_layers:layer_0 and foreign_layers:layer_1"):
        registry.definition("lstm")
    assert registry.definition("transformer") is TRANSFORMER
    assert list(registry.definitions()) == ["transformer"]


def test_names_are_listed_without_importing_torch():
    code = "import sys; from pamprof.workloads import registry; registry.layer_names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
