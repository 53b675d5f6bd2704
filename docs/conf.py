"""The documentation as a site: `make docs`. The pages can also be read as plain Markdown."""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

from embedry import __version__

ROOT = Path(__file__).parents[1]

project = "embedry"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

smartquotes_action = "D"  # dashes only: quotation marks stay as in code

html_theme = "furo"
html_title = f"embedry {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}
pygments_dark_style = "monokai"
html_show_copyright = False
html_show_sourcelink = False

copybutton_exclude = ".linenos, .gp, .go"  # of a console, what is typed: no prompt and no output

myst_heading_anchors = 3  # links to headings, as GitHub makes them

default_role = "literal"  # single backquotes in docstrings are code
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 130  # of whole names, which are not shown
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _for_napoleon, priority=400)  # before napoleon, which has 500


def _for_napoleon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Changes what napoleon would misread.

    Of an attribute it takes the words before a colon in the first line for the type, which the annotation has; an empty comment
    comes first instead. Below "Raises:" it takes every line for an error, so a reference gets a name.
    """
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]
    lines[:] = [re.sub("^    As `", "    others: as `", line) for line in lines]
