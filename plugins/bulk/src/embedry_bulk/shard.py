"""Computes one shard: reads, encodes, writes and commits it."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

import numpy as np

from embedry import BackendError, EmbedryError
from embedry.options import Options
from embedry_bulk import outputs, parts, records
from embedry_bulk.ahead import ahead
from embedry_bulk.errors import InputError, OutputError
from embedry_bulk.feed import Feed
from embedry_bulk.plan import Plan
from embedry_bulk.readers import reader
from embedry_bulk.records import Done
from embedry_bulk.rows import Reader, Rejection, Rows
from embedry_bulk.stored import Vectors

if TYPE_CHECKING:
    from embedry.views import LazyTextModel

_AHEAD = 2
"""Blocks of rows that are read before they are needed."""

_SUSPECTS = 2048
"""Rows among which the one is looked for that makes the engine fail."""

Advance = Callable[[int], None]
"""Told how many rows more are computed."""


def run_shard(plan: Plan, shard: int, **options: Unpack[Options]) -> Done:
    """Computes a shard and commits it, even if it is already done: the result has the same bytes.

    Args:
        plan: the plan.
        shard: its number, from 0.
        **options: machine options of `resolve`: backend, device, precision, threads and so on.

    Raises:
        InputError: an input cannot be read, or has changed since the job was planned.
        SpaceError: the model makes other vectors than when the job was planned.
        BackendError: the engine fails for all texts.
        OutputError: the job's folder cannot be written to.
    """
    with plan.folder.spool() as spool:
        return Worker(plan, spool, **options).compute(shard).commit()


class _Encoded(NamedTuple):
    """The next rows, and their vectors."""

    vectors: Vectors
    tokens: int
    truncated: list[int]
    """Positions among these rows."""


@dataclass
class _Counts:
    rows: int = 0
    truncated: int = 0
    tokens: int = 0
    rejected: list[Rejection] = field(default_factory=list)


class Worker:
    """Computes shards of a plan in turn; inputs stay open between shards.

    Args:
        plan: the plan.
        spool: a local folder for incomplete files, see `Folder.spool`.
        advance: called with the number of rows just computed.
        **options: machine options of `resolve`.

    Raises:
        SpaceError: the model makes other vectors than when the job was planned.
    """

    def __init__(self, plan: Plan, spool: Path, advance: Advance = lambda _: None, **options: Unpack[Options]) -> None:
        self.plan = plan
        self._spool = spool
        self._advance = advance
        model = plan.job.space.resolve_model(**options).load()  # a loading error is not specific to a shard
        self._embedder = cast("LazyTextModel[Any]", model)
        self._readers: dict[int, Reader] = {}

    def compute(self, shard: int) -> "Computed":
        """Reads, computes and writes a shard to the local folder. Raises as `run_shard`."""
        begun = time.perf_counter()
        folder = self._spool / parts.part_name(self.plan, shard)
        try:
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that has failed
            folder.mkdir()
            with outputs.open_part(self.plan, shard, folder) as part:
                counts = self._fill(part, shard)
            rejected = parts.write_rejected(folder, self.plan, counts.rejected) if counts.rejected else None
        except OSError as error:
            if isinstance(error, EmbedryError):  # such as weights that are missing
                raise
            raise OutputError(f"{folder} cannot be written to: {error.strerror or error}") from error
        done = Done(
            plan=self.plan.digest,
            shard=shard,
            rows=counts.rows,
            rejected=len(counts.rejected),
            truncated=counts.truncated,
            tokens=counts.tokens,
            files=(),
            seconds=time.perf_counter() - begun,
            worker=f"{platform.node()} {os.getpid()}",
            engine=dict(self._embedder.info),
        )
        return Computed(self.plan, done, part, rejected, folder)

    def _fill(self, part: parts.Part, shard: int) -> _Counts:
        counts = _Counts()
        job = self.plan.job
        with closing(ahead(self._rows(shard), _AHEAD)) as rows:  # before a failed shard is tried again
            feed = Feed(rows, job.column, job.id_column, counts.rejected.append)
            for result in self._results(feed):
                if isinstance(result, str):
                    feed.reject(result)
                    self._advance(1)
                    continue
                self._write(part, feed, result, counts)
                self._advance(len(result.vectors))
                os.utime(self._spool)  # shows others that this process is at work
        start, stop = self.plan.bounds(shard)
        if counts.rows + len(counts.rejected) != stop - start:
            raise InputError(
                f"shard {shard} has {counts.rows:,} rows and {len(counts.rejected):,} rejected ones, and should have "
                f"{stop - start:,}: an input has changed while it was read"
            )
        return counts

    def _write(self, part: parts.Part, feed: Feed, result: _Encoded, counts: _Counts) -> None:
        held = feed.take(len(result.vectors))
        vectors = result.vectors
        counts.tokens += result.tokens
        if self.plan.job.on_overflow == "reject" and result.truncated:
            length = self._embedder.config.length(self.plan.job.role)
            reason = f"longer than the {length} tokens that the model reads"
            counts.rejected.extend(Rejection(int(held.numbers[place]), reason) for place in result.truncated)
            kept = np.delete(np.arange(len(vectors)), result.truncated)
            held, vectors = held.chosen(kept), vectors[kept]
        else:
            counts.truncated += len(result.truncated)
        counts.rows += len(vectors)
        part.write(held.table, vectors, held.numbers)

    def _rows(self, shard: int) -> Iterator[Rows]:
        """The rows of a shard, by their numbers in the job."""
        plan = self.plan
        for part in plan.parts(shard):
            file = plan.job.inputs[part.file]
            file.check()
            if part.file not in self._readers:
                for each in self._readers.values():  # those of files before are no longer needed
                    each.close()
                self._readers = {part.file: reader(file)}
            before = sum(plan.rows[: part.file])
            for rows in self._readers[part.file].rows(part.first, part.rows, part.offset, plan.schema):
                yield rows.counted_from(before)
            file.check()

    def _results(self, feed: Feed) -> Iterator[_Encoded | str]:
        """The next rows with their vectors, or the reason why the next row is rejected."""
        while True:
            done = 0
            try:
                for block in self._embedder.encode_blocks(feed.texts(), role=self.plan.job.role):
                    yield _Encoded(block.vectors, sum(block.tokens or ()), [each - done for each in block.truncated])
                    done += len(block.vectors)
                return
            except BackendError as error:
                self._check_engine(error)
                yield from self._apart(feed.held(_SUSPECTS))

    def _check_engine(self, error: BackendError) -> None:
        """Re-raises the error if the engine also fails for a harmless text."""
        try:
            self._embedder.encode(["a"], role=self.plan.job.role)
        except BackendError:
            raise error from None

    def _apart(self, texts: list[str]) -> Iterator[_Encoded | str]:
        """The same for texts that make the engine fail: bisects them to find the failing ones."""
        try:
            prepared = self._embedder.prepare(texts, role=self.plan.job.role)
            yield _Encoded(prepared.encode(), sum(prepared.tokens or ()), list(prepared.truncated))
        except BackendError as error:
            if len(texts) == 1:
                yield f"the engine failed: {' '.join(str(error).split())}"
                return
            middle = len(texts) // 2
            yield from chain(self._apart(texts[:middle]), self._apart(texts[middle:]))


class Computed:
    """A shard whose files are complete, in a local folder."""

    def __init__(self, plan: Plan, done: Done, part: parts.Part, rejected: Path | None, folder: Path) -> None:
        self._plan = plan
        self._done = done
        self._part = part
        self._rejected = rejected
        self._folder = folder

    def commit(self) -> Done:
        """Moves the files to their places, then writes the record; may be called from any thread.

        Raises:
            OutputError: the job's folder cannot be written to.
        """
        begun = time.perf_counter()
        files = self._part.publish(self._plan.folder)
        name = parts.rejected_name(self._plan, self._done.shard)
        if self._rejected is not None:
            files += (parts.put(self._plan.folder, self._rejected, name),)
        else:
            self._plan.folder.remove(name)  # of a time when an engine failed for rows of this shard
        done = replace(self._done, files=files, seconds=self._done.seconds + time.perf_counter() - begun)
        records.write(done, self._plan, self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        return done
