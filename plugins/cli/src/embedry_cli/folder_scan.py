"""Searches files without an index: embeds all of them and stores nothing."""

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
    """The best passages and their scores, best first.

    Args:
        paths: files, and folders to search recursively.
        embedder: embeds the passages.
        query: returns the vector of the query, float32 (dims,).
        count: the maximum number of passages.
        skipped: counts skipped files by reason.
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
    """The paths of the files, based on the paths that the user passed, and their sizes in bytes."""
    walk = Walk()  # shared by all paths, so that each file is read once
    for path in paths:
        for entry in walk.entries(str(Path(path).absolute())):
            if entry.skipped:
                skipped[entry.skipped] += 1
            else:
                yield str(Path(path, entry.name)), entry.size


class _Source:
    """The passages of files. Keeps each passage until its vector is available."""

    def __init__(self, files: Iterator[tuple[str, int]], longest: int, skipped: Counter[str]) -> None:
        self.files = list(files)
        # A file of size 0 may be a pipe, which can be read only once.
        self.size = sum(size for file, size in self.files if size and passages.looks_like_text(file))
        """Bytes of all texts."""
        self.read = 0
        """Bytes of the texts read so far."""
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
        """Removes and returns the next passages."""
        return [self._held.popleft() for _ in range(count)]
