"""Texts of thousands of tokens are computed in blocks; each vector is that of the text computed whole, alone and in a batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import agreement
from agreement import CASES, LONG_TEXTS, POOLINGS, SHORT_FAMILIES, furthest
from embedry import resolve
from embedry_graphs.attention import BLOCK, SHORT
from embedry_onnxruntime.session import OnnxEncoder

Checkpoint = Callable[..., Path]

LONG_CASES = [case for case in CASES if case[0] not in SHORT_FAMILIES]
LENGTHS = sorted({1, *(n * BLOCK + around for n in (1, 3, 4) for around in (-1, 0, 1)), *range(SHORT - 1, SHORT + 3)})
"""On both sides of the borders of blocks, and of where a text is computed whole."""

_LEFT_OUT = ("t5", "t5-gated", "new-without-types")
"""Published models of T5 read 512 tokens, and its reference's table of scores for 8,000 takes gigabytes; the last is like "new"."""


@pytest.fixture(scope="module")
def rows() -> list[list[int]]:
    """Token ids of a text of each of these lengths."""
    random = np.random.default_rng(0)
    return [[101, *random.integers(1000, 30_000, length - 1)] for length in LENGTHS]


@pytest.fixture
def encoder(checkpoint: Checkpoint, tmp_path: Path) -> Callable[[str, str], OnnxEncoder]:
    """What computes a family's vectors, before they are normalized."""

    def load(family: str, pooling: str) -> OnnxEncoder:
        model = checkpoint(family, pooling, max_seq_length=8192)
        found = resolve(model, cache_dir=tmp_path, normalize=False).engine.load().encoder
        assert isinstance(found, OnnxEncoder)
        return found

    return load


@pytest.mark.parametrize(("family", "pooling"), LONG_CASES)
def test_at_the_borders_of_blocks_vectors_are_the_references_alone_and_beside_longer_texts(
    checkpoint: Checkpoint,
    encoder: Callable[[str, str], OnnxEncoder],
    rows: list[list[int]],
    family: str,
    pooling: str,
) -> None:
    first = checkpoint(family, POOLINGS[family][0], max_seq_length=8192)
    reference = np.stack([agreement.pooled(agreement.token_vectors(first, row), pooling) for row in rows])
    ids, mask = np.zeros((2, len(rows), max(LENGTHS)), dtype=np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    engine = encoder(family, pooling)
    assert furthest(engine.forward(ids, mask), reference) <= 1e-5
    alone = [engine.forward(ids[n : n + 1, :length], mask[n : n + 1, :length]) for n, length in enumerate(LENGTHS)]
    assert furthest(np.concatenate(alone), reference) <= 1e-5
    short = [n for n, length in enumerate(LENGTHS) if length <= SHORT]
    assert furthest(engine.forward(ids[short, :SHORT], mask[short, :SHORT]), reference[short]) <= 1e-5


@pytest.mark.parametrize("family", [family for family in POOLINGS if family not in (*SHORT_FAMILIES, *_LEFT_OUT)])
def test_texts_of_eight_thousand_tokens_have_the_vectors_of_the_reference(
    checkpoint: Checkpoint, vectors: Callable[..., agreement.Vectors], family: str
) -> None:
    pooling = POOLINGS[family][0]
    model = checkpoint(family, pooling, max_seq_length=8192)
    reference = agreement.poolings(model, tuple(LONG_TEXTS))[pooling]
    assert furthest(vectors(model, LONG_TEXTS), reference) <= 1e-5
