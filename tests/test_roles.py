"""A role has the prompt that the model's files give it, and vectors are normalized as the model or the caller says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agreement import TEXTS, Vectors, expected, furthest

Checkpoint = Callable[..., Path]
Encode = Callable[..., Vectors]

SOME = TEXTS[::10]


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize(
    ("pooling", "prompts"),
    [
        ("cls", {"query": "represent this sentence for searching relevant passages: "}),
        ("mean", {"query": "query: ", "document": "passage: "}),
        ("mean", {"query": "query: ", "passage": "passage: ", "clustering": "cluster: "}),
    ],
)
def test_a_role_has_the_prompt_that_sentence_transformers_gives_it(
    checkpoint: Checkpoint, vectors: Encode, role: str, pooling: str, prompts: dict[str, str]
) -> None:
    model = checkpoint("bert", pooling, prompts=prompts)
    assert furthest(vectors(model, SOME, role), expected(model, SOME, role)) <= 1e-5


def test_without_normalizing_vectors_are_those_of_the_chain_without_it(checkpoint: Checkpoint, vectors: Encode) -> None:
    bare = checkpoint("mpnet", normalize=False)
    reference = expected(bare, SOME)
    assert np.linalg.norm(reference, axis=1).min() > 1.1
    assert furthest(vectors(bare, SOME), reference) <= 1e-5
    assert furthest(vectors(checkpoint("mpnet"), SOME, normalize=False), reference) <= 1e-5
    assert furthest(vectors(bare, SOME, normalize=True), expected(checkpoint("mpnet"), SOME)) <= 1e-5


def test_the_role_unprompted_has_no_prompt_whatever_the_model_has(checkpoint: Checkpoint, vectors: Encode) -> None:
    prompts = {"query": "query: ", "document": "passage: ", "unprompted": "never: "}
    model = checkpoint("bert", prompts=prompts)
    already = ["query: " + text for text in SOME]
    assert furthest(vectors(model, already, "unprompted"), vectors(model, SOME, "query")) <= 1e-6
    assert furthest(vectors(model, SOME, "unprompted"), vectors(model, SOME, "query")) > 0.01
