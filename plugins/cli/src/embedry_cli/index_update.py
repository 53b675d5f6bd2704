"""Updates an index: finds the changes in its folder and embeds only those."""

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedry import LazyEmbedder
from embedry_cli import passages
from embedry_cli.folder_encode import Encoded, encoded
from embedry_cli.folder_files import Entry, Walk
from embedry_cli.index_store import FileRow, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEASURABLE = 50_000
"""Minimum bytes for measuring the embedding speed."""


@dataclass(frozen=True)
class Changes:
    """How a folder differs from its index."""

    changed: list[Entry]
    """New and modified files."""
    gone: list[str]
    """Files that no longer exist or are now skipped."""
    unchanged: int
    skipped: Counter[str]
    """The number of skipped files by reason."""

    @property
    def size(self) -> int:
        """The size of the changed files in bytes."""
        return sum(entry.size for entry in self.changed)

    @property
    def count(self) -> int:
        """The number of changed and missing files."""
        return len(self.changed) + len(self.gone)


def changes(index: Index) -> Changes:
    """Compares an index with its folder, without opening any file."""
    rows = index.rows()
    changed = []
    unchanged = 0
    skipped: Counter[str] = Counter()
    for entry in Walk().entries(index.facts.folder, largest=index.facts.largest_mb):
        if entry.skipped:
            skipped[entry.skipped] += 1
            continue
        row = rows.pop(entry.name, None)
        if row is None or row.state != entry.state:
            changed.append(entry)
        elif row.skipped:
            skipped[row.skipped] += 1
        else:
            unchanged += 1
    return Changes(changed, list(rows), unchanged, skipped)


class Update:
    """One run over the changed files. It can be interrupted at any time; the next run continues with the rest."""

    def __init__(self, index: Index, embedder: LazyEmbedder, found: Changes) -> None:
        """Prepares the run.

        Args:
            index: the index, locked by `writing`.
            embedder: an embedder of the index's space.
            found: the changes.
        """
        self.files = 0
        """The number of files with newly embedded passages."""
        self.passages = 0
        """The number of embedded passages. Unchanged passages keep their vectors."""
        self.bytes = 0
        """Bytes of text read."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Time to embed each file."""
        self.skipped: Counter[str] = Counter()
        """The number of files that are not text, by reason."""
        self._index = index
        self._embedder = embedder
        self._found = found
        self._waiting: deque[_File] = deque()

    def size(self) -> int:
        """Bytes of text to read, judged by the first bytes of each file."""
        folder = self._index.facts.folder
        changed = self._found.changed
        return sum(entry.size for entry in changed if passages.looks_like_text(os.path.join(folder, entry.name)))

    def run(self, texts: Iterator[str]) -> Iterator[Encoded]:
        """Embeds `texts()` in blocks. Yields each block after storing the files that it completes."""
        self._index.remove(self._found.gone)
        size, seconds = 0, 0.0
        for block in encoded(self._embedder, texts):
            self._fill(block)
            self._store()
            size += block.bytes
            seconds += block.seconds
            yield block
        self._store()
        facts = replace(self._index.facts, updated=time.time())
        if size >= _MEASURABLE:
            facts = replace(facts, bytes_per_second=size / seconds)
        self._index.save(facts)

    def texts(self) -> Iterator[str]:
        """Reads the files, and yields the passages that need vectors."""
        facts = self._index.facts
        for entry in self._found.changed:
            before = self._index.file(entry.name)
            try:
                text = passages.read(os.path.join(facts.folder, entry.name))
            except passages.NotTextError as reason:
                self.skipped[str(reason)] += 1
                self._index.put([FileRow(entry.name, entry.state, skipped=str(reason))])
                continue
            self.bytes += entry.size
            cut = [(each.line, each.text) for each in passages.split(entry.name, text, facts.longest)]
            file = _File.of(FileRow(entry.name, entry.state, passages=cut), before, self._embedder.dims)
            self.files += bool(file.missing)
            self._waiting.append(file)
            if not file.missing:
                self._store()
            yield from [cut[position][1] for position in file.missing]

    def _fill(self, block: Encoded) -> None:
        """Assigns vectors to the passages of the waiting files."""
        self.passages += len(block.vectors)
        rest = block.vectors
        for file in self._waiting:
            some, file.missing = file.missing[: len(rest)], file.missing[len(rest) :]
            file.vectors[some] = rest[: len(some)]
            rest = rest[len(some) :]
            self.seconds[file.row.name] += block.seconds * len(some) / len(block.vectors)

    def _store(self) -> None:
        """Stores the files whose vectors are complete."""
        rows = []
        while self._waiting and not self._waiting[0].missing:
            file = self._waiting.popleft()
            rows.append(file.row._replace(vectors=file.vectors.tobytes()))
        self._index.put(rows)


@dataclass
class _File:
    """A file to be stored in the index."""

    row: FileRow
    vectors: "NDArray[np.float32]"
    missing: list[int]
    """Positions of passages without a vector."""

    @classmethod
    def of(cls, row: FileRow, before: FileRow | None, dims: int) -> "_File":
        """A file with the known vectors of its unchanged passages."""
        vectors = np.empty((len(row.passages), dims), "<f4")
        missing = []
        known = {}
        if before is not None:
            old = np.frombuffer(before.vectors, "<f4").reshape(-1, dims)
            known = {text: vector for (_, text), vector in zip(before.passages, old, strict=True)}
        for position, (_, text) in enumerate(row.passages):
            if text in known:
                vectors[position] = known[text]
            else:
                missing.append(position)
        return cls(row, vectors, missing)
