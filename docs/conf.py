"""Sphinx settings; ``scripts/docs`` builds the site. Sources are Markdown all over the repository."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]  # the checkout before an installed pamprof; the extension beside this file

from pamprof.version import __version__  # noqa: E402

project = "pamprof"
author = "The pamprof authors"
version = release = __version__
language = "en"
root_doc = "docs/index"
include_patterns = ["docs/*.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/*.md", "reports/**/*.md"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_tables"]
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
suppress_warnings = [
    "misc.highlighting_failure",  # `…` in a block of shell or Python stands for what a reader fills in
    "myst.header",  # what validate and trend write begins with a second-level heading, for a job's summary
]

napoleon_use_ivar = True  # an attribute that a class documents is not described twice
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 100

html_theme = "furo"  # its fonts are the system's, and it fetches nothing when a page is read
html_title = f"pamprof {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_extra_path = ["site_root"]  # leads from the site's root to docs/index.html
