"""Writes lock files, as TOML that is readable in a diff."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedry.lock import FORMAT, Lock, LockedModel

_HEADER = "# The models of an application, pinned by embedry. Written by `embedry lock`; `embedry lock --check` compares it with today.\n"
_TABLES = ("prompts", "files")
"""Fields that are written as separate tables, last."""


def write(path: Path, models: Mapping[str, LockedModel]) -> None:
    """Writes a lock file atomically: readers see the old file or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    path = path.resolve()  # a link stays one
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text(models), encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def text(models: Mapping[str, LockedModel]) -> str:
    """The contents of a lock file for these models: TOML, sorted by name, one value per line."""
    tables = (_table(name, models[name]) for name in sorted(models, key=str.lower))
    return _HEADER + f"format = {FORMAT}\n" + "".join(f"\n{table}" for table in tables)


def _table(name: str, model: LockedModel) -> str:
    data = model.spec.to_dict()
    data["files"] = {file: {"sha256": digest, "size": model.sizes[file]} for file, digest in data["files"].items()}
    lines = [f"[models.{_toml(name)}]"]
    lines += [f"{key} = {_toml(value)}" for key, value in data.items() if key != "name" and key not in _TABLES]
    for key in _TABLES:
        if data.get(key):
            lines += [
                "",
                f"[models.{_toml(name)}.{key}]",
                *(f"{_toml(each)} = {_toml(value)}" for each, value in data[key].items()),
            ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value in TOML 1.0. Its basic strings are those of JSON, but for one control character."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        if any(isinstance(each, Mapping) for each in value):  # modules of a chain: a line each
            return "[\n" + "".join(f"    {_toml(each)},\n" for each in value) + "]"
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def changes(locked: Lock, today: Mapping[str, LockedModel]) -> Iterator[str]:
    """The lines of a unified diff from a lock file to the current state of its models; none if they are the same."""
    from difflib import unified_diff

    before, after = (text(models).splitlines() for models in (locked.models, today))
    return unified_diff(before, after, str(locked.path), "today", n=2, lineterm="")
