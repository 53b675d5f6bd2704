"""Sparse vectors and vectors of tokens: what they hold, how they are selected, compared and handed on, without copies."""

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import OptionError, SparseVectors, TokenVectors, maxsim

VOCABULARY = [f"term{number}" for number in range(50)]


def vocabulary() -> list[str]:
    return VOCABULARY


def sparse(dense: NDArray[np.float32]) -> SparseVectors:
    """The same weights as sparse vectors."""
    rows, indices = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int64)
    return SparseVectors(
        indptr, indices.astype(np.int32), dense[rows, indices], dims=dense.shape[1], vocabulary=vocabulary
    )


@pytest.fixture
def dense() -> NDArray[np.float32]:
    random = np.random.default_rng(1)
    weights = random.random((7, 50), dtype=np.float32) * (random.random((7, 50)) < 0.2)
    weights[3] = 0  # a text without terms
    return weights.astype(np.float32)


def test_a_text_is_its_terms_and_their_weights(dense: NDArray[np.float32]) -> None:
    vectors = sparse(dense)
    assert (len(vectors), vectors.dims) == (7, 50)
    for row in (0, 3, -1):
        indices, values = vectors[row]
        np.testing.assert_array_equal(indices, np.flatnonzero(dense[row]))
        np.testing.assert_array_equal(values, dense[row][dense[row] > 0])
    assert len(list(vectors)) == 7
    with pytest.raises(IndexError, match="position 7 is out of range for 7 texts"):
        vectors[7]


@pytest.mark.parametrize(
    "at", [slice(1, 5), slice(None, None, -1), [6, 0, 0], np.array([3]), np.array([], int)], ids=str
)
def test_texts_are_selected_as_rows_of_an_array_are(dense: NDArray[np.float32], at: slice | list[int]) -> None:
    np.testing.assert_array_equal(sparse(dense)[at].to_dense(), dense[at])


def test_terms_are_spelt_the_greatest_first(dense: NDArray[np.float32]) -> None:
    terms = sparse(dense).terms(0)
    assert list(terms.values()) == sorted(dense[0][dense[0] > 0].tolist(), reverse=True)
    assert all(dense[0][VOCABULARY.index(term)] == np.float32(weight) for term, weight in terms.items())
    bare = SparseVectors(np.array([0, 1]), np.array([4], np.int32), np.ones(1, np.float32), dims=9)
    with pytest.raises(OptionError, match="have no vocabulary"):
        bare.terms(0)


def test_products_are_those_of_the_dense_weights(dense: NDArray[np.float32]) -> None:
    others = np.flipud(dense)[:4] * np.float32(2)
    np.testing.assert_allclose(sparse(dense).dot(sparse(others)), dense @ others.T, rtol=1e-6)
    assert sparse(dense).dot(sparse(dense[:0])).shape == (7, 0)


def test_scipy_and_arrow_take_the_same_memory(dense: NDArray[np.float32]) -> None:
    vectors = sparse(dense)
    matrix = vectors.to_scipy()
    np.testing.assert_array_equal(matrix.toarray(), dense)
    assert np.shares_memory(matrix.data, vectors.values)
    structs = vectors.to_arrow()
    values = structs.field("values")
    assert values.values.buffers()[1].address == vectors.values.ctypes.data
    assert values.offsets.buffers()[1].address == vectors.indptr.ctypes.data
    assert [len(each["indices"]) for each in structs.to_pylist()] == np.count_nonzero(dense, axis=1).tolist()


def test_they_pickle(dense: NDArray[np.float32]) -> None:
    vectors = pickle.loads(pickle.dumps(sparse(dense)))
    np.testing.assert_array_equal(vectors.to_dense(), dense)
    assert vectors.terms(0) == sparse(dense).terms(0)


def tokens(*counts: int, seed: int = 0) -> TokenVectors:
    """Random unit vectors, so many for each text."""
    values = np.random.default_rng(seed).standard_normal((sum(counts), 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenVectors(values, np.cumsum([0, *counts]))


def test_a_text_is_the_vectors_of_its_tokens() -> None:
    vectors = tokens(3, 0, 5)
    assert [each.shape for each in vectors] == [(3, 8), (0, 8), (5, 8)]
    assert np.shares_memory(vectors[2], vectors.values)
    chosen = vectors[[2, 0]]
    np.testing.assert_array_equal(chosen.values, np.concatenate([vectors[2], vectors[0]]))
    assert chosen.offsets.tolist() == [0, 5, 8]
    lists = vectors.to_arrow()
    assert lists.values.values.buffers()[1].address == vectors.values.ctypes.data
    np.testing.assert_array_equal(np.array(lists[2].as_py(), np.float32), vectors[2])


def test_maxsim_is_the_sum_of_the_greatest_products() -> None:
    queries, documents = tokens(4, 0, 1, seed=1), tokens(6, 0, 1, 300, 2, seed=2)
    scores = maxsim(queries, documents)
    assert (scores.dtype, scores.shape) == (np.float32, (3, 5))
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            wanted = (query @ document.T).max(axis=1).sum() if len(query) and len(document) else 0.0
            assert scores[q, d] == pytest.approx(wanted, abs=1e-5)


def test_maxsim_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = tokens(4, 3, seed=1), tokens(*range(12), seed=2)
    whole = maxsim(queries, documents)
    monkeypatch.setattr("embedry.ragged._BLOCK", 7 * 9)
    np.testing.assert_allclose(maxsim(queries, documents), whole, rtol=1e-6)


def test_maxsim_of_nothing_is_zero() -> None:
    assert maxsim(tokens(), tokens(2)).shape == (0, 1)
    assert maxsim(tokens(0), tokens(2)).tolist() == [[0.0]]
    assert maxsim(tokens(2), tokens(0, 0)).tolist() == [[0.0, 0.0]]
