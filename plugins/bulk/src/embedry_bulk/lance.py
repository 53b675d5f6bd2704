"""A table of LanceDB as the result of a job. The job's folder is then a database, and the table `vectors` is in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedry_bulk.encodings import decoded
from embedry_bulk.errors import OutputError, PlanError
from embedry_bulk.folder import Folder
from embedry_bulk.parts import ParquetPart, schema_of
from embedry_bulk.plan import Plan
from embedry_bulk.records import Done, Written
from embedry_bulk.verifying import wrong_with_vectors

try:
    import lancedb
except ImportError as error:
    raise PlanError('--output lancedb needs LanceDB; try: pip install "embedry-bulk[lancedb]"') from error

TABLE = "vectors"
NUMBER = "row_number"
"""The column that has the number of a row in the job. Rows are merged by it, so that a shard that comes again replaces itself."""


class LancePart(ParquetPart):
    """Rows that wait in a Parquet file until their shard is complete, and are then merged into the table in one step."""

    def __init__(self, plan: Plan, shard: int, spool: Path) -> None:
        super().__init__(plan, shard, spool)
        self._plan = plan

    def schema(self, plan: Plan) -> pa.Schema:
        """The columns of the table."""
        return schema_of(plan).insert(0, pa.field(NUMBER, pa.int64()))

    def columns(self, table: pa.Table, stored: pa.Array, numbers: NDArray[np.int64]) -> list[pa.Array]:
        """The values of these columns."""
        return [pa.array(numbers), *super().columns(table, stored, numbers)]

    def publish(self, folder: Folder) -> tuple[Written, ...]:
        """See `Part`. The table has no file of a shard."""
        schema = self.schema(self._plan)
        try:
            table = lancedb.connect(folder.url).create_table(TABLE, schema=schema, exist_ok=True)
            merge = table.merge_insert(NUMBER).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pq.read_table(self.path, schema=schema))
        except (OSError, RuntimeError, ValueError) as error:
            raise OutputError(
                f"the table {TABLE!r} in {folder.url} cannot be written: {' '.join(str(error).split())}"
            ) from error
        return ()


def wrong(plan: Plan, done: Mapping[int, Done]) -> Iterator[tuple[int, str]]:
    """What is wrong with the rows of the table, by shard."""
    counts = np.zeros(plan.shards, dtype=np.int64)
    starts = np.asarray(plan.starts)
    table = lancedb.connect(plan.folder.url).open_table(TABLE)
    for batch in table.search().select([NUMBER, plan.job.vector_column]).to_batches():
        shards = np.searchsorted(starts, batch.column(NUMBER).to_numpy(), side="right") - 1
        counts += np.bincount(shards, minlength=plan.shards)
        for what in wrong_with_vectors(plan, decoded(batch.column(plan.job.vector_column), schema_of(plan).metadata)):
            yield int(shards[0]), f"or one after it {what}"
    for shard, each in done.items():
        if counts[shard] != each.rows:
            yield shard, f"has {counts[shard]:,} rows in the table instead of {each.rows:,}"
