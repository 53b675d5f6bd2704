"""Feeds the texts of a shard to the engine, and keeps the rows that wait for their vectors."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedry_bulk.rows import Rejection, Rows


class Held(NamedTuple):
    """Rows with their numbers in the job."""

    table: pa.Table
    numbers: NDArray[np.int64]

    def chosen(self, places: NDArray[np.intp]) -> "Held":
        """Some of the rows, by their places in ascending order."""
        runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        slices = [self.table.slice(int(run[0]), len(run)) for run in runs if len(run)]  # `take` lacks some types
        return Held(pa.concat_tables([self.table.slice(0, 0), *slices]), self.numbers[places])


class Feed:
    """Yields the texts of rows, and keeps the rows until they are taken, in the same order.

    Args:
        rows: the rows, numbered through the job.
        column: the column of the texts.
        id_column: the column of the ids, if rows need one.
        reject: called with rows that have no text or no id.
    """

    def __init__(
        self, rows: Iterator[Rows], column: str, id_column: str | None, reject: Callable[[Rejection], object]
    ) -> None:
        self._rows = rows
        self._column = column
        self._id_column = id_column
        self._reject = reject
        self._held: Held | None = None

    def texts(self) -> Iterator[str]:
        """The texts of all rows that have not been taken. May be called again once the earlier iterator is no longer used."""
        if self._held is not None:
            yield from self._texts_of(self._held)
        for rows in self._rows:
            block = self._with_text(rows)
            if self._held is None:
                self._held = block
            else:
                table = pa.concat_tables([self._held.table, block.table])
                self._held = Held(table, np.concatenate([self._held.numbers, block.numbers]))
            yield from self._texts_of(block)

    def held(self, most: int) -> list[str]:
        """The texts of the next rows that were yielded and not taken."""
        assert self._held is not None  # noqa: S101  something was given
        return self._texts_of(Held(self._held.table.slice(0, most), self._held.numbers))

    def take(self, count: int) -> Held:
        """Returns and removes the next rows."""
        assert self._held is not None  # noqa: S101  something was given
        table, numbers = self._held
        self._held = Held(table.slice(count), numbers[count:])
        return Held(table.slice(0, count), numbers[:count])

    def reject(self, reason: str) -> None:
        """Rejects the next row."""
        self._reject(Rejection(int(self.take(1).numbers[0]), reason))

    def _texts_of(self, held: Held) -> list[str]:
        texts: list[str] = held.table.column(self._column).to_pylist()
        return texts

    def _with_text(self, rows: Rows) -> Held:
        """The rows that have a text, and an id if they need one; the others are rejected."""
        for rejection in rows.rejected:
            self._reject(rejection)
        held = Held(rows.table, rows.numbers)
        faults = _faults(rows.table.column(self._id_column), "id") if self._id_column is not None else {}
        faults |= _faults(rows.table.column(self._column), "text")
        for place, reason in faults.items():
            self._reject(Rejection(int(rows.numbers[place]), reason))
        return held.chosen(np.delete(np.arange(len(rows.numbers)), list(faults))) if faults else held


def _faults(column: pa.ChunkedArray, name: str) -> dict[int, str]:
    """What is wrong with the values of a column, by their places."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        faults = [_fault(scalar, name) for scalar in column]
        return {place: fault for place, fault in enumerate(faults) if fault}
    return {place: f"the {name} is null" for place, value in enumerate(values) if value is None}


def _fault(scalar: pa.Scalar, name: str) -> str:
    try:
        return "" if scalar.as_py() is not None else f"the {name} is null"
    except UnicodeDecodeError as error:
        return f"the {name} is not UTF-8: {error.reason} at byte {error.start}"
