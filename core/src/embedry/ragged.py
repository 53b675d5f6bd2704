"""Results with a different size for each text: sparse vectors and token vectors."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from embedry.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import scipy.sparse
    from numpy.typing import NDArray

_BLOCK = 2**22
"""Products of token vectors in memory at a time in `maxsim`, 16 MB; measured as fast as all at once (docs/benchmarks.md)."""


class SparseVectors(Sequence[Any]):
    """Term weights of several texts, as compressed sparse rows.

    `vectors[i]` is the pair (indices, values) of text i; a slice or an array of positions selects texts.
    """

    def __init__(
        self,
        indptr: "NDArray[np.int64]",
        indices: "NDArray[np.int32]",
        values: "NDArray[np.float32]",
        *,
        dims: int,
        vocabulary: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.indptr = indptr
        """The start of each text's terms in `indices` and `values`, int64 (texts + 1,)."""
        self.indices = indices
        """Term ids, ascending within each text, int32 (terms of all texts,)."""
        self.values = values
        """Term weights, above 0, float32 (terms of all texts,)."""
        self.dims = dims
        """Vocabulary size."""
        self._vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @overload
    def __getitem__(self, at: int) -> "tuple[NDArray[np.int32], NDArray[np.float32]]": ...
    @overload
    def __getitem__(self, at: "slice | Sequence[int] | NDArray[np.integer]") -> "SparseVectors": ...
    def __getitem__(self, at: Any) -> Any:
        import numpy as np

        if isinstance(at, int | np.integer):
            terms = _span(self.indptr, int(at))
            return self.indices[terms], self.values[terms]
        offsets, places = _selected(self.indptr, at)
        return SparseVectors(
            offsets, self.indices[places], self.values[places], dims=self.dims, vocabulary=self._vocabulary
        )

    def terms(self, at: int) -> dict[str, float]:
        """The terms of one text, as spelled in the vocabulary, and their weights, in descending order."""
        if self._vocabulary is None:
            raise OptionError("these sparse vectors have no vocabulary; use those that `encode` returns")
        names = self._vocabulary()
        indices, values = self[at]
        found = sorted(zip(indices.tolist(), values.tolist(), strict=True), key=lambda pair: -pair[1])
        return {names[index]: value for index, value in found}

    def dot(self, other: "SparseVectors") -> "NDArray[np.float32]":
        """The dot products with other sparse vectors, their similarity: float32 (these, others)."""
        import numpy as np

        # An inverted index of the other texts, instead of comparing each pair of texts.
        order = np.argsort(other.indices, kind="stable")
        terms = other.indices[order]
        texts = np.repeat(np.arange(len(other)), np.diff(other.indptr))[order]
        weights = other.values[order]
        products = np.zeros((len(self), len(other)), dtype=np.float32)
        for row in range(len(self)):
            indices, values = self[row]
            starts, ends = np.searchsorted(terms, indices), np.searchsorted(terms, indices, side="right")
            places = _ranges(starts, ends)
            products[row] = np.bincount(
                texts[places], weights[places] * np.repeat(values, ends - starts), minlength=len(other)
            )
        return products

    def to_scipy(self) -> "scipy.sparse.csr_array":
        """A csr_array (texts, dims) that shares the memory; requires scipy."""
        from scipy.sparse import csr_array

        return csr_array((self.values, self.indices, self.indptr), shape=(len(self), self.dims))

    def to_dense(self) -> "NDArray[np.float32]":
        """All weights, including zeros: float32 (texts, dims)."""
        import numpy as np

        dense = np.zeros((len(self), self.dims), dtype=np.float32)
        dense[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.values
        return dense

    def to_arrow(self) -> "pyarrow.StructArray":
        """A struct for each text with the lists `indices` (int32) and `values` (float); shares the memory; requires pyarrow."""
        import pyarrow

        lists = [pyarrow.LargeListArray.from_arrays(self.indptr, each) for each in (self.indices, self.values)]
        return pyarrow.StructArray.from_arrays(lists, ["indices", "values"])

    def __repr__(self) -> str:
        return f"<SparseVectors of {len(self)} texts, {len(self.indices)} of {self.dims} terms each in all>"


class TokenVectors(Sequence[Any]):
    """Token vectors of several texts, concatenated.

    `vectors[i]` is a view of text i's, float32 (tokens, dims); a slice or an array of positions selects texts.
    """

    def __init__(self, values: "NDArray[np.float32]", offsets: "NDArray[np.int64]") -> None:
        self.values = values
        """Float32 (tokens of all texts, dims)."""
        self.offsets = offsets
        """The start of each text's vectors in `values`, int64 (texts + 1,)."""

    @property
    def dims(self) -> int:
        """Length of every vector."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> "NDArray[np.float32]": ...
    @overload
    def __getitem__(self, at: "slice | Sequence[int] | NDArray[np.integer]") -> "TokenVectors": ...
    def __getitem__(self, at: Any) -> Any:
        import numpy as np

        if isinstance(at, int | np.integer):
            return self.values[_span(self.offsets, int(at))]
        offsets, places = _selected(self.offsets, at)
        return TokenVectors(self.values[places], offsets)

    def to_arrow(self) -> "pyarrow.LargeListArray":
        """For each text, a list of lists of `dims` floats; shares the memory; requires pyarrow."""
        import pyarrow

        vectors = pyarrow.FixedSizeListArray.from_arrays(self.values.reshape(-1), self.dims)
        return pyarrow.LargeListArray.from_arrays(self.offsets, vectors)

    def __repr__(self) -> str:
        return f"<TokenVectors of {len(self)} texts, {len(self.values)} tokens, dims={self.dims}>"


def maxsim(queries: TokenVectors, documents: TokenVectors) -> "NDArray[np.float32]":
    """The MaxSim of each query with each document, float32 (queries, documents) (Khattab and Zaharia 2020, arXiv:2004.12832).

    The sum over a query's tokens of the maximum product with a token of the document; 0 for a document without tokens.
    """
    import numpy as np

    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    starts, ends = queries.offsets[:-1], queries.offsets[1:]
    asked = np.flatnonzero(ends > starts)  # `reduceat` takes no empty ranges
    filled = np.flatnonzero(np.diff(documents.offsets) > 0)
    if not len(asked) or not len(filled):
        return scores
    most = max(1, _BLOCK // len(queries.values))  # tokens of documents at a time
    first = 0
    while first < len(filled):
        begin = documents.offsets[filled[first]]
        last = int(np.searchsorted(documents.offsets[filled + 1], begin + most, side="right"))
        chosen = filled[first : max(first + 1, last)]
        tokens = documents.values[begin : documents.offsets[chosen[-1] + 1]]
        products = tokens @ queries.values.T
        greatest = np.maximum.reduceat(products, documents.offsets[chosen] - begin, axis=0)
        scores[np.ix_(asked, chosen)] = np.add.reduceat(greatest, starts[asked], axis=1).T
        first += len(chosen)
    return scores


def _span(offsets: "NDArray[np.int64]", at: int) -> slice:
    count = len(offsets) - 1
    if not -count <= at < count:
        raise IndexError(f"position {at} is out of range for {count} texts")
    at %= count
    return slice(int(offsets[at]), int(offsets[at + 1]))


def _selected(offsets: "NDArray[np.int64]", at: Any) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """The offsets of selected texts, and the positions of their parts."""
    import numpy as np

    positions = np.arange(len(offsets) - 1)[at]
    starts, ends = offsets[:-1][positions], offsets[1:][positions]
    return np.concatenate([[0], np.cumsum(ends - starts)]), _ranges(starts, ends)


def _ranges(starts: "NDArray[Any]", ends: "NDArray[Any]") -> "NDArray[np.int64]":
    """The integers of several ranges, concatenated."""
    import numpy as np

    lengths = ends - starts
    places: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(
        starts - (np.cumsum(lengths) - lengths), lengths
    )
    return places
