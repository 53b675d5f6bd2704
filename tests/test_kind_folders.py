"""The folders of `kind_folders` load in sentence-transformers, and what they compute tells inputs apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

import kind_references as reference
import references
from kind_folders import MULTI_VECTOR, RERANKERS, SPARSE, as_gte
from kind_references import NOTHING, PAIRS, TEXTS, Floats, Role

FEW = list(dict.fromkeys(PAIRS))[:16]
SOME = list(dict.fromkeys(TEXTS))[:16]
CLOSE = 2e-5
"""Rounding, of logits and weights up to about 20."""

_IDENTITY = {name for name in RERANKERS if "Identity" in name or "3 labels" in name}
_ROLES: tuple[Role, ...] = ("query", "document")


def _differences(rows: Floats) -> Floats:
    """The greatest difference of any two rows' components."""
    flat = rows.reshape(len(rows), -1)
    found: Floats = np.abs(flat[:, None] - flat).max(2)[np.triu_indices(len(flat), 1)]
    return found


@pytest.mark.parametrize("name", RERANKERS)
def test_a_reranker_tells_pairs_and_their_sides_apart(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    RERANKERS[name](folder)
    found, turned = reference.scores(folder, FEW), reference.scores(folder, [(right, left) for left, right in FEW], 8)
    assert np.isfinite(found).all()
    assert found.shape == ((16, 3) if "3 labels" in name else (16,))
    assert np.median(_differences(found)) > 0.2
    assert np.median(np.abs(found - turned)) > 0.02
    np.testing.assert_allclose(reference.scores(folder, FEW, 8), found, rtol=0, atol=CLOSE)
    shown = found if name in _IDENTITY else 1 / (1 + np.exp(-found))
    np.testing.assert_allclose(reference.shown_scores(folder, FEW), shown, rtol=0, atol=1e-6)


def test_the_activations_and_lengths_that_folders_set(tmp_path: Path) -> None:
    lengths = {"bert": 64, "bert, tokenizer of 40 tokens": 40, "bert, tokenizer without a length": 64, "roberta": 64}
    for name, length in lengths.items():
        RERANKERS[name](tmp_path / name)
        assert reference.loaded(CrossEncoder, tmp_path / name).max_seq_length == length
        assert np.isfinite(reference.scores(tmp_path / name, [NOTHING])).all()


def test_new_is_gte_by_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    RERANKERS["new"](folder)
    ids = [0, 7, 30, 11, 2, 2, 50, 2]
    model = reference.loaded(CrossEncoder, folder)[0].model
    wanted = model.gte(model.dummy_inputs["input_ids"].new_tensor([ids])).last_hidden_state[0].detach().numpy()
    np.testing.assert_allclose(references.token_vectors(folder, ids).numpy(), wanted, rtol=0, atol=CLOSE)
    assert json.loads((as_gte(folder) / "config.json").read_text())["model_type"] == "gte"


@pytest.mark.parametrize("name", SPARSE)
def test_a_sparse_encoder_tells_texts_apart(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    SPARSE[name](folder)
    found = {role: reference.sparse(folder, SOME, role, 8) for role in _ROLES}
    for role, weights in found.items():
        assert np.isfinite(weights).all()
        assert (weights >= 0).all()
        assert 0 < (weights > 0).mean() < 0.7
        assert np.median(_differences(weights)) > 0.2
        np.testing.assert_allclose(reference.sparse(folder, SOME, role), weights, rtol=1e-6, atol=CLOSE)
    same = np.array_equal(found["query"], found["document"])
    assert same != ("router" in name or "prompts" in name)


@pytest.mark.parametrize("name", MULTI_VECTOR)
def test_a_multi_vector_encoder_tells_tokens_apart(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    MULTI_VECTOR[name](folder)
    found = {role: reference.token_vectors(folder, SOME, role, 8) for role in _ROLES}
    for role, texts in found.items():
        for vectors, alone in zip(texts, reference.token_vectors(folder, SOME, role), strict=True):
            assert np.isfinite(vectors).all()
            np.testing.assert_allclose(alone, vectors, rtol=0, atol=CLOSE)
        assert np.median(_differences(np.concatenate(texts)[:200])) > 0.2
    scores = reference.maxsim(found["query"], found["document"])
    assert scores.shape == (16, 16)
    assert np.median(_differences(scores)) > 0.2
    by_hand = (found["query"][3] @ found["document"][4].T).max(1).sum()
    assert scores[3, 4] == pytest.approx(by_hand, rel=1e-5)
