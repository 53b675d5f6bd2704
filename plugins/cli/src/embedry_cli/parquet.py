"""Reading and writing Parquet. Importing this module needs pyarrow, and reports how to install it."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedry_cli.errors import InputError, MissingExtraError

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ImportError as error:
    raise MissingExtraError('Parquet needs pyarrow; try: pip install "embedry-cli[parquet]"') from error

_BATCH = 2048


def batches(path: str) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """The rows of a file, some at a time, and the part of the file that has been read so far.

    Raises:
        InputError: it is not Parquet, or contains values that Python has no type for.
    """
    try:
        with pq.ParquetFile(path) as file:
            done = 0
            for batch in file.iter_batches(_BATCH):
                done += len(batch)
                yield batch.to_pylist(), done / file.metadata.num_rows
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}: not Parquet that can be read: {error}") from error


def columns(path: str) -> list[str]:
    """The names of a file's columns, in order.

    Raises:
        InputError: it is not Parquet.
    """
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}: not Parquet that can be read: {error}") from error


class ParquetWriter:
    """Writes records with their vectors as fixed-size lists. The first block decides the types unless inputs do."""

    def __init__(self, file: BinaryIO, column: str, dims: int, inputs: Sequence[str]) -> None:
        self._file = file
        self._vectors = pa.field(column, pa.list_(pa.float32(), dims))
        self._schema: pa.Schema | None = _common_schema(inputs) if inputs else None
        self._writer: pq.ParquetWriter | None = None

    def write(self, records: list[dict[str, Any]], vectors: NDArray[np.float32]) -> None:
        """Adds rows.

        Raises:
            InputError: a column has values of another type than before, or is new.
        """
        if self._schema is None:
            self._schema = _inferred(records)
        table = _table(records, self._schema)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        self._open(self._schema).write_table(table.append_column(self._vectors, lists))

    def close(self) -> None:
        """Ends the file; one without rows still has the vectors' column."""
        self._open(self._schema if self._schema is not None else pa.schema([])).close()

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, schema.append(self._vectors))
        return self._writer


def _common_schema(paths: Sequence[str]) -> pa.Schema:
    try:
        return pa.unify_schemas([pq.read_schema(path) for path in paths])
    except pa.ArrowException as error:
        raise InputError(f"the inputs cannot be put into one Parquet file: {error}") from error


def _inferred(records: list[dict[str, Any]]) -> pa.Schema:
    columns = {name: None for record in records for name in record}
    try:
        return pa.schema({name: pa.array([record.get(name) for record in records]).type for name in columns})
    except pa.ArrowException as error:
        raise InputError(f"the rows cannot be put into Parquet, whose columns have one type each: {error}") from error


def _table(records: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    new = sorted({name for record in records for name in record} - set(schema.names))
    if new:
        raise InputError(f"the column {new[0]!r} is not in the first rows, so Parquet cannot take it; write .jsonl")
    try:
        return pa.Table.from_pylist(records, schema=schema)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(
            f"a column has values of another type than in the first rows: {error}; write .jsonl"
        ) from error
