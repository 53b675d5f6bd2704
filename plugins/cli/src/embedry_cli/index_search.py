"""Searches an index: updates it if that is quick, and finds the passages nearest to a query."""

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from embedry import LazyEmbedder
from embedry_cli import terminal
from embedry_cli.errors import OutputError
from embedry_cli.index_choice import Part, shortest
from embedry_cli.index_store import Facts, Index, writing
from embedry_cli.passages import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry_cli.index_update import Changes, Update

_AT_ONCE = 1.0
"""Seconds that a search may spend on embedding changed files."""

_READ_AT_ONCE = 5_000_000
"""Bytes of changed files that it may read for this."""

_BYTES_PER_SECOND = 50_000
"""The assumed embedding speed until it has been measured."""


def refresh(index: Index, embedder: LazyEmbedder) -> None:
    """Embeds changed files if that is quick, and prints the age of the index to stderr.

    Args:
        index: the index.
        embedder: an embedder of the index's space.
    """
    from embedry_cli import index_update

    facts = index.facts
    folder = shortest(facts.folder)
    found = index_update.changes(index)
    state = "up to date"
    if found.count:
        files = terminal.counted(found.count, "file")
        state = f"{files} changed since; to update it: embedry index {folder}"
        with suppress(OutputError), writing(index.path) as is_free:  # the index may be read-only
            if is_free and _is_updated(index_update.Update(index, embedder, found), found, facts):
                state = f"updated for {files} that changed"
    terminal.note(f"index of {folder} by {facts.model}, {facts.age}: {state}")


def _is_updated(update: "Update", found: "Changes", facts: Facts) -> bool:
    """Embeds changed files, and returns False if there are too many."""
    if len(found.gone) > found.unchanged:  # the folder may be on a drive that is not mounted
        return False
    if found.size > _READ_AT_ONCE:
        return False
    left = _AT_ONCE * (facts.bytes_per_second or _BYTES_PER_SECOND)
    texts = []
    for text in update.texts():
        left -= len(text.encode())
        if left < 0:
            return False
        texts.append(text)
    deque(update.run(iter(texts)), 0)
    return True


def nearest(part: Part, query: "NDArray[np.float32]", count: int) -> list[tuple[float, Passage]]:
    """The best passages and their scores, best first.

    Args:
        part: the part of an index to search.
        query: a vector, float32 (dims,).
        count: the maximum number of passages.
    """
    import numpy as np

    index = part.index
    files: list[int] = []
    scores: list[NDArray[np.float32]] = []
    with index.snapshot():
        for file, vectors in index.vectors(part.inside):
            files.append(file)
            scores.append(np.frombuffer(vectors, "<f4").reshape(-1, len(query)) @ query)
        if not files:
            return []
        starts = np.cumsum([0, *map(len, scores)])
        joined = np.concatenate(scores)
        hits = []
        for position in np.argsort(-joined, kind="stable")[:count].tolist():
            file = int(np.searchsorted(starts, position, side="right")) - 1
            name, passages = index.passages(files[file])
            line, text = passages[position - int(starts[file])]
            hits.append((float(joined[position]), Passage(_joined(part, name), line, text)))
    return hits


def _joined(part: Part, name: str) -> str:
    """The path of a file, based on the path that the user passed."""
    return str(Path(part.path, os.path.relpath(name, part.inside or ".") if name != part.inside else ""))
