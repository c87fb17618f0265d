"""Caches of a user without a home, or whose folders cannot be read or written."""

import getpass
import logging
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import pamprof
from pamprof import caches
from pamprof.caches import base_folder, cache_folder, can_be_written, home_folder
from pamprof.measure.session import process
from pamprof.pricing.rates.catalogue import load_catalogue, refreshed_path
from pamprof.pricing.sources.refresh import refresh


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of its own, in a process that has said nothing so far."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(caches, "_said", set())
    for variable in ("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TRITON_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    caches._temporary_root.cache_clear()
    yield folder
    caches._temporary_root.cache_clear()


@pytest.fixture
def nobody(monkeypatch):
    """A user in no list of accounts, whom no variable names."""

    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(KeyError):
        getpass.getuser()


@pytest.mark.parametrize("home", [None, "", "relative/home"])
def test_a_home_that_is_none_is_not_taken_for_one(home, nobody, monkeypatch):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert home_folder() is None
    assert base_folder("XDG_CACHE_HOME", ".cache") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert base_folder("XDG_CACHE_HOME", ".cache") == Path("/caches")


def test_a_folder_can_be_written_where_it_or_what_is_above_it_can(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    assert can_be_written(tmp_path)
    assert can_be_written(tmp_path / "new" / "below")
    assert not can_be_written(tmp_path / "file")
    assert not can_be_written(tmp_path / "file" / "below")
    assert not can_be_written(tmp_path / "loop" / "below")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_folder_that_root_has_every_right_to_and_cannot_write_is_none():
    assert not can_be_written(Path("/proc/home/.cache"))


def test_what_cannot_be_cached_at_home_goes_to_a_private_folder_and_is_said_once(temporary, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    private = temporary / f"pamprof-{os.getuid()}"
    assert cache_folder(tmp_path / "fine", "prices") == tmp_path / "fine"
    assert caplog.messages == []
    assert cache_folder(tmp_path / "file" / "x", "prices") == private / "prices"
    assert cache_folder(None, "triton") == private / "triton"
    assert caplog.messages == [f"{tmp_path / 'file' / 'x'} cannot be written; caches are kept in {private}"]
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["open to others", "a link", "a file"])
def test_a_temporary_folder_that_others_may_fill_is_not_used(planted, temporary, tmp_path, caplog):
    private = temporary / f"pamprof-{os.getuid()}"
    if planted == "a link":
        private.symlink_to(tmp_path)
    elif planted == "a file":
        private.write_text("")
    else:
        private.mkdir()
        private.chmod(0o777)
    assert cache_folder(None, "prices") is None
    assert caplog.messages == ["the user has no home folder; nothing is cached"]


def test_without_a_home_prices_are_looked_up_and_a_refreshed_list_is_kept_and_found(nobody, temporary, caplog):
    assert load_catalogue().origin == "embedded snapshot"
    target = refreshed_path()
    assert target == temporary / f"pamprof-{os.getuid()}" / "prices" / "prices.csv"
    target.parent.mkdir()
    target.write_text(
        "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on\n"
        "acme,one,here,on-demand,H200,1,2,test,2999-01-01\n"
    )
    assert str(target) in load_catalogue().origin
    assert len(caplog.messages) == 1


def test_a_list_that_may_not_be_read_is_left_aside(tmp_path, monkeypatch, temporary):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    assert load_catalogue().origin == "embedded snapshot"
    assert refreshed_path().is_relative_to(temporary)


def test_a_refresh_that_can_be_kept_nowhere_is_a_sentence(nobody, temporary):
    (temporary / f"pamprof-{os.getuid()}").write_text("")
    with pytest.raises(pamprof.errors.PriceError, match="set XDG_CACHE_HOME or TMPDIR"):
        refresh()


def test_a_worker_of_a_user_without_a_name_has_one_and_its_caches(nobody, temporary, monkeypatch):
    monkeypatch.setattr(process, "others_keep_busy", lambda: False)
    found = process.worker_environment()
    assert found["USER"] == f"uid_{os.getuid()}"
    assert found["TRITON_CACHE_DIR"] == str(temporary / f"pamprof-{os.getuid()}" / "triton")
    assert "TORCHINDUCTOR_CACHE_DIR" not in found  # torch takes a folder among temporary files by the name
    assert "HOME" not in found


def test_compiler_caches_that_cannot_be_written_lie_elsewhere(tmp_path, temporary, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    private = temporary / f"pamprof-{os.getuid()}"
    for variable in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "file" / variable))
    found = process.compiler_caches()
    assert found["TRITON_CACHE_DIR"] == str(private / "triton")
    assert found["TORCHINDUCTOR_CACHE_DIR"] == str(private / "inductor")
    assert len(caplog.messages) == 1
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    assert process.compiler_caches()["TRITON_CACHE_DIR"] == str(tmp_path / ".triton" / "cache")


@pytest.mark.parametrize(
    ("changes", "elsewhere"),
    [({}, False), ({"HOME": "file"}, True), ({"XDG_CACHE_HOME": "relative"}, True), ({"MPLCONFIGDIR": "file/x"}, True)],
    ids=["home", "no home", "relative", "own folder"],
)
def test_matplotlib_gets_a_folder_it_can_write_and_has_nothing_to_say(changes, elsewhere, tmp_path, temporary):
    (tmp_path / "file").write_text("")
    (tmp_path / "home").mkdir()
    absolute = {name: value if name.startswith("XDG") else str(tmp_path / value) for name, value in changes.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG", "MPL"))}
    code = "import pamprof.render.plots, matplotlib; print(matplotlib.get_configdir(), matplotlib.get_cachedir())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path / "home"),
             "TMPDIR": str(temporary), **absolute},
    )  # fmt: skip
    private = temporary / f"pamprof-{os.getuid()}" / "matplotlib"
    home = tmp_path / "home"
    expected = (home / ".config" / "matplotlib", home / ".cache" / "matplotlib")
    if changes.get("XDG_CACHE_HOME"):
        private = expected[1]  # as without the variable
    assert done.stdout.split() == [str(folder) for folder in ((private, private) if elsewhere else expected)]
    assert len(done.stderr.splitlines()) == (elsewhere and "XDG_CACHE_HOME" not in changes)
    assert not (tmp_path / "relative").exists()


def test_messages_are_warnings_of_the_package_s_logger(caplog):
    cache_folder(None, "prices")
    assert [(record.name, record.levelno) for record in caplog.records] == [("pamprof.caches", logging.WARNING)]
