"""Implements `embedry search`: finds the passages nearest to a question, with indexes where they exist."""

import heapq
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Unpack

from embedry import LazyEmbedder, LazyReranker, resolve_reranker
from embedry_cli import folder_scan, index_choice, index_search, terminal
from embedry_cli.entries import entry
from embedry_cli.errors import InputError
from embedry_cli.folder_files import reasons
from embedry_cli.index_choice import Choice
from embedry_cli.passages import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry_cli.options import Engine

Hit = tuple[float, Passage]

CANDIDATES = 50
"""Passages that a reranker scores; a small reranker takes a second or two on a CPU."""


def search(
    question: str,
    paths: Sequence[str] | None,
    *,
    top: int,
    model: str | None,
    rerank: str | None,
    candidates: int | None,
    index: Path | None,
    **engine: "Unpack[Engine]",
) -> list[Hit]:
    """The best passages and their scores, best first.

    Args:
        question: the text to search for.
        paths: files and folders; by default all of `index`, or the current folder.
        top: the maximum number of passages.
        model: the embedding model; by default that of the index, or else the default model.
        rerank: a reranker that reorders the passages; its scores are returned.
        candidates: how many passages the reranker scores.
        index: an index file; by default an index in the cache.
        **engine: the engine options.

    Raises:
        InputError: there is nothing to search.
        As `resolve`.
    """
    if candidates is not None and rerank is None:
        raise InputError("--candidates is how many passages a reranker reads; give --rerank MODEL too")
    reranker = _reranker(rerank, **engine) if rerank is not None else None
    wanted = top if reranker is None else max(top, candidates or CANDIDATES)
    with index_choice.chosen(paths, model, index, **engine) as choice:
        best = _nearest(choice, question, wanted)
    if not best:
        raise InputError(f"no text to search in {', '.join([*(part.path for part in choice.parts), *choice.others])}")
    if reranker is not None:
        ranked = reranker.rank(question, [passage.text for _, passage in best], top_k=top)
        best = [(each.score, best[each.position][1]) for each in ranked]
    return best


def _nearest(choice: Choice, question: str, count: int) -> list[Hit]:
    """The best passages and their scores by the embedding model, best first."""
    query = _Query(choice.embedder, question)
    if choice.parts:
        query.start()
    best: list[Hit] = []
    for index in {part.index.path: part.index for part in choice.parts}.values():
        index_search.refresh(index, choice.embedder)
    for part in choice.parts:
        best += index_search.nearest(part, query.vector(), count)
    if choice.others:
        skipped: Counter[str] = Counter()
        best += folder_scan.nearest(choice.others, choice.embedder, query.vector, count, skipped)
        if skipped:
            terminal.note(f"skipped: {reasons(skipped)}")
    # Paths may overlap. Pieces of a long line have the same line number.
    distinct = {(os.path.realpath(hit.file), hit.line, hit.text): (score, hit) for score, hit in reversed(best)}
    return heapq.nlargest(count, reversed(distinct.values()), key=lambda hit: hit[0])


class _Query:
    """The vector of the question, computed in a separate thread while the folder is compared with its index."""

    def __init__(self, embedder: LazyEmbedder, question: str) -> None:
        self._embedder = embedder
        self._question = question
        self._vector: NDArray[np.float32]
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)  # daemon: after an error, the process does not wait for it

    def start(self) -> None:
        """Starts the thread if it is not running yet."""
        if self._thread.ident is None:
            self._thread.start()

    def vector(self) -> "NDArray[np.float32]":
        """float32 (dims,). Raises what `encode_query` raises."""
        self.start()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._vector

    def _run(self) -> None:
        try:
            (self._vector,) = self._embedder.encode_query([self._question])
        except BaseException as error:  # raised again in `vector`
            self._error = error


def _reranker(model: str, **engine: "Unpack[Engine]") -> LazyReranker:
    from embedry_cli.rerank import check_ranks

    reranker = resolve_reranker(entry(model, "reranker"), **engine)
    check_ranks(reranker)
    return reranker
