"""A run that was promised a browser says at once that there is none, instead of skipping its tests."""

import stat

import pytest

from tests.render import browser


@pytest.fixture
def promised(monkeypatch):
    monkeypatch.setenv("PAMPROF_BROWSER", "required")


def program(folder, script):
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_a_promise_nothing_is_started(monkeypatch):
    monkeypatch.delenv("PAMPROF_BROWSER", raising=False)
    monkeypatch.setattr(browser, "BROWSER", "/no/such/program")
    assert browser.browser_fault() is None


@pytest.mark.usefixtures("promised")
def test_a_promised_browser_that_is_not_there_is_a_fault(monkeypatch):
    monkeypatch.setattr(browser, "BROWSER", None)
    assert "there is no Chromium" in browser.browser_fault()


@pytest.mark.usefixtures("promised")
def test_a_promised_browser_that_dies_is_a_fault_with_its_own_words(monkeypatch, tmp_path):
    monkeypatch.setattr(browser, "BROWSER", program(tmp_path, "echo no sandbox here >&2; exit 1"))
    assert "no sandbox here" in browser.browser_fault()


@pytest.mark.usefixtures("promised")
def test_a_promised_browser_that_cannot_be_run_is_a_fault(monkeypatch):
    monkeypatch.setattr(browser, "BROWSER", "/no/such/program")
    assert "does not start" in browser.browser_fault()


@pytest.mark.usefixtures("promised")
def test_a_promised_browser_that_shows_a_page_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(browser, "BROWSER", program(tmp_path, "echo '<p>started'"))
    assert browser.browser_fault() is None
