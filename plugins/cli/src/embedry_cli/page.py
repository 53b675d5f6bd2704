"""Creates the pages of `embedry map` and `embedry compare`: self-contained HTML files without external resources."""

import json
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""RGB values of a perceptually uniform color scale that also works for color-blind people."""


def html(script: str, title: str, facts: str, data: Mapping[str, Any]) -> bytes:
    """The HTML page, in UTF-8.

    Args:
        script: the file in `pages/` that shows the data.
        title: the title of the page.
        facts: one line next to the title.
        data: the data for the script, serializable as JSON, with arrays of numbers encoded by `packed`.
    """
    page = _read("page.html")
    for name, content in (
        ("style", _read("look.css")),
        ("script", _read("plane.js") + _read(script)),
        ("title", escape(title)),
        ("facts", escape(facts)),
        ("data", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),  # last: texts may contain "{title}"
    ):
        page = page.replace(f"{{{name}}}", content)
    return page.encode(errors="backslashreplace")  # writes lone surrogates as JSON escapes


def packed(values: NDArray[np.floating]) -> str:
    """Encodes numbers for `floats` in `pages/plane.js`: float32, row by row, NaN for none."""
    return b64encode(values.astype("<f4").tobytes()).decode()


def _read(name: str) -> str:
    return (files("embedry_cli") / "pages" / name).read_text(encoding="utf-8")
