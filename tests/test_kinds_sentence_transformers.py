"""What of rerankers, sparse and multi-vector embedders the sentence-transformers backend leaves to its library, and what it refuses.

That it agrees with the library is in `test_kinds_torch.py`, as for the other backend over torch.
"""

import os
import pickle
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kind_folders
from embedry import (
    Classifier,
    IntegrityError,
    LateInteraction,
    LayerNorm,
    ModelSpec,
    Pooling,
    Score,
    TermWeights,
    UnsupportedModelError,
    resolve_multi_vector,
    resolve_reranker,
    resolve_sparse,
)
from embedry.chains import Kind
from embedry.resolver import resolve_kind
from kind_entries import ENTRIES
from kind_references import PAIRS, TEXTS

BACKEND = "sentence-transformers"

Entry = Callable[[Kind, str], ModelSpec]


@pytest.fixture
def entry(kind_folder: Callable[[Kind, str], Path]) -> Entry:
    """The entry of one of `kind_folders`."""
    return lambda kind, name: ENTRIES[kind][name](kind_folder(kind, name))


@pytest.mark.parametrize(
    ("kind", "name", "modules"),
    [
        ("reranker", "bert", "Transformer"),
        ("reranker", "head, cls", "Transformer, Pooling, Dense, LayerNorm, Dense"),
        ("reranker", "saved qwen3 decoder", "Transformer, LogitScore"),
        ("sparse", "bert", "Transformer, SpladePooling"),
        ("multi_vector", "bert, two Dense", "Transformer, Dense, Dense"),
        ("multi_vector", "stanford", "Transformer, Dense"),
    ],
)
def test_the_body_runs_as_modules_of_the_library(entry: Entry, kind: Kind, name: str, modules: str) -> None:
    model = resolve_kind(kind, entry(kind, name), backend=BACKEND).load()
    assert model.info["modules"] == modules


def test_pairs_of_many_lengths_end_at_their_own_last_tokens(entry: Entry) -> None:
    reranker = resolve_reranker(entry("reranker", "saved qwen3 decoder"), backend=BACKEND)
    encoder: Any = reranker.engine.load().encoder
    random = np.random.default_rng(0)
    mask = (np.arange(30) < np.array([[30], [4], [17], [4], [1]])).astype(np.int32)
    ids = random.integers(5, 300, mask.shape, dtype=np.int32) * mask
    together = encoder.forward(ids, mask, np.zeros_like(ids))
    alone = [
        encoder.forward(*(array[None, row, : mask[row].sum()] for array in (ids, mask, ids * 0))) for row in range(5)
    ]
    assert np.ptp(together) > 0.5
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-5)


def test_what_the_library_has_no_module_for_is_refused(entry: Entry) -> None:
    plain = entry("multi_vector", "bert, no Dense")
    width = kind_folders.WIDTH
    weights = TermWeights(path="sparse_linear", inputs=width, outputs=4000)
    sparse = replace(plain, chain=(weights,), dims=4000, files={**plain.files, weights.weights: None})
    with pytest.raises(UnsupportedModelError, match="TermWeights"):
        resolve_sparse(sparse, backend=BACKEND)
    norm = LayerNorm(path="1_LayerNorm")
    normed = replace(plain, chain=(norm, LateInteraction()), files={**plain.files, norm.weights: None})
    with pytest.raises(UnsupportedModelError, match="no LayerNorm for the vectors of tokens"):
        resolve_multi_vector(normed, backend=BACKEND)


def test_a_reranker_whose_pooling_leaves_out_the_prompt_is_refused(entry: Entry) -> None:
    plain = entry("reranker", "head, mean")
    chain = (Pooling(mode="mean", include_prompt=False), *plain.chain[1:])
    with pytest.raises(UnsupportedModelError, match="leaves out the prompt"):
        resolve_reranker(replace(plain, chain=chain), backend=BACKEND)


def test_the_entry_says_how_many_labels_there_are(entry: Entry, tmp_path: Path) -> None:
    plain = entry("reranker", "bert, 3 labels")
    spec = replace(plain, chain=(Classifier(labels=2), Score()), dims=2)
    for backend in (BACKEND, "transformers"):
        with pytest.raises(IntegrityError, match=r"has in the wrong shape classifier\.bias, classifier\.weight"):
            resolve_reranker(spec, backend=backend, cache_dir=tmp_path).load()


def test_loading_and_encoding_write_nothing_on_stderr(
    entry: Entry, tmp_path: Path, fresh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    names: list[tuple[Kind, str]] = [
        ("reranker", "modernbert, mean"), ("reranker", "saved qwen3 decoder"), ("sparse", "distilbert"), ("multi_vector", "stanford"),
    ]  # fmt: skip
    models = [(kind, entry(kind, name), PAIRS[:9] if kind == "reranker" else TEXTS[:9]) for kind, name in names]
    (tmp_path / "models").write_bytes(pickle.dumps(models))
    result = fresh(
        "import logging, pickle, pathlib\n"
        "logging.getLogger('embedry').setLevel('ERROR')  # some of the texts are truncated\n"
        "from embedry.resolver import resolve_kind\n"
        "for kind, spec, some in pickle.loads(pathlib.Path('models').read_bytes()):\n"
        "    for backend in ('transformers', 'sentence-transformers'):\n"
        "        model = resolve_kind(kind, spec, backend=backend)\n"
        "        model.logits(some) if kind == 'reranker' else model.encode(some, role='query')\n",
        env={"PYTHONWARNINGS": "default", "EMBEDRY_CACHE": os.environ["EMBEDRY_CACHE"]},
    )
    assert result.stderr == ""
