"""What ``import pamprof`` offers, and what it does not load."""

import subprocess
import sys

import pytest

import pamprof


def test_names_are_offered_without_loading_anything():
    code = (
        "import sys, pamprof; print(*dir(pamprof)); print(*{'torch', 'numpy', 'pandas', 'msgspec'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = result.stdout.split("\n")[:2]
    assert set(pamprof.__all__) <= set(names.split())
    assert loaded == ""


@pytest.mark.parametrize("call", ["flops_of('my::scan', len)", "layer('mine', phases='train')"])
def test_formulas_and_layers_are_declared_without_torch(call):
    code = f"import sys, pamprof; pamprof.{call}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


@pytest.mark.parametrize("name", pamprof.__all__)
def test_every_name_is_there_and_documented(name):
    assert getattr(pamprof, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'count_flop'"):
        _ = pamprof.count_flop
