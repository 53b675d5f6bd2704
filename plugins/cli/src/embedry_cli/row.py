"""One text of an input, with all columns of its row."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One text."""

    text: str
    place: str
    """Its location, for messages: "notes.txt:12"."""
    record: Mapping[str, Any]
    """All columns of its row, the text's among them."""


def in_short(value: object) -> str:
    """The type and the value, or the start of it, for messages."""
    shown = f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= 60 else shown[:60] + "..."
