"""Every first-party backend passes every check, on the real model and on small ones shaped like the others."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from embedry.testing import Conformance, Subject
from embedry.testing.texts import MIXED
from embedry_openvino import has_bf16

BACKENDS = ("onnxruntime", "openvino", "transformers", "sentence-transformers")

SHAPES = {
    "bge": {"family": "bert", "pooling": "cls", "prompts": {"query": "Represent this sentence: "}},
    "e5": {"family": "bert", "pooling": "mean", "prompts": {"query": "query: ", "document": "passage: "}},
    "mpnet": {"family": "mpnet", "pooling": "mean"},
    "embeddinggemma": {"family": "embeddinggemma", "pooling": "mean", "dense": 16},
}

Checkpoints = Callable[..., Path]

NEEDS_BF16 = pytest.mark.skipif(not has_bf16(), reason="this processor does not multiply bfloat16")
"""OpenVINO refuses bf16 elsewhere; torch emulates it."""


class TestAllMiniLM(Conformance):
    """The real weights, with golden vectors."""

    @pytest.fixture(params=BACKENDS)
    def subject(self, request: pytest.FixtureRequest, minilm_folder: Path) -> Subject:
        return Subject("all-MiniLM-L6-v2", backend=request.param)


class TestHalfPrecision(Conformance):
    """The real weights in bf16, which a CPU can compute too, within the tolerance of bf16."""

    @pytest.fixture(params=["transformers", pytest.param("openvino", marks=NEEDS_BF16)])
    def subject(self, request: pytest.FixtureRequest, minilm_folder: Path) -> Subject:
        return Subject("all-MiniLM-L6-v2", backend=request.param, precision="bf16")


class TestInt8(Conformance):
    """The real weights in int8, as near to the golden vectors as the entry says."""

    @pytest.fixture(params=["onnxruntime", "openvino"])
    def subject(self, request: pytest.FixtureRequest, minilm_folder: Path) -> Subject:
        return Subject("all-MiniLM-L6-v2", backend=request.param, precision="int8")


class TestSmallModels(Conformance):
    """Random weights in the shapes of other models."""

    @pytest.fixture(params=[(shape, backend) for shape in SHAPES for backend in BACKENDS], ids="-".join)
    def subject(self, request: pytest.FixtureRequest, checkpoint: Checkpoints) -> Subject:
        shape, backend = request.param
        return Subject(str(checkpoint(**SHAPES[shape])), backend=backend)


@pytest.mark.parametrize("shape", ["all-MiniLM-L6-v2", *SHAPES])
def test_all_pairs_of_backends_agree(shape: str, minilm_folder: Path, checkpoint: Checkpoints) -> None:
    model = str(checkpoint(**SHAPES[shape])) if shape in SHAPES else shape
    vectors = {name: Subject(model, backend=name).embedder.encode_query(MIXED) for name in BACKENDS}
    for one, other in combinations(BACKENDS, 2):
        assert np.abs(vectors[one] - vectors[other]).max() <= 1e-5, f"{one} and {other} disagree on {model}"
