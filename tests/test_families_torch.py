"""The backends of torch give every family the vectors of its own implementation, or say that their library has none."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import agreement
from agreement import CASES, POOLINGS, TEXTS, furthest, longest
from embedry import UnsupportedModelError

REFUSALS = {
    "jina_bert_v2": "the transformers library has no class for 'jina_bert_v2'",
    "jina_bert_v2_qk_post_norm": "the transformers library has no class for 'jina_bert_v2_qk_post_norm'",
}


@pytest.mark.parametrize("backend", ["transformers", "sentence-transformers"])
@pytest.mark.parametrize(("family", "pooling"), CASES)
def test_a_family_gives_the_vectors_of_its_reference(
    checkpoint: Callable[..., Path], vectors: Callable[..., agreement.Vectors], backend: str, family: str, pooling: str
) -> None:
    model = checkpoint(family, pooling, max_seq_length=longest(family))
    some = TEXTS[::8]
    if family in REFUSALS:
        with pytest.raises(UnsupportedModelError, match=re.escape(REFUSALS[family])):
            vectors(model, some, backend=backend)
        return
    first = checkpoint(family, POOLINGS[family][0], max_seq_length=longest(family))
    assert furthest(vectors(model, some, backend=backend), agreement.poolings(first, tuple(some))[pooling]) <= 1e-5
