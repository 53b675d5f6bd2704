"""Runs `embedry search` without Typer, because importing Typer takes as long as loading a model.

Handles only valid arguments. Typer handles help, completion and errors.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import Any

OPTIONS: Mapping[str, tuple[str, Callable[[str], Any] | None]] = {
    "--top": ("top", int),
    "--model": ("model", str),
    "-m": ("model", str),
    "--rerank": ("rerank", str),
    "--candidates": ("candidates", int),
    "--index": ("index", Path),
    "--backend": ("backend", str),
    "--device": ("device", str),
    "--precision": ("precision", str),
    "--threads": ("threads", int),
    "--json": ("as_json", None),
}
"""The options of the command, with the name and type of each parameter; the type of a flag is None."""


def answered(arguments: Sequence[str]) -> bool:
    """Runs a search if the arguments are a valid `search` command. Returns whether it did.

    Raises:
        As `folder_search.search`.
    """
    if arguments[:1] != ["search"] or "_EMBEDRY_COMPLETE" in os.environ:
        return False
    given = parsed(arguments[1:])
    if given is None:
        return False
    from embedry_cli import folder_hits, folder_search

    as_json = given.pop("as_json")
    folder_hits.show(folder_search.search(**given), as_json=as_json)
    return True


def parsed(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Parses the arguments of `folder_search.search` and `as_json`. Returns None if Typer must handle them."""
    short = "".join(f"{name[1:]}:" for name in OPTIONS if not name.startswith("--"))
    long = [name[2:] + "=" * (kind is not None) for name, (_, kind) in OPTIONS.items() if name.startswith("--")]
    given: dict[str, Any] = {"top": 5, "as_json": False} | dict.fromkeys(("model", "rerank", "candidates", "index"))
    try:
        options, words = gnu_getopt(list(arguments), short, long)
        for name, value in options:
            parameter, kind = OPTIONS[name]
            given[parameter] = kind(value) if kind else True
    except (GetoptError, ValueError):
        return None
    counts = [given[name] for name in ("top", "candidates") if given[name] is not None]
    if not words or not _is_plain(words[0]) or min(counts) < 1:
        return None
    return given | {"question": words[0], "paths": words[1:] or None}


def _is_plain(question: str) -> bool:
    """Whether Python decoded the question correctly, as UTF-8."""
    decoded = sys.getfilesystemencoding() == "utf-8" and not any("\ud800" <= char <= "\udfff" for char in question)
    return question.isascii() or decoded
