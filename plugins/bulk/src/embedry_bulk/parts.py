"""Writes the files of a shard: vectors with the columns of their rows, and rejected rows with their reasons."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedry_bulk import encodings, stored
from embedry_bulk.errors import OutputError, PlanError
from embedry_bulk.folder import Folder, sha256
from embedry_bulk.plan import Plan
from embedry_bulk.records import DATA, IDS, REJECTED, Written
from embedry_bulk.rows import Rejection, are_strings
from embedry_bulk.stored import Vectors

_GROUP_BYTES = 2**25
"""Of a row group in memory: enough for readers to skip through, few enough to hold."""

_REJECTED_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())])


class Part(Protocol):
    """Takes the rows of a shard, in order."""

    def write(self, table: pa.Table, vectors: Vectors, numbers: NDArray[np.int64]) -> None:
        """Adds rows: their columns, their vectors, and their numbers in the job."""

    def close(self) -> None:
        """Ends the files."""

    def abandon(self) -> None:
        """Closes the incomplete files."""

    def publish(self, folder: Folder) -> tuple[Written, ...]:
        """Moves the files to their places."""


def put(folder: Folder, path: Path, name: str) -> Written:
    """Moves a complete file to its place.

    Raises:
        OutputError: the file cannot be written, or the job's folder no longer exists.
    """
    try:
        written = Written(name, path.stat().st_size, sha256(path))
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror or error}") from error
    folder.publish(path, name)
    return written


def part_name(plan: Plan, shard: int) -> str:
    """The name of a shard's file without extension, as in Hugging Face data sets."""
    return f"train-{plan.name(shard)}-of-{plan.shards:05}"


def rejected_name(plan: Plan, shard: int) -> str:
    """The path of a shard's rejected rows."""
    return f"{REJECTED}/{plan.name(shard)}.parquet"


def file_names(plan: Plan, shard: int) -> tuple[str, ...]:
    """The files that a shard may have, by their paths in the job's folder."""
    rejected = rejected_name(plan, shard)
    name = f"{part_name(plan, shard)}.{plan.job.output}"
    if plan.job.output == "lancedb":
        return (rejected,)
    return (f"{DATA}/{name}", f"{IDS}/{name}", rejected) if plan.job.output == "npy" else (f"{DATA}/{name}", rejected)


def schema_of(plan: Plan) -> pa.Schema:
    """The columns of the result, the vectors last, with metadata that describes them to readers."""
    job = plan.job
    vectors = pa.field(job.vector_column, stored.type_of(job.space, job.encoding, job.lists))
    kind = {"kind": job.space.kind} if job.space.kind != "dense" else {}
    about = {"encoding": job.encoding, "dims": job.space.dims, "ranges": plan.ranges, **kind}
    return pa.schema([*plan.schema, vectors]).with_metadata(
        {
            "embedry.space": json.dumps(job.space.as_dict()),
            "embedry.role": job.role,
            "embedry.vectors": json.dumps(about),
        }
    )


class ParquetPart:
    """All columns and the vectors, as Parquet. Page checksums detect flipped bits."""

    def __init__(self, plan: Plan, shard: int, spool: Path) -> None:
        self._job = plan.job
        self._ranges = plan.ranges
        self._schema = self.schema(plan)
        self._name = f"{part_name(plan, shard)}.parquet"
        self.path = spool / self._name
        within = f"{self._job.vector_column}."
        others = [
            path
            for path in _leaves(self._schema)
            if not (path.startswith(within) and stored.is_compact(self._job.space, path.removeprefix(within)))
        ]
        self._writer = pq.ParquetWriter(
            self.path,
            self._schema,
            compression=dict.fromkeys(others, "zstd") or "none",  # vectors do not get smaller
            use_dictionary=others or False,
            write_statistics=others or False,
            write_page_checksum=True,
        )
        self._group: list[pa.Table] = []
        self._group_bytes = 0

    def schema(self, plan: Plan) -> pa.Schema:
        """The columns of the file."""
        return schema_of(plan)

    def columns(self, table: pa.Table, vectors: pa.Array, numbers: NDArray[np.int64]) -> list[pa.Array]:
        """The values of these columns."""
        return [*table.columns, vectors]

    def write(self, table: pa.Table, vectors: Vectors, numbers: NDArray[np.int64]) -> None:
        """See `Part`."""
        job = self._job
        columns = self.columns(table, stored.column(vectors, job.space, job.encoding, job.lists, self._ranges), numbers)
        self._group.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._group_bytes += self._group[-1].nbytes
        if self._group_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """See `Part`."""
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """See `Part`. Ignores errors from closing."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _write_group(self) -> None:
        if self._group:
            group = pa.concat_tables(self._group)
            self._writer.write_table(group, row_group_size=len(group))
        self._group, self._group_bytes = [], 0

    def publish(self, folder: Folder) -> tuple[Written, ...]:
        """See `Part`."""
        return (put(folder, self.path, f"{DATA}/{self._name}"),)


class NpyPart:
    """The vectors as one array, and the ids of their rows as another."""

    def __init__(self, plan: Plan, shard: int, spool: Path) -> None:
        self._job = plan.job
        self._ranges = plan.ranges
        self._name = f"{part_name(plan, shard)}.npy"
        self._vectors_path, self._ids_path = spool / self._name, spool / f"ids-{self._name}"
        self._file = open(self._vectors_path, "wb")  # noqa: SIM115  closed by `close`
        id_column = self._job.id_column
        self._id_kind = np.dtype(np.int64) if id_column is None else id_kind(plan.schema.field(id_column))
        self._ids = [np.zeros(0, self._id_kind)]
        empty = np.zeros((0, self._job.space.dims), dtype=np.float32)
        encoded = encodings.encoded(empty, self._job.encoding, self._ranges)
        self._kind, self._width = encoded.dtype, encoded.shape[1]
        self._rows = 0
        self._write_header()

    def write(self, table: pa.Table, vectors: Vectors, numbers: NDArray[np.int64]) -> None:
        """See `Part`."""
        assert isinstance(vectors, np.ndarray)  # noqa: S101  others are refused when the job is planned
        encoded = encodings.encoded(vectors, self._job.encoding, self._ranges)
        self._file.write(np.ascontiguousarray(encoded).data)
        self._rows += len(encoded)
        name = self._job.id_column
        self._ids.append(numbers if name is None else np.asarray(table.column(name).to_pylist(), self._id_kind))

    def close(self) -> None:
        """See `Part`. The number of rows is known last; numpy leaves room for it in the header."""
        self._file.seek(0)
        self._write_header()
        self._file.close()
        np.save(self._ids_path, np.concatenate(self._ids), allow_pickle=False)

    def abandon(self) -> None:
        """See `Part`."""
        with suppress(OSError):
            self._file.close()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._rows, self._width),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def publish(self, folder: Folder) -> tuple[Written, ...]:
        """See `Part`."""
        vectors, ids = f"{DATA}/{self._name}", f"{IDS}/{self._name}"
        return put(folder, self._vectors_path, vectors), put(folder, self._ids_path, ids)


def id_kind(field: pa.Field) -> np.dtype[Any]:
    """The numpy type of an id column.

    Raises:
        PlanError: .npy does not support its values.
    """
    if are_strings(field.type):
        return np.dtype(np.str_)
    if pa.types.is_integer(field.type):
        return np.dtype(np.uint64 if pa.types.is_unsigned_integer(field.type) else np.int64)
    raise PlanError(f"--id {field.name}: ids are whole numbers or strings, and this column holds {field.type}")


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns as the Parquet format has them: one for each leaf of a nested type."""
    sink = pa.BufferOutputStream()
    pq.write_metadata(schema, sink)
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]


def write_rejected(folder: Path, plan: Plan, rejected: Sequence[Rejection]) -> Path:
    """Writes rejected rows as Parquet: the file, the number of the row in it from 0, and the reason."""
    places = [(*plan.place(row), reason.encode(errors="replace").decode()) for row, reason in sorted(rejected)]
    columns = [list(column) for column in zip(*places, strict=True)]
    path = folder / "rejected.parquet"
    pq.write_table(pa.Table.from_arrays(list(map(pa.array, columns)), schema=_REJECTED_SCHEMA), path)
    return path
