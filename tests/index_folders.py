"""Folders to index, and what tests of indexes look at."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedry import LazyEmbedder, register
from embedry_cli import index_places
from embedry_cli.index_store import Index
from test_cli_search import MANUAL


def moved(path: Path, patch: pytest.MonkeyPatch) -> Path:
    """The folder of a test's own indexes; models and graphs are those that all tests share."""
    place = path / "indexes"
    patch.setattr(index_places, "_home", lambda: place)
    return place


def library(path: Path) -> Path:
    """A folder of three texts and a picture."""
    folder = path / "library"
    (folder / "deep").mkdir(parents=True)
    (folder / "manual.md").write_text(MANUAL, encoding="utf-8")
    (folder / "soup.txt").write_text("Boil the leeks for ten minutes.\n", encoding="utf-8")
    (folder / "deep" / "stars.txt").write_text("Jupiter is the largest planet of them all.\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    return folder


def recorded(patch: pytest.MonkeyPatch) -> list[str]:
    """The documents that are embedded from now on, or since the list was cleared."""
    texts: list[str] = []
    real = LazyEmbedder.encode

    def encode(self: LazyEmbedder, given: list[str], *, role: str, **options: Any) -> object:
        if role == "document":
            texts.extend(given)
        return real(self, given, role=role, **options)

    patch.setattr(LazyEmbedder, "encode", encode)
    return texts


def other_model(minilm: LazyEmbedder, folder: Path) -> str:
    """The name of a model with the weights of another and a space of its own, registered until the test ends."""
    spec = replace(
        minilm.spec, name="other", aliases=(), repo="acme/other", folder=str(folder), prompts={"query": "ask: "}
    )
    register(spec)
    return spec.name


def opened(folder: Path) -> Index:
    """The only index of a folder."""
    (place,) = index_places.indexes(str(folder))
    return Index(place)
