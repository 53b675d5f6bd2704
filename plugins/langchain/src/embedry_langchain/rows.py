"""Converts documents to the rows of a store, and back."""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from langchain_core.documents import Document
from numpy.typing import NDArray

from embedry import SparseVectors
from embedry._pipeline.texts import checked
from embedry_langchain import metadata

_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Makes Lance notice that two writers insert one id at the same moment; without it both rows stay."""


_SPARSE = pa.struct([("indices", pa.large_list(pa.int32())), ("values", pa.large_list(pa.float32()))])


def schema(dims: int, *, sparse: bool = False) -> pa.Schema:
    """The columns of a store for vectors of `dims`, with or without sparse vectors."""
    columns = [
        pa.field("id", pa.string(), nullable=False, metadata=_KEY),
        pa.field("text", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), dims), nullable=False),
        pa.field("metadata", pa.json_(), nullable=False),
    ]
    return pa.schema([*columns, pa.field("sparse", _SPARSE, nullable=False)] if sparse else columns)


def fits(found: pa.Schema, *, sparse: bool) -> bool:
    """Whether these are the columns of a store, with or without sparse vectors."""
    wanted = schema(1, sparse=sparse)
    is_list = "vector" in found.names and pa.types.is_fixed_size_list(found.field("vector").type)
    return is_list and set(wanted.names) <= set(found.names) and (not sparse or found.field("sparse").type == _SPARSE)


def checked_ids(ids: Iterable[str]) -> list[str]:
    """The ids of stored documents, as a list.

    Raises:
        TypeError: `ids` is not a list of str.
        ValueError: an id is not valid Unicode.
    """
    found = _listed(ids)
    for place, each in enumerate(found):
        _check_id(each, f"ids[{place}]")
    return found


def documents(texts: Iterable[str], metadatas: Sequence[dict[str, Any]] | None) -> list[Document]:
    """The texts as documents.

    Raises:
        TextTypeError: `texts` is not a list of str.
        ValueError: the number of metadatas differs from the number of texts.
    """
    found = checked(texts)
    if metadatas and len(metadatas) != len(found):
        raise ValueError(f"{len(metadatas)} metadatas for {len(found)} texts")
    return [Document(text, metadata=each) for text, each in zip(found, metadatas or [{}] * len(found), strict=True)]


def rows(documents: Iterable[Document], ids: Iterable[str | None] | None) -> list[dict[str, str]]:
    """Ids, texts and metadata in the stored form; a document without an id gets a new one.

    Raises:
        TypeError: a document, text or id has the wrong type.
        ValueError: a value cannot be stored, or the number of ids differs from the number of documents.
    """
    given = _checked_documents(documents)
    texts = checked(each.page_content for each in given)
    return [
        {"id": each, "text": text, "metadata": metadata.dumped(document.metadata, place)}
        for place, (each, text, document) in enumerate(zip(_new_ids(given, ids), texts, given, strict=True))
    ]


def document(row: Mapping[str, Any]) -> Document:
    """The document of a stored row."""
    return Document(id=row["id"], page_content=row["text"], metadata=json.loads(row["metadata"]))


def columns(
    stored: Sequence[Mapping[str, str]], vectors: NDArray[np.float32], sparse: SparseVectors | None
) -> pa.Table:
    """Rows with their vectors, float32 (rows, dims), and their sparse vectors if any, in the stored form."""
    dims = vectors.shape[1]
    found: dict[str, Any] = {name: [row[name] for row in stored] for name in ("id", "text", "metadata")}
    found["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dims)
    if sparse is not None:
        found["sparse"] = sparse.to_arrow()
    wanted = schema(dims, sparse=sparse is not None)
    return pa.table(found).select(wanted.names).cast(wanted)


def _checked_documents(documents: Iterable[Document]) -> list[Document]:
    if isinstance(documents, Document):
        raise TypeError("documents must be a list of Document, got one Document; write [document]")
    found = list(documents)
    for place, each in enumerate(found):
        if not isinstance(each, Document):
            raise TypeError(
                f"documents must be a list of Document, got {type(each).__name__} at position {place}; "
                "use add_texts for texts"
            )
    return found


def _new_ids(documents: Sequence[Document], ids: Iterable[str | None] | None) -> list[str]:
    if ids is None:
        found, name = [each.id for each in documents], "the id of document {}"
    else:
        found, name = _listed(ids), "ids[{}]"
        if isinstance(ids, Set):
            raise TypeError(f"ids must be a list in the order of the documents, got {type(ids).__name__}")
        if len(found) != len(documents):
            raise ValueError(f"{len(found)} ids for {len(documents)} documents")
    for place, each in enumerate(found):
        if each is not None:
            _check_id(each, name.format(place))
    return [each or str(uuid4()) for each in found]


def _listed(ids: Any) -> list[Any]:
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        advice = f"; write [{str(ids)!r}] for one id" if isinstance(ids, str | int) else ""
        raise TypeError(f"ids must be a list of str, got {ids!r}{advice}")
    return list(ids)


def _check_id(value: Any, name: str) -> None:
    if not isinstance(value, str):
        advice = "" if value is None else f"; write {str(value)!r}"
        raise TypeError(f"{name} must be a str, got {value!r}{advice}")
    if metadata.has_lone_surrogate(value):
        raise ValueError(f"{name} has a lone surrogate and cannot be stored: {value!r}")
