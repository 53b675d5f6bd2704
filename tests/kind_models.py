"""Tiny models of every kind, each registered in this process under a name, so that commands and jobs find it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import embedry
from embedry import ModelSpec
from embedry._files import digests
from embedry.chains import Kind
from entries import COMMIT
from kind_entries import ENTRIES
from kind_folders import MULTI_VECTOR, RERANKERS, SPARSE, Maker

MAKERS: dict[Kind, dict[str, Maker]] = {"reranker": RERANKERS, "sparse": SPARSE, "multi_vector": MULTI_VECTOR}


def made(root: Path, kind: Kind, variant: str) -> Path:
    """The folder of one of `kind_folders`, which is made when it is asked for first.

    Args:
        root: a folder for all of them.
        kind: of the model.
        variant: its name there.
    """
    folder = root / kind / variant.replace(", ", "-").replace(" ", "-")
    if not folder.exists():
        MAKERS[kind][variant](folder)
    return folder


def registered(root: Path, kind: Kind, variant: str = "bert", **changes: Any) -> ModelSpec:
    """The entry of a tiny model with the digests of its files, by the name "tiny-KIND"; until the test ends.

    Args:
        root: see `made`.
        kind: of the model.
        variant: which of `kind_folders`.
        changes: other fields of the entry.
    """
    folder = made(root, kind, variant)
    spec = ENTRIES[kind][variant](folder)
    name = f"tiny-{kind.replace('_', '-')}"
    fields: dict[str, Any] = {
        "name": name,
        "repo": f"acme/{name}",
        "revision": COMMIT,
        "files": {file: digests.sha256(folder / file) for file in spec.files},
    }
    found = replace(spec, **fields | changes)
    embedry.register(found)
    return found
