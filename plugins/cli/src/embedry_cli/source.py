"""Formats a registry entry as the Python source of a model pack's module. Omits fields with default values."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from embedry import ModelSpec

_FIRST = ("name", "aliases", "repo", "revision", "folder", "files")
"""The fields that come first; the others follow in the order of their declaration."""

_WIDTH = 120
"""Maximum length of a line. Longer texts are not split."""


def module(spec: ModelSpec) -> str:
    """The source of a module that defines `SPEC`, which is equal to the entry."""
    names = ", ".join(sorted({kind.__name__ for kind in _classes(spec)}))
    return f"from embedry import {names}\n\nSPEC = {_literal(spec)}\n"


def argument(name: str, value: object) -> str:
    """The source of one field of an entry, with a trailing comma."""
    return f"{name}={_literal(value, room=_WIDTH - len(name) - len('=,'))},"


def text(value: str) -> str:
    """The literal of a text, in double quotes unless the text contains some."""
    literal = repr(value)
    return literal if literal[0] == '"' or '"' in value else f'"{literal[1:-1]}"'


def _classes(value: object) -> Iterator[type]:
    """The classes that the source must import."""
    inner: Iterator[object] = iter(())
    if is_dataclass(value):
        yield type(value)
        inner = (each for _, each in _given(value))
    elif isinstance(value, tuple):
        inner = iter(value)
    for each in inner:
        yield from _classes(each)


def _given(value: Any) -> Iterator[tuple[str, object]]:
    """The names and values of the fields that differ from their defaults."""
    known = {field.name: field for field in fields(value)}
    first = [name for name in _FIRST if name in known] if isinstance(value, ModelSpec) else []
    for name in dict.fromkeys((*first, *known)):
        given = getattr(value, name)
        if given != _default(known[name]):
            yield name, given


def _default(field: "Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _literal(value: object, indent: str = "", room: float = _WIDTH) -> str:
    """The source of a value of an entry.

    Args:
        value: a text, a number, or a dataclass, mapping or tuple of values.
        indent: the indentation of the current line.
        room: characters left on that line; a longer value is written with one line per part.
    """
    if isinstance(value, str):
        return text(value)
    if is_dataclass(value):
        start, end, parts = f"{type(value).__name__}(", ")", [(f"{name}=", each) for name, each in _given(value)]
    elif isinstance(value, Mapping):
        start, end, parts = "{", "}", [(f"{text(key)}: ", each) for key, each in value.items()]
    elif isinstance(value, tuple):
        start, end, parts = "(", ")", [("", each) for each in value]
    else:
        return repr(value)
    flat = ", ".join(before + _literal(each, room=float("inf")) for before, each in parts)
    line = start + flat + ("," if start == "(" and len(parts) == 1 else "") + end
    if len(line) <= room or not parts:
        return line
    deeper = indent + "    "
    lines = (
        f"{deeper}{before}{_literal(each, deeper, _WIDTH - len(deeper) - len(before) - len(','))},\n"
        for before, each in parts
    )
    return f"{start}\n{''.join(lines)}{indent}{end}"
