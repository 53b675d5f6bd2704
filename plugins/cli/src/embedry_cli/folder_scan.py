"""Searching files without an index: all are embedded, and nothing is kept."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedry import LazyEmbedder
from embedry_cli import folder_encode, passages
from embedry_cli.folder_files import Walk
from embedry_cli.passages import NotTextError, Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def nearest(
    paths: Sequence[str],
    embedder: LazyEmbedder,
    query: "Callable[[], NDArray[np.float32]]",
    count: int,
    skipped: Counter[str],
) -> list[tuple[float, Passage]]:
    """The best passages and their scores, the best first.

    Args:
        paths: files, and folders to search in depth.
        embedder: embeds them.
        query: gives the vector of the query, float32 (dims,).
        count: how many.
        skipped: counts the files that are not read, by reason.
    """
    from embedry_cli import downloads

    source = _Source(_files(paths, skipped), passages.longest(embedder.max_seq_length), skipped)
    if source.files:
        downloads.load(embedder)
    folders = [path for path in paths if Path(path).is_dir()]
    advice = f"; to keep the vectors for other searches: embedry index {' '.join(folders)}" if folders else ""
    blocks = folder_encode.encoded(embedder, source.texts())
    best: list[tuple[float, Passage]] = []
    for block in folder_encode.shown(blocks, source.size, lambda: source.read, advice):
        scores = (block.vectors @ query()).tolist()
        best = heapq.nlargest(
            count, [*best, *zip(scores, source.taken(len(scores)), strict=True)], key=lambda hit: hit[0]
        )
    return best


def _files(paths: Sequence[str], skipped: Counter[str]) -> Iterator[tuple[str, int]]:
    """Files as the user would call them, with their sizes in bytes."""
    walk = Walk()  # of all, so that a file is read once
    for path in paths:
        for entry in walk.entries(str(Path(path).absolute())):
            if entry.skipped:
                skipped[entry.skipped] += 1
            else:
                yield str(Path(path, entry.name)), entry.size


class _Source:
    """The passages of files, each held until its vector is there."""

    def __init__(self, files: Iterator[tuple[str, int]], longest: int, skipped: Counter[str]) -> None:
        self.files = list(files)
        # What has no size may be a pipe, which can be read only once.
        self.size = sum(size for file, size in self.files if size and passages.looks_like_text(file))
        """Bytes of all texts."""
        self.read = 0
        """Bytes of those that were read."""
        self._longest = longest
        self._skipped = skipped
        self._held: deque[Passage] = deque()

    def texts(self) -> Iterator[str]:
        """The texts of the passages."""
        for file, size in self.files:
            try:
                text = passages.read(file)
            except NotTextError as reason:
                self._skipped[str(reason)] += 1
            else:
                for passage in passages.split(file, text, self._longest):
                    self._held.append(passage)
                    yield passage.text
                self.read += size

    def taken(self, count: int) -> list[Passage]:
        """The next passages, which are then released."""
        return [self._held.popleft() for _ in range(count)]
