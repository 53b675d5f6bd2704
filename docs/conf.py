"""The documentation as a site: `make docs`. The pages can also be read as plain Markdown."""

from embedry import __version__

project = "embedry"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

smartquotes_action = "D"  # dashes only: quotation marks stay as in code

html_theme = "furo"
html_title = "embedry"
pygments_dark_style = "monokai"
html_show_copyright = False
html_show_sourcelink = False

myst_heading_anchors = 3  # links to headings, as GitHub makes them

default_role = "literal"  # single backquotes in docstrings are code
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
