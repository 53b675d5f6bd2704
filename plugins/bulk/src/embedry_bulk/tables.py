"""Arrow table in, Arrow table out: for the functions that pipelines of others call on their batches."""

from typing import Unpack

import numpy as np
import pyarrow as pa

from embedry import Space
from embedry.options import Options
from embedry_bulk import encodings
from embedry_bulk.errors import InputError
from embedry_bulk.rows import are_strings


class EmbedTable:
    """A function from a table with a column of texts to the same table with their vectors.

    It pickles as its arguments, and loads the model on its first call, once a process. Spark's `mapInArrow`, Ray Data, Daft and
    `datasets.map` can call it.

    Args:
        space: the space of the vectors: `Space.of(resolve(...))`. Another model of that name is refused.
        role: "document", "query", or a task that the model's entry names.
        column: the column of the texts.
        vector_column: the name of the column that is added: fixed-size lists of float32, (dims,).
        **options: those of `resolve` that concern the machine: backend, device, precision, threads and so on.
    """

    def __init__(
        self,
        space: Space,
        role: str = "document",
        column: str = "text",
        vector_column: str = "embedding",
        **options: Unpack[Options],
    ) -> None:
        self.space = space
        self.role = role
        self.column = column
        self.vector_column = vector_column
        self.options = options

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table, or the record batch, with its vectors, in the same order. The vector of a null is null.

        Raises:
            InputError: the table has no column of strings of this name, or has one of the vectors' name.
            SpaceError: the model makes other vectors than those of the space.
        """
        if self.column not in table.column_names or self.vector_column in table.column_names:
            raise InputError(
                f"a table needs a column {self.column!r} and must have none named {self.vector_column!r}; this one has "
                f"{', '.join(table.column_names)}"
            )
        texts = table.column(self.column)
        if not (are_strings(texts.type) or pa.types.is_null(texts.type)):
            raise InputError(f"the column {self.column!r} must hold strings, and holds {texts.type}")
        try:
            values = texts.to_pylist()
        except UnicodeDecodeError as error:
            raise InputError(f"the column {self.column!r} has a text that is not UTF-8: {error}") from error
        embedder = self.space.resolve(**self.options)
        vectors = embedder.encode([text for text in values if text is not None], role=self.role)
        return table.append_column(
            self.vector_column, self._column(vectors, np.asarray([text is None for text in values]))
        )

    def _column(
        self,
        vectors: "np.ndarray[tuple[int, int], np.dtype[np.float32]]",
        absent: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    ) -> pa.Array:
        if not absent.any():
            return encodings.as_lists(vectors, "fixed")
        spread = np.zeros((len(absent), self.space.dims), dtype=np.float32)
        spread[~absent] = vectors
        return pa.FixedSizeListArray.from_arrays(pa.array(spread.ravel()), self.space.dims, mask=pa.array(absent))
