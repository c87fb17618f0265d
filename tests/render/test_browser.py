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


def test_pictures_keep_their_colours_and_size_where_no_style_is_allowed(gpu_html, gpu_view, tmp_path):
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'none'\">"
    (tmp_path / "inner.html").write_text(gpu_html.replace("<title>", f"{policy}<title>", 1), encoding="utf-8")
    (tmp_path / "outer.html").write_text(
        """<!doctype html><body><iframe id="f" src="inner.html" width="1280" height="900"></iframe><script>
        document.getElementById("f").onload = function () {
          const page = this.contentDocument, look = (e) => page.defaultView.getComputedStyle(e);
          const shown = [...page.querySelectorAll(".picture > div")].filter((e) => e.offsetWidth);
          const marks = [...page.querySelectorAll("#cost .wide use")];
          const text = page.querySelector("#cost .wide text");
          document.body.setAttribute("data-result", JSON.stringify({
            shown: shown.length, sheets: page.styleSheets.length, icon: page.querySelector(".icon").clientWidth,
            fills: [...new Set(marks.map((e) => look(e).fill))],
            size: look(text).fontSize, family: look(text).fontFamily,
          }));
        };</script></body>""",
        encoding="utf-8",
    )
    seen = result_of((tmp_path / "outer.html").as_uri(), tmp_path, width=1400, delay_ms=5000)
    assert seen["sheets"] == 0
    assert seen["shown"] == len(gpu_view.charts)
    assert seen["icon"] == 13
    assert {"rgb(11, 117, 73)", "rgb(217, 117, 0)"} <= set(seen["fills"])  # the twin's and the published arm's
    assert (seen["size"], seen["family"]) == ("8.5px", "sans-serif")
