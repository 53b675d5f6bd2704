"""Validates metadata of documents: values that LanceDB's JSON column returns unchanged."""

import json
import math
from typing import Any

_DEEPEST = 500
"""Nested lists and dicts. LanceDB overflows its stack, and ends the process, somewhere above a thousand."""


def dumped(metadata: Any, place: int) -> str:
    """The metadata of the document at a position, as JSON.

    Raises:
        ValueError: a value cannot be stored unchanged; the message states its location.
    """
    try:
        if not isinstance(metadata, dict):
            raise ValueError(f"metadata must be a dict, got {type(metadata).__name__}")
        _check(metadata, "metadata", 0)
    except ValueError as error:
        raise ValueError(f"the metadata of document {place} cannot be stored: {error}") from None
    return json.dumps(metadata)


def has_lone_surrogate(text: str) -> bool:
    """Whether the text has a lone surrogate, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check(value: Any, where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"{where[:60]}... is nested more than {_DEEPEST} levels deep; flatten it")
    problem = _problem(value)
    if problem:
        raise ValueError(f"{where} {problem}")
    if isinstance(value, list):
        for place, each in enumerate(value):
            _check(each, f"{where}[{place}]", depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_key(key, where)
            _check(each, f"{where}[{key!r}]", depth + 1)


def _check_key(key: Any, where: str) -> None:
    if not isinstance(key, str):
        raise ValueError(f"{where} has the key {key!r}, and JSON has only keys that are str; write {str(key)!r}")
    problem = _problem(key)
    if problem:
        raise ValueError(f"the key {key!r} of {where} {problem}")


def _problem(value: Any) -> str | None:
    """The problem of a value, without its content."""
    if value is None or isinstance(value, bool | list | dict):
        return None
    if isinstance(value, str):
        advice = 'it was likely decoded wrongly: decode bytes with errors="replace"'
        return f"has a lone surrogate; {advice}" if has_lone_surrogate(value) else None
    if isinstance(value, int):
        small = -(2**63) <= value < 2**64
        return None if small else "is an integer below -2**63 or above 2**64 - 1; store it as a str"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}, which JSON does not have; store None or a str"
    return f"is a {type(value).__name__}, which JSON does not have; convert it, to a list or a str for example"
