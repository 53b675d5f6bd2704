"""LanceDB output: the job's folder is a database with the table `vectors`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedry_bulk.errors import OutputError, PlanError, in_a_line
from embedry_bulk.folder import Folder
from embedry_bulk.parts import ParquetPart, schema_of
from embedry_bulk.plan import Plan
from embedry_bulk.records import Done, Written
from embedry_bulk.stored import vectors_of
from embedry_bulk.vector_checks import wrong_with_vectors

try:
    import lancedb
except ImportError as error:
    raise PlanError('--output-format lancedb needs LanceDB; try: pip install "embedry-bulk[lancedb]"') from error

TABLE = "vectors"
NUMBER = "row_number"
"""The column that has the number of a row in the job. Rows are merged by it, so that a shard that comes again replaces itself."""

_REFUSED = (OSError, RuntimeError, ValueError)
"""Raised by LanceDB, whatever goes wrong."""


class LancePart(ParquetPart):
    """Rows kept in a Parquet file until their shard is complete, then merged into the table in one step."""

    def __init__(self, plan: Plan, shard: int, spool: Path) -> None:
        super().__init__(plan, shard, spool)
        self._plan = plan

    def schema(self, plan: Plan) -> pa.Schema:
        """The columns of the table."""
        return _schema_of(plan)

    def columns(self, table: pa.Table, vectors: pa.Array, numbers: NDArray[np.int64]) -> list[pa.Array]:
        """The values of these columns."""
        return [pa.array(numbers), *super().columns(table, vectors, numbers)]

    def publish(self, folder: Folder) -> tuple[Written, ...]:
        """See `Part`. The table has no file of a shard."""
        try:
            table = lancedb.connect(folder.url).create_table(TABLE, schema=self._schema, exist_ok=True)
            merge = table.merge_insert(NUMBER).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pq.read_table(self.path, schema=self._schema))
        except _REFUSED as error:
            raise OutputError(f"the table {TABLE!r} in {folder.url} cannot be written: {in_a_line(error)}") from error
        return ()


def check(plan: Plan) -> None:
    """Raises PlanError if LanceDB does not support the columns of a job, or cannot open its folder."""
    if NUMBER in plan.schema.names:
        raise PlanError(
            f"the table has a column {NUMBER!r} of its own: leave the inputs' out with --keep, or give it another name"
        )
    if plan.url.startswith("memory:"):
        raise PlanError(f"LanceDB cannot store data at {plan.url}; choose a folder or an object store")
    with TemporaryDirectory(prefix="embedry-bulk-") as folder:
        try:
            lancedb.connect(folder).create_table(TABLE, schema=_schema_of(plan))
        except _REFUSED as error:
            raise PlanError(
                f"LanceDB cannot hold these columns: {in_a_line(error)}; leave some out: --keep OTHER,COLUMNS"
            ) from error
    try:
        lancedb.connect(plan.url).list_tables()
    except _REFUSED as error:
        raise PlanError(
            f"LanceDB cannot open {plan.url}: {in_a_line(error)}; choose a location that it supports"
        ) from error


def wrong(plan: Plan, done: Mapping[int, Done]) -> Iterator[tuple[int, str]]:
    """Problems with the rows of the table, by shard."""
    counts = np.zeros(plan.shards, dtype=np.int64)
    metadata = schema_of(plan).metadata
    for batch in _batches(plan):
        shards = np.searchsorted(plan.starts, batch.column(NUMBER).to_numpy(), side="right") - 1
        counts += np.bincount(shards, minlength=plan.shards)
        vectors = vectors_of(batch.column(plan.job.vector_column), metadata)
        for shard in np.unique(shards).tolist():
            yield from ((shard, what) for what in wrong_with_vectors(plan, vectors[shards == shard]))
    for shard, each in sorted(done.items()):
        if counts[shard] != each.rows:
            yield shard, f"has {counts[shard]:,} rows in the table instead of {each.rows:,}"


def _batches(plan: Plan) -> Iterator[pa.RecordBatch]:
    """The numbers and the vectors of all rows; none if there is no table."""
    database = lancedb.connect(plan.folder.url)
    if TABLE not in database.list_tables().tables:
        return
    try:
        yield from database.open_table(TABLE).search().select([NUMBER, plan.job.vector_column]).to_batches()
    except _REFUSED as error:
        raise OutputError(f"the table {TABLE!r} in {plan.url} cannot be read: {in_a_line(error)}") from error


def _schema_of(plan: Plan) -> pa.Schema:
    return schema_of(plan).insert(0, pa.field(NUMBER, pa.int64()))
