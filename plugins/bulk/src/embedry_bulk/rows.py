"""The rows of input files, block by block, in one form for every format: what a plan needs of them, and what a shard needs."""

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS = 8192


class Rejection(NamedTuple):
    """A row that has no vector, and why."""

    row: int
    """Its number in its file, from 0."""
    reason: str


class Rows(NamedTuple):
    """Rows of one file, in order."""

    table: pa.Table
    """Those that can be read."""
    numbers: NDArray[np.int64]
    """The number of each row of the table in its file, from 0."""
    rejected: Sequence[Rejection]

    def counted_from(self, number: int) -> "Rows":
        """The same with numbers that begin elsewhere, such as those of a row in a job."""
        rejected = [Rejection(number + row, reason) for row, reason in self.rejected]
        return Rows(self.table, number + self.numbers, rejected)


class Scan(NamedTuple):
    """What a plan needs of the next rows of a file."""

    lengths: NDArray[np.int64]
    """The length of each row's text in bytes; 0 where there is none."""
    texts: Sequence[str]
    """A few of the texts, evenly spread."""
    offsets: Sequence[int] | None
    """Where each row begins in the file, for formats that are read from there."""


class Reader(Protocol):
    """Reads one file."""

    def scan(self, column: str, only: Container[str], sample: int) -> Iterator[Scan]:
        """All rows, in order.

        Args:
            column: that of the texts.
            only: the columns whose types are looked for.
            sample: how many texts to give of each block.

        Raises:
            InputError: the file cannot be read, or has no such column of texts.
        """

    @property
    def names(self) -> Sequence[str]:
        """All columns; of formats without a header, once all rows were scanned."""

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types; of formats without types, once all rows were scanned."""

    def count(self) -> int | None:
        """How many rows there are, if the file says so without being read."""

    def rows(self, first: int, count: int, offset: int, schema: pa.Schema) -> Iterator[Rows]:
        """So many rows from the first on, with the columns of the schema.

        Args:
            first: the number of the first row in the file.
            count: how many.
            offset: where the first row begins, for formats that are read from there.
            schema: the columns, in the types that the job has for them.

        Raises:
            InputError: the file cannot be read, or ends before.
        """

    def close(self) -> None:
        """Closes the file; it opens again when it is read again."""


def are_strings(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, in any of Arrow's forms."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def spread(count: int, most: int) -> NDArray[np.intp]:
    """At most so many positions, evenly spread over a number of rows."""
    return np.unique(np.linspace(0, count - 1, num=min(count, most)).astype(np.intp)) if count else np.zeros(0, np.intp)
