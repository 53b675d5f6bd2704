"""Arrow table in, Arrow table out: a batch function for other data pipelines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import pyarrow as pa

from embedry import Space
from embedry.options import Options
from embedry_bulk import stored
from embedry_bulk.errors import InputError
from embedry_bulk.rows import are_strings

if TYPE_CHECKING:
    from embedry.views import LazyTextModel


class EmbedTable:
    """A callable that adds a column of vectors to a table with a column of texts.

    It pickles as its arguments, and loads the model on the first call, once per process. Use it with Spark's `mapInArrow`, Ray Data,
    Daft and `datasets.map`.

    Args:
        space: the space of the vectors: `Space.of(resolve(...))`, or of the resolver for another kind. A different model with that
            name is rejected.
        role: "document", "query", or a task of the model.
        column: the column of the texts.
        vector_column: the name of the new column: fixed-size lists of float32, (dims,); for a sparse model structs of two
            lists, `indices` and `values`; for a multi-vector model lists of fixed-size lists.
        **options: machine options of `resolve`: backend, device, precision, threads and so on.
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
        """Returns the table or record batch with its vectors, in the same order. A null text gets a null vector.

        Raises:
            InputError: the table lacks the column of strings, or already has the vectors' column.
            SpaceError: the model makes vectors of another space.
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
        embedder = cast("LazyTextModel[Any]", self.space.resolve_model(**self.options))
        vectors = embedder.encode([text for text in values if text is not None], role=self.role)
        return table.append_column(self.vector_column, _spread(stored.column(vectors, self.space), values))


def _spread(column: pa.Array, texts: Sequence[str | None]) -> pa.Array:
    """The vectors as a column, with nulls for null texts."""
    absent = np.asarray([text is None for text in texts], dtype=np.bool_)
    if not absent.any():
        return column
    return column.take(pa.array(np.cumsum(~absent) - 1, mask=absent))
