"""Defines a text of an input, with all columns of its row."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A text and its row."""

    text: str
    place: str
    """The location for messages: "notes.txt:12"."""
    record: Mapping[str, Any]
    """All columns of the row, including the text."""


def in_short(value: object) -> str:
    """Formats the type and the start of a value for messages."""
    shown = f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= 60 else shown[:60] + "..."
