from __future__ import annotations

import pytest

from tests.render.browser import needs_browser, result_of

pytestmark = needs_browser

# Says in the page's title what sticks out; elements inside a box that scrolls on its own are its business.
_PROBE = """
<script>
window.addEventListener("load", function () {
  var width = document.documentElement.clientWidth, out = [];
  document.querySelectorAll("main *").forEach(function (e) {
    if (e.closest(".scroll") || e.closest("svg") || e.closest(".skip")) { return; }
    var box = e.getBoundingClientRect();
    if (box.width && box.right > width + 1) { out.push(e.tagName + "." + e.className); }
  });
  var heads = document.querySelectorAll("#every-workload th [role=button]").length;
  var pictures = document.querySelectorAll(".picture > div");
  var shown = [].filter.call(pictures, function (d) { return d.offsetWidth; }).length;
  var button = document.querySelectorAll("#every-workload th [role=button]")[3];
  button.click();
  var first = document.querySelector("#every-workload tbody tr").cells[3].textContent;
  var scroll = document.documentElement.scrollWidth;
  document.title = JSON.stringify({width: width, scroll: scroll, out: out, heads: heads, shown: shown, first: first});
});
</script>
"""


def probe(html: str, folder, width: int) -> dict:
    # A frame of its own gives a phone's width: headless windows have a least width.
    inner = folder / "inner.html"
    inner.write_text(html.replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
    outer = folder / "outer.html"
    outer.write_text(
        f'<!doctype html><body style="margin:0"><iframe id="f" src="inner.html" '
        f'style="border:0;width:{width}px;height:900px"></iframe>'
        "<script>document.getElementById('f').onload = function () { setTimeout(function () {"
        "document.body.setAttribute('data-result', document.getElementById('f').contentDocument.title); }, 50); };"
        "</script></body>",
        encoding="utf-8",
    )
    return result_of(outer.as_uri(), folder, width=1400, delay_ms=5000)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_and_sorting_works(width, gpu_html, gpu_view, tmp_path):
    seen = probe(gpu_html, tmp_path, width)
    assert seen["width"] == width
    assert seen["out"] == []
    assert seen["scroll"] <= width
    assert seen["shown"] == len(gpu_view.charts)  # one of the two variants of every picture
    assert seen["heads"] >= 17
    assert seen["first"] == "1"  # sorted by batch, ascending
