"""Sphinx's settings for this site. In the project's folder:

  pip install 'maskmim[docs]'
  sphinx-build -W -n docs build/site

No step needs a network: no page of another project is asked for its index, and nothing that a page
loads lies elsewhere.
"""

import ast
import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "site")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import docstrings  # noqa: E402
import markdown_source  # noqa: E402
import notebooks  # noqa: E402
import rooms  # noqa: E402
import signatures  # noqa: E402


def version_of_package() -> str:
    """Return `maskmim.__version__`, without importing the package."""
    tree = ast.parse((DOCS.parent / "maskmim" / "__init__.py").read_text(encoding="utf-8"))
    found = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__version__"]
    return ast.literal_eval(found[0].value)


project = "maskmim"
author = "The maskmim developers"
copyright = f"2026, {author}"
version = release = version_of_package()

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["examples", "site", "_build"]

# Markdown
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # two scripts of other hosts, which no page needs
# Fences without a language that begin with a command become `bash`, see docs/site.
highlight_language = "text"
# Notebooks may begin below the first level.
suppress_warnings = ["myst.header"]

# Docstrings
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_use_type_comments = False  # there are none, and looking reads each source again
python_use_unqualified_type_names = True
python_display_short_literal_types = True
default_role = "code"

# What has no page here. Types of other packages: their indices lie on other hosts, and the site is
# built without a network. Aliases of types (`alias.`, see docs/site/signatures.py): autodoc knows
# classes and functions only; the module that makes an alias tells it.
nitpick_ignore_regex = [
    (r"py:(class|obj)", r"(alias|collections|flax|jax|ml_collections|numpy|orbax|typing)\..*"),
    (r"py:(class|obj)", r"(Array|ConfigDict|Module|Path|Tree)"),
]

html_theme = "sphinx_book_theme"
html_title = "maskmim"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "home_page_in_toc": False,
    "show_navbar_depth": 1,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    # The header would hold a second field to search.
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
}
copybutton_exclude = ".linenos, .gp"


def setup(app):
    """Connect what docs/site adds to Sphinx."""
    docstrings.setup(app)
    markdown_source.setup(app)
    notebooks.setup(app)
    rooms.setup(app)
    signatures.setup(app)
