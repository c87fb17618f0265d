"""Headless Chromium, for tests that ask a page what it shows.

Without Chromium these tests skip. PAMPROF_BROWSER=required, which CI sets where it has installed one, turns that and a
Chromium that does not start into a failure of the whole run.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

import pytest

BROWSER = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]


def browser_fault():
    """Why a browser that was promised cannot be used; ``None`` where it can, or none was promised."""
    if os.environ.get("PAMPROF_BROWSER") != "required":
        return None
    if BROWSER is None:
        return "PAMPROF_BROWSER=required, and there is no Chromium on this machine"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "data:text/html,<p>started"]
    try:
        started = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"PAMPROF_BROWSER=required, and {BROWSER} does not start: {error}"
    if "started" not in started.stdout:
        return f"PAMPROF_BROWSER=required, and {BROWSER} shows no page: {started.stderr.strip()[-500:]}"
    return None


_LAST = """
<script>
window.addEventListener("load", async function () {
  document.body.setAttribute("data-result", JSON.stringify(await (%s)()));
});
</script>
"""


def asked(page: str, function: str, folder, *, fragment: str = "", width: int = 1280, delay_ms: int = 4000):
    """What the JavaScript ``function`` returns in ``page``, opened with ``fragment`` in a window ``width`` wide."""
    file = folder / "page.html"
    file.write_text(page.replace("</body>", f"{_LAST % function}</body>"), encoding="utf-8")
    return result_of(f"{file.as_uri()}{fragment}", folder, width=width, delay_ms=delay_ms)


def result_of(address: str, folder, *, width: int, delay_ms: int):
    """What the page at ``address`` leaves as JSON in its body's ``data-result``."""
    dumped = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},1000",
            f"--virtual-time-budget={delay_ms}",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    found = re.search(r'<body[^>]*data-result="([^"]*)"', dumped)
    assert found, dumped[:2000]
    return json.loads(html.unescape(found[1]))
