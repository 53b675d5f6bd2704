"""The drop-in for fastembed's `TextEmbedding`: a lazy stream of vectors, without prompts, scaled as fastembed scales them."""

from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sentence_transformers import SentenceTransformer

from embedry import EmbedryError, LazyEmbedder, OptionError, TextTypeError, UnknownOptionError, register, resolve
from embedry_dropin import TextEmbedding, fastembed
from entries import registered

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "", "the shop " * 300]


@pytest.fixture
def folder(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("bert", prompts={"query": "query: ", "document": "passage: "})


def test_vectors_are_those_of_the_model_without_a_prompt(folder: Path) -> None:
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    register(registered(folder, name="acme-small", repo="acme/small", revision="0" * 40))
    model = TextEmbedding("Acme/Small", threads=1)
    for found in (model.embed(TEXTS), model.query_embed(TEXTS), model.passage_embed(TEXTS)):
        vectors = list(found)
        assert [(vector.shape, vector.dtype) for vector in vectors] == [((48,), np.float32)] * len(TEXTS)
        assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    (vector,) = model.query_embed(TEXTS[0])
    assert_allclose(vector, expected[0], rtol=0, atol=1e-5)
    assert list(model.embed([])) == []


def test_the_real_model_is_the_real_model(minilm: LazyEmbedder) -> None:
    (vector,) = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2").embed("a text")
    assert (vector == minilm.encode(["a text"], role="document")[0]).all()


def test_nothing_is_read_or_computed_before_the_first_vector_is_asked_for(folder: Path) -> None:
    model = TextEmbedding(str(folder), lazy_load=True, threads=2)
    read = []

    def texts() -> Iterator[str]:
        for number in count():
            read.append(number)
            assert number < 10_000, "they never end"
            yield f"text {number}"

    found = model.embed(texts())
    wrong = model.embed([1], batch_size=0)  # type: ignore[list-item]
    assert not model.embedder.loaded
    assert read == []
    vectors = list(islice(found, 3))
    assert model.embedder.loaded
    assert_allclose(vectors, list(model.embed(["text 0", "text 1", "text 2"])), rtol=0, atol=1e-6)
    with pytest.raises(OptionError, match="batch_size must be a positive integer, got 0"):
        next(iter(wrong))
    with pytest.raises(TextTypeError, match="text 0 must be a str"):
        next(iter(model.embed([1])))  # type: ignore[list-item]


def test_it_loads_in_the_constructor_unless_told_otherwise(folder: Path) -> None:
    assert TextEmbedding(str(folder), threads=1).embedder.loaded


def test_vectors_are_scaled_as_fastembed_scales_them() -> None:
    for name, normalized in fastembed._NORMALIZED.items():
        assert resolve(name).config.normalize != normalized
        assert TextEmbedding(name, lazy_load=True).embedder.config.normalize == normalized
        assert TextEmbedding(name.upper(), lazy_load=True).embedder.config.normalize == normalized
    assert not TextEmbedding("nomic-ai/nomic-embed-text-v1.5", lazy_load=True).embedder.config.normalize
    assert TextEmbedding(lazy_load=True).embedder is resolve("bge-small-en-v1.5", normalize=True)


def test_models_are_listed_as_fastembed_lists_them() -> None:
    models = {each["model"]: each for each in TextEmbedding.list_supported_models()}
    assert models["BAAI/bge-small-en-v1.5"] == {
        "model": "BAAI/bge-small-en-v1.5",
        "sources": {"hf": "BAAI/bge-small-en-v1.5", "url": None, "_deprecated_tar_struct": False},
        "model_file": "model.safetensors",
        "description": resolve("bge-small-en-v1.5").spec.description,
        "license": "mit",
        "size_in_GB": 0.133,
        "additional_files": [],
        "dim": 384,
        "tasks": {},
    }
    assert "cross-encoder/ms-marco-MiniLM-L6-v2" not in models
    assert TextEmbedding.get_embedding_size("intfloat/multilingual-e5-large") == 1024
    assert TextEmbedding("intfloat/multilingual-e5-large", lazy_load=True).embedding_size == 1024


def test_tokens_are_those_that_are_read(folder: Path) -> None:
    model = TextEmbedding(str(folder), threads=1)
    assert model.token_count("a text") == 4
    assert model.token_count(["a text", "", "word " * 1000]) == 4 + 2 + 128


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        ({}, None),
        ({"providers": ["CPUExecutionProvider"], "cuda": False}, None),
        ({"cuda": "auto", "device_ids": [1]}, None),
        ({"cuda": True}, "cuda"),
        ({"cuda": "cuda", "device_ids": [1]}, "cuda:1"),
        ({"providers": [("CUDAExecutionProvider", {}), "CPUExecutionProvider"]}, "cuda"),
    ],
)
def test_a_gpu_is_asked_for_as_in_fastembed(arguments: dict[str, Any], device: str | None) -> None:
    config = TextEmbedding(lazy_load=True, **arguments).embedder.config
    assert (config.backend, config.device) == (("transformers", device) if device else ("onnxruntime", "cpu"))
    assert config.precision == "fp32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"providers": ["TensorrtExecutionProvider"]}, "CPUExecutionProvider"),
        ({"cuda": True, "device_ids": [0, 1]}, "one GPU"),
        ({"local_files_only": True}, "HF_HUB_OFFLINE=1"),
        ({"nobody": 1}, "no argument 'nobody'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TextEmbedding(lazy_load=True, **arguments)


def test_errors_have_the_kinds_that_callers_catch() -> None:
    assert issubclass(UnknownOptionError, TypeError)
    with pytest.raises(ValueError, match="needs no entry"):
        TextEmbedding.add_custom_model("organization/name")
    with pytest.raises(EmbedryError, match="organization/nobody"):
        TextEmbedding("organization/nobody")
