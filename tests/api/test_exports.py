"""The public names: lazy, documented, complete."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pamprof

REPOSITORY = Path(pamprof.__file__).resolve().parents[1]


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, pamprof; dir(pamprof); pamprof.load; pamprof.compare;"
        "print({'torch', 'numpy', 'pandas', 'matplotlib', 'rich', 'jinja2', 'typer'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("name", pamprof.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(pamprof, name)
    assert name in dir(pamprof)
    assert isinstance(value, str) or len(inspect.getdoc(value)) > 40


def test_the_table_of_names_is_what_is_public():
    assert {*pamprof._HOMES, "__version__"} == set(pamprof.__all__)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'compear'"):
        _ = pamprof.compear
