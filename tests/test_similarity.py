"""Vectors are compared by the measure of their model, exactly as sentence-transformers compares them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers.util import cos_sim, dot_score, euclidean_sim, manhattan_sim

from embedry import OptionError, resolve
from embedry.spec import Similarity
from embedry.views import LazyEmbedder

REFERENCE = {"cosine": cos_sim, "dot": dot_score, "euclidean": euclidean_sim, "manhattan": manhattan_sim}


def measured_by(minilm: LazyEmbedder, measure: Similarity) -> LazyEmbedder:
    return resolve(replace(minilm.spec, name=f"by-{measure}", similarity=measure), cache_dir=minilm.config.cache_dir)


def some(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 384)).astype(np.float32)


@pytest.mark.parametrize("measure", list(REFERENCE))
def test_each_measure_is_that_of_sentence_transformers(minilm: LazyEmbedder, measure: Similarity) -> None:
    embedder, left, right = measured_by(minilm, measure), some(7, 0), some(50, 1)
    left[3] = 0
    found = embedder.similarity(left, right)
    assert found.dtype == np.float32
    expected = REFERENCE[measure](left, right).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(embedder.similarity(left[0], right), found[:1], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("measure", list(REFERENCE))
def test_the_best_are_those_of_a_full_sort(
    minilm: LazyEmbedder, measure: Similarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, queries, documents = measured_by(minilm, measure), some(5, 2), some(300, 3)
    documents[200:] = documents[:100]  # ties: the first one comes first
    scores = embedder.similarity(queries, documents)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    monkeypatch.setattr("embedry.similarity._MOST_SCORES", 700)  # several blocks
    monkeypatch.setattr("embedry.similarity._MOST_GAPS", 384 * 70)
    hits = embedder.top_k(queries, documents, 20)
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, order, axis=1), rtol=1e-5)
    if measure in ("euclidean", "manhattan"):  # a product may differ in its last bit where blocks begin
        np.testing.assert_array_equal(hits.positions, order)
    assert hits.positions.shape == (5, 20)
    assert np.all(np.diff(hits.scores) <= 0)


def test_fewer_documents_than_asked_for_are_all(minilm: LazyEmbedder) -> None:
    vectors = minilm.encode_document(["a cat", "a dog", "a car"])
    hits = minilm.top_k(minilm.encode_query(["a kitten"])[0], vectors)
    assert hits.positions.tolist()[0][0] == 0
    assert hits.positions.shape == (1, 3)
    assert minilm.top_k(vectors, np.empty((0, 384))).scores.shape == (3, 0)
    assert minilm.top_k(np.empty((0, 384)), vectors, 2).positions.shape == (0, 2)


def test_wrong_shapes_and_numbers_are_refused(minilm: LazyEmbedder) -> None:
    vectors = some(3, 4)
    with pytest.raises(OptionError, match=r"right must have the shape \(vectors, 384\), got \(3, 64\)"):
        minilm.similarity(vectors, vectors[:, :64])
    for k in (0, -1, True, 2.0):
        with pytest.raises(OptionError, match="k must be a positive integer"):
            minilm.top_k(vectors, vectors, k)  # type: ignore[arg-type]
