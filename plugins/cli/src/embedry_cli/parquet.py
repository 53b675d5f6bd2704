"""Reads and writes Parquet. Importing this module without pyarrow raises an error that says how to install it."""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, BinaryIO, cast

import numpy as np

from embedry_cli.errors import InputError, MissingExtraError
from embedry_cli.row import Row, in_short
from embedry_cli.vectors import VectorColumn, Vectors

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ImportError as error:
    raise MissingExtraError('Parquet needs pyarrow; try: pip install "embedry[parquet]"') from error

_BATCH = 2048


class ParquetRow(Mapping[str, Any]):
    """A row of a file. Converts values to Python on access, because some values cannot be converted."""

    def __init__(self, batch: pa.RecordBatch, index: int, place: str) -> None:
        self.batch = batch
        self.index = index
        self._place = place

    def __getitem__(self, name: str) -> Any:
        value = self.batch.column(name)[self.index]
        try:
            return value.as_py()
        except (ValueError, OverflowError, LookupError) as error:  # a date after the year 9999, an unknown time zone
            raise InputError(
                f"{self._place}: Python has no value for the {value.type} in the column {name!r}: {error}; "
                "remove the column"
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self.batch.schema.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return len(self.batch.schema)


def batches(path: str, only: str | None) -> Iterator[tuple[pa.RecordBatch, float]]:
    """Yields batches of rows, and the share of the file that has been read so far.

    Args:
        path: the file.
        only: the only column to read; None, or a name that is not a column, for all.

    Raises:
        InputError: the file is not Parquet or cannot be read completely.
    """
    done = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = [only] if only in file.schema_arrow.names else None
            for batch in file.iter_batches(_BATCH, columns=columns):
                done += len(batch)
                yield batch, done / file.metadata.num_rows
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: not Parquet that can be read after row {done}: {_in_a_line(error)}") from error


def columns(path: str) -> list[str]:
    """The names of a file's columns, in order.

    Raises:
        InputError: the file is not Parquet.
    """
    return list(_schema(path).names)


class ParquetWriter:
    """Writes rows with their vectors.

    Vectors are fixed-size lists, sparse vectors are structs of two lists, `indices` and `values`, and multi-vectors are
    lists of fixed-size lists. Rows of Parquet files keep their values and types. Otherwise the first block determines the
    types, and a value that does not fit its column raises an error. The space and the role are stored in the metadata of
    the file, under the same names as in bulk jobs.
    """

    def __init__(self, file: BinaryIO, column: VectorColumn, inputs: Sequence[str]) -> None:
        self._file = file
        self._vectors = pa.field(column.name, _type_of(column))
        self._about = column.about
        self._inputs = bool(inputs)
        self._schema: pa.Schema | None = _common_schema(inputs) if inputs else None
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Adds rows.

        Raises:
            InputError: a column cannot store a value unchanged, or is missing from the first block.
        """
        if self._schema is None:
            self._schema = _inferred(rows)
        table = _copied(rows, self._schema) if self._inputs else _converted(rows, self._schema)
        self._open(self._schema).write_table(table.append_column(self._vectors, self._column(vectors)))

    def close(self) -> None:
        """Completes the file. A file without rows still has the vector column."""
        self._open(self._schema if self._schema is not None else pa.schema([])).close()

    def _column(self, vectors: Vectors) -> pa.Array:
        if isinstance(vectors, np.ndarray):
            return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return vectors.to_arrow().cast(self._vectors.type)

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            metadata = {"embedry.space": json.dumps(self._about["space"]), "embedry.role": self._about["role"]}
            columns = schema.append(self._vectors).with_metadata({**(schema.metadata or {}), **metadata})
            self._writer = pq.ParquetWriter(self._file, columns)
        return self._writer


def _type_of(column: VectorColumn) -> pa.DataType:
    if column.kind == "sparse":
        return pa.struct([("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))])
    vector = pa.list_(pa.float32(), column.dims)
    return pa.list_(vector) if column.kind == "multi_vector" else vector


def _schema(path: str) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: not Parquet that can be read: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _common_schema(paths: Sequence[str]) -> pa.Schema:
    try:
        return pa.unify_schemas([_schema(path) for path in paths])
    except pa.ArrowException as error:
        raise InputError(f"the inputs cannot be put into one Parquet file: {error}") from error


def _copied(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """The columns of rows of Parquet files, without conversion to Python and back."""
    slices = []
    records = [cast(ParquetRow, row.record) for row in rows]
    for _, group in groupby(records, key=lambda record: id(record.batch)):
        first, *others = group
        slices.append(pa.Table.from_batches([first.batch.slice(first.index, 1 + len(others))]))
    return pa.concat_tables([schema.empty_table(), *slices], promote_options="default")  # a missing column is null


def _converted(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    known = set(schema.names)
    for row in rows:
        new = next((name for name in row.record if name not in known), None)
        if new is not None:
            raise InputError(
                f"{row.place}: the column {new!r} is not in the first rows, so Parquet cannot take it; write .jsonl"
            )
    return pa.Table.from_arrays([_column(rows, field.name, field.type) for field in schema], schema=schema)


def _inferred(rows: Sequence[Row]) -> pa.Schema:
    types: dict[str, pa.DataType] = {}
    for row in rows:
        for name in row.record:
            if name in types:
                continue
            if not _is_utf8(name):
                raise InputError(f"{row.place}: Parquet cannot hold the name of the column {name!r}; write .jsonl")
            types[name] = _column(rows, name, None).type
    return pa.schema(types)


def _column(rows: Sequence[Row], name: str, kind: pa.DataType | None) -> pa.Array:
    """The values of a column in the type `kind`, or if it is None, in a type that fits all of them.

    Raises:
        InputError: the column cannot store a value unchanged.
    """
    values = [row.record.get(name) for row in rows]
    array = _array(values, kind)
    if array is not None and (kind is not None or _can_be_written(array.type)):
        return array

    def fails(last: int) -> bool:
        found = _array(values[: last + 1], kind)
        return found is None or (array is not None and not _can_be_written(found.type))

    wrong = bisect_left(range(len(values) - 1), True, key=fails)
    earlier = pa.array(values[:wrong]).type if kind is None else kind
    before = "" if pa.types.is_null(earlier) else f", which has the type {str(earlier)[:60]} in the rows before"
    raise InputError(
        f"{rows[wrong].place}: Parquet cannot hold {in_short(values[wrong])} in the column {name!r}{before}; write .jsonl"
    )


def _array(values: Sequence[Any], kind: pa.DataType | None) -> pa.Array | None:
    """The values as an array; None if the array cannot store all of them unchanged."""
    try:
        array = pa.array(values, kind)
        return array if all(map(_same, values, array.to_pylist())) else None
    except (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _same(given: Any, held: Any) -> bool:
    """Whether a value is unchanged. A missing key equals null, and an integer equals the same float."""
    if isinstance(given, dict):
        return isinstance(held, dict) and all(
            _same(given.get(key), held.get(key)) for key in given.keys() | held.keys()
        )
    if isinstance(given, list):
        return isinstance(held, list) and len(given) == len(held) and all(map(_same, given, held))
    if isinstance(given, bool) != isinstance(held, bool):
        return False
    return bool(given == held or (given != given and held != held))  # NaN differs from itself


def _can_be_written(kind: pa.DataType) -> bool:
    """Whether Parquet supports an Arrow type. It does not support structs without fields and very deep lists."""
    try:
        file = pa.BufferOutputStream()
        pq.write_table(pa.schema([("column", kind)]).empty_table(), file)
        pq.read_schema(pa.BufferReader(file.getvalue()))
    except (pa.ArrowException, OSError):
        return False
    return True


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
