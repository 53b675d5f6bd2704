"""The pages of `embedry map` and `embedry compare`: one HTML file with everything in it, which fetches nothing."""

import json
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Red, green and blue along a scale: equal steps of a number look like equal steps, to the colour-blind too."""


def html(script: str, title: str, facts: str, data: Mapping[str, Any]) -> bytes:
    """The page, in UTF-8.

    Args:
        script: the file in `pages/` that shows the data.
        title: stands above.
        facts: one line beside the title.
        data: what the script reads, as JSON has it; numbers as `packed` gives them.
    """
    page = _read("page.html")
    for name, content in (
        ("style", _read("look.css")),
        ("script", _read("plane.js") + _read(script)),
        ("title", escape(title)),
        ("facts", escape(facts)),
        ("data", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),  # last: texts may hold "{title}"
    ):
        page = page.replace(f"{{{name}}}", content)
    return page.encode(errors="backslashreplace")  # half a surrogate pair becomes the escape that JSON has for it


def packed(values: NDArray[np.floating]) -> str:
    """Numbers as `floats` of `pages/plane.js` reads them: float32, row by row, nan for none."""
    return b64encode(values.astype("<f4").tobytes()).decode()


def _read(name: str) -> str:
    return (files("embedry_cli") / "pages" / name).read_text(encoding="utf-8")
