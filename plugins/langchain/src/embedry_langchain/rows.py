"""Documents as the rows of a store, and back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from langchain_core.documents import Document
from numpy.typing import NDArray


def schema(dims: int) -> pa.Schema:
    """The columns of a store whose vectors have so many dims."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dims), nullable=False),
            pa.field("metadata", pa.json_(), nullable=False),
        ]
    )


def rows(documents: Sequence[Document], ids: Sequence[str] | None) -> list[dict[str, str]]:
    """Ids, texts and metadata as they are stored; a document without an id gets a new one.

    Raises:
        ValueError: metadata that JSON cannot hold, or another number of ids than of documents.
    """
    if ids is not None and len(ids) != len(documents):
        raise ValueError(f"{len(ids)} ids for {len(documents)} documents")
    given = ids if ids is not None else [each.id for each in documents]
    return [
        {"id": known or str(uuid4()), "text": each.page_content, "metadata": _json(each, place)}
        for place, (each, known) in enumerate(zip(documents, given, strict=True))
    ]


def _json(document: Document, place: int) -> str:
    try:
        return json.dumps(document.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the metadata of document {place} cannot be kept as JSON: {error}") from error


def document(row: Mapping[str, Any]) -> Document:
    """The document of a row that was read."""
    return Document(id=row["id"], page_content=row["text"], metadata=json.loads(row["metadata"]))


def columns(stored: Sequence[Mapping[str, str]], vectors: NDArray[np.float32]) -> pa.Table:
    """Rows with their vectors, float32 (rows, dims), as the store writes them."""
    dims = vectors.shape[1]
    found: dict[str, Any] = {name: [row[name] for row in stored] for name in ("id", "text", "metadata")}
    found["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dims)
    return pa.table(found).select(schema(dims).names).cast(schema(dims))
