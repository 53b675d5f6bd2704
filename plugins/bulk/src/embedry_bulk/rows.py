"""A common interface to the rows of input files, in blocks, for planning and for computing shards."""

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS = 8192


class Rejection(NamedTuple):
    """A rejected row and the reason."""

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
        """The same rows with another first number, such as row numbers in a job."""
        rejected = [Rejection(number + row, reason) for row, reason in self.rejected]
        return Rows(self.table, number + self.numbers, rejected)


class Scan(NamedTuple):
    """The planning data of the next rows of a file."""

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
            column: the column of the texts.
            only: the columns whose types are needed.
            sample: the number of texts to sample from each block.

        Raises:
            InputError: the file cannot be read, or lacks the column of texts.
        """

    @property
    def names(self) -> Sequence[str]:
        """All columns; for formats without a header, available after scanning all rows."""

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types; for formats without types, available after scanning all rows."""

    def count(self) -> int | None:
        """The number of rows, if the file's metadata states it."""

    def rows(self, first: int, count: int, offset: int, schema: pa.Schema) -> Iterator[Rows]:
        """Yields `count` rows starting with `first`, with the columns of the schema.

        Args:
            first: the number of the first row in the file.
            count: the number of rows.
            offset: the offset of the first row, for formats that support it.
            schema: the columns, with the types of the job.

        Raises:
            InputError: the file cannot be read, or ends earlier.
        """

    def close(self) -> None:
        """Closes the file; reading it again reopens it."""


def are_strings(kind: pa.DataType) -> bool:
    """Whether this is one of Arrow's string types."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def spread(count: int, most: int) -> NDArray[np.intp]:
    """Up to this many positions, evenly spread over a number of rows."""
    return np.unique(np.linspace(0, count - 1, num=min(count, most)).astype(np.intp)) if count else np.zeros(0, np.intp)
