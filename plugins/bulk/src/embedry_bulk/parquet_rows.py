"""Rows of Parquet files."""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator, Sequence
from itertools import accumulate
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from embedry_bulk.errors import InputError, in_a_line
from embedry_bulk.rows import BLOCK_ROWS, Rows, Scan, are_strings, spread

_NOT_READABLE = (pa.ArrowException, ValueError, OSError)


class ParquetReader:
    """Reads one file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file: pq.ParquetFile | None = None

    @property
    def names(self) -> Sequence[str]:
        """See `Reader`."""
        names: list[str] = self.schema.names
        return names

    @property
    def schema(self) -> pa.Schema:
        """See `Reader`. Omits the file's metadata, which is no longer valid with another column."""
        return self._opened().schema_arrow.remove_metadata()

    def count(self) -> int | None:
        """See `Reader`."""
        return int(self._opened().metadata.num_rows)

    def scan(self, column: str, only: Container[str], sample: int) -> Iterator[Scan]:
        """See `Reader`."""
        self._check_column(column)
        for batch in self._batches(range(self._opened().num_row_groups), [column]):
            texts = batch.column(0)
            lengths = pc.fill_null(pc.binary_length(_plain(texts)), 0)
            chosen = [_text(texts[int(place)]) for place in spread(len(texts), sample)]
            yield Scan(np.asarray(lengths, dtype=np.int64), [text for text in chosen if text is not None], None)

    def rows(self, first: int, count: int, offset: int, schema: pa.Schema) -> Iterator[Rows]:
        """See `Reader`."""
        metadata = self._opened().metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        ends = [0, *accumulate(sizes)]
        groups = range(
            bisect_right(ends, first) - 1, bisect_left(ends, first + count)
        )  # no others: they may be damaged
        skipped = first - ends[groups.start]
        for batch in self._batches(groups, schema.names):
            chosen = batch.slice(skipped, count)
            skipped = max(0, skipped - len(batch))
            if len(chosen):
                table = pa.Table.from_batches([chosen]).select(schema.names)
                yield Rows(table, np.arange(first, first + len(chosen)), ())
                first, count = first + len(chosen), count - len(chosen)
            if not count:
                return
        raise InputError(f"{self._url} ends {count:,} rows early: it has changed since the job was planned")

    def close(self) -> None:
        """See `Reader`."""
        if self._file is not None:
            self._file.close(force=True)
            self._file = None

    def _batches(self, groups: range, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups."""
        file = self._opened()
        try:
            yield from file.iter_batches(BLOCK_ROWS, row_groups=groups, columns=columns)
        except _NOT_READABLE as error:
            self.close()
            raise InputError(f"{self._url} cannot be read: {in_a_line(error)}") from error

    def _opened(self) -> pq.ParquetFile:
        if self._file is None:
            try:
                # Not read ahead as a whole: a row group may have any size.
                self._file = pq.ParquetFile(
                    fsspec.open(self._url, "rb").open(),
                    pre_buffer=False,
                    buffer_size=2**20,
                    page_checksum_verification=True,
                )
            except _NOT_READABLE as error:
                raise InputError(f"{self._url} is not Parquet that can be read: {in_a_line(error)}") from error
        return self._file

    def _check_column(self, column: str) -> None:
        schema = self.schema
        if len(set(schema.names)) < len(schema.names):
            raise InputError(
                f"{self._url}: two columns have the same name: {', '.join(schema.names)}; write the file with a name for each"
            )
        if column not in schema.names:
            raise InputError(
                f"{self._url} has no column {column!r}; choose one with --column: {', '.join(schema.names)}"
            )
        if not are_strings(schema.field(column).type):
            raise InputError(
                f"{self._url}: the column {column!r} must hold strings, and holds {schema.field(column).type}"
            )


def _plain(texts: pa.Array) -> pa.Array:
    """Strings as Arrow's functions take them."""
    kind = texts.type
    if pa.types.is_dictionary(kind):
        return _plain(texts.dictionary_decode())
    return texts.cast(pa.large_string()) if pa.types.is_string_view(kind) else texts


def _text(scalar: Any) -> str | None:
    try:
        text: str | None = scalar.as_py()
    except UnicodeDecodeError:  # a sample does without it
        return None
    return text
